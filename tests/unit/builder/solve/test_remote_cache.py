"""Builds of stages of COPY over a cache in a registry, a directory or an image: what moves, and what is refused."""

import io
import json
import os
import socket
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firkin.builder.build import run_build
from firkin.builder.cache.directory import DirectoryCache
from firkin.builder.cache.entry import ANNOTATION
from firkin.builder.cache.repository import RepositoryCache
from firkin.builder.opening import slot_of
from firkin.builder.request import BuildRequest, BuildResult, CacheRef, Output
from firkin.errors import FirkinError, HostError, RegistryError
from firkin.events import Event, Finished, Log, Warned
from firkin.oci.platform import Platform
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.source import Source
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

DOCKERFILE = """
FROM scratch AS build
COPY a /a
COPY b /b
FROM scratch
COPY c /c
WORKDIR /work
COPY --from=build /a /from-a
"""


class Project:
    """A context, and builds of it in stores of their own."""

    def __init__(self, place: Path, registry: FakeRegistry) -> None:
        self.place = place
        self.registry = registry
        self.context = place / "context"
        self.context.mkdir()
        self.events: list[Event] = []
        for name in "abc":
            self.write(name, name * 5000)
        self.write("Dockerfile", DOCKERFILE)

    def write(self, name: str, text: str) -> None:
        (self.context / name).write_text(text)

    def cache(self, **fields: object) -> CacheRef:
        return CacheRef("registry", f"{self.registry.host}/team/cache", **fields)  # type: ignore[arg-type]

    def build(self, store: str, **fields: object) -> BuildResult:
        self.events.clear()
        self.registry.seen.clear()
        request = BuildRequest(str(self.context), str(self.place / store), now_s=1.0, **fields)  # type: ignore[arg-type]
        return run_build(request, self.events.append, Cancel(), no_run)

    def push(self, store: str, name: str, **fields: object) -> BuildResult:
        return self.build(
            store, tags=(f"{self.registry.host}/team/{name}",), outputs=(Output("registry"),), **fields
        )

    @property
    def statuses(self) -> list[str]:
        """Statuses in the order of the Dockerfile: a, b, c, WORKDIR, --from."""
        found = [event for event in self.events if isinstance(event, Finished) and event.id.isdigit()]
        return [event.status for event in sorted(found, key=lambda event: int(event.id))]

    def warnings(self) -> list[str]:
        return [event.code for event in self.events if isinstance(event, Warned)]

    def tags(self, repository: str = "team/cache") -> list[str]:
        return sorted(tag for name, tag in self.registry.manifests if name == repository and ":" not in tag)

    def moved(self) -> list[tuple[str, str]]:
        """Return method and path of requests that move layers."""
        return [(seen.method, seen.path) for seen in self.registry.seen
                if "/blobs/" in seen.path and seen.method in ("GET", "PATCH", "PUT")]


def no_run() -> None:
    raise HostError("no RUN here")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FakeRegistry() as registry:
        yield Project(tmp_path, registry)


def test_a_second_machine_moves_manifests_only(project: Project) -> None:
    cache = project.cache(mode="max")
    first = project.push("one", "app:1", cache_to=(cache,), cache_from=(cache,))
    assert project.statuses == ["done"] * 5
    # Five steps; COPY --from has a second key that does not care for `COPY b`.
    assert len(project.tags()) == 6
    second = project.push("two", "other:2", cache_from=(cache,))
    assert project.statuses == ["cached"] * 5
    assert second.image.digest == first.image.digest
    assert [item for item in project.moved() if item[0] == "GET"] == []
    # The registry takes the layers over from the cache; only the configuration is sent.
    assert len([item for item in project.moved() if item[0] == "PUT"]) == 1
    assert len(project.registry.requests("GET", "/manifests/")) == 6  # five keys, and one image that is none


def test_nothing_is_asked_that_the_store_knows(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    project.build("one", cache_from=(cache,))
    assert project.statuses == ["cached"] * 5
    assert project.registry.seen == []


def test_what_was_cached_before_is_added_once(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one")
    project.build("one", cache_to=(cache,))
    assert project.statuses == ["cached"] * 5
    assert len(project.tags()) == 6
    project.build("one", cache_to=(cache,))
    assert [seen.method for seen in project.registry.seen] == ["GET"] * 6


def test_only_the_image_is_saved_with_mode_min(project: Project) -> None:
    project.build("one", cache_to=(project.cache(),))
    assert len(project.tags()) == 4  # COPY c, WORKDIR, and COPY --from by two keys
    project.build("two", cache_from=(project.cache(),))
    assert project.statuses == ["done", "done", "cached", "cached", "cached"]


def test_a_change_that_a_copy_does_not_read_leaves_it_cached(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    project.write("b", "another")
    project.build("two", cache_from=(cache,), cache_to=(cache,))
    assert project.statuses == ["cached", "done", "cached", "cached", "cached"]
    project.build("three", cache_from=(cache,))
    assert project.statuses == ["cached"] * 5
    layers = [json.loads(raw)["layers"][0]["digest"] for (name, tag), (_, raw) in project.registry.manifests.items()
              if name == "team/cache" and ":" not in tag]
    assert len(set(layers)) == 6  # a, b, b changed, c, WORKDIR, --from


def test_branches_share_a_repository(project: Project) -> None:
    main, branch = (
        CacheRef("registry", f"{project.registry.host}/team/app:{name}", mode="max") for name in ("main", "branch")
    )
    project.build("one", cache_to=(main,))
    before = set(project.tags("team/app"))
    assert all(tag.startswith("main-") for tag in before)
    project.write("c", "branch")
    project.build("two", cache_from=(branch, main), cache_to=(branch,))
    assert project.statuses.count("cached") == 2
    assert before < set(project.tags("team/app"))
    project.build("three", cache_from=(branch,))
    assert project.statuses == ["cached"] * 5


def test_entries_expire(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    project.build("two", cache_from=(project.cache(ttl_s=3600),))
    assert project.statuses == ["cached"] * 5
    for name, (kind, raw) in list(project.registry.manifests.items()):
        manifest = json.loads(raw)
        lines = json.loads(manifest["annotations"][ANNOTATION])
        lines[0]["saved"] -= 7200
        manifest["annotations"][ANNOTATION] = json.dumps(lines)
        project.registry.manifests[name] = (kind, json.dumps(manifest).encode())
    project.build("three", cache_from=(project.cache(ttl_s=3600),), cache_to=(project.cache(ttl_s=3600, mode="max"),))
    assert project.statuses == ["done"] * 5
    project.build("four", cache_from=(project.cache(ttl_s=3600),))
    assert project.statuses == ["cached"] * 5


def test_kinds_of_steps_can_be_left_out(project: Project) -> None:
    cache = project.cache(mode="max", copy_layers=False)
    project.build("one", cache_to=(cache,))
    assert len(project.tags()) == 1
    project.build("two", cache_from=(cache,))
    assert project.statuses.count("cached") == 1


def test_no_cache_replaces_entries(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    before = dict(project.registry.manifests)
    project.build("one", cache_from=(cache,), cache_to=(cache,), no_cache=True)
    assert project.statuses == ["done"] * 5
    changed = [tag for tag in project.tags()
               if before.get(("team/cache", tag)) not in (None, project.registry.manifests["team/cache", tag])]
    assert changed
    again = project.build("two", cache_from=(cache,), require_cached=True)
    assert project.statuses == ["cached"] * 5
    assert again.image.digest


def test_layers_are_fetched_when_an_output_needs_them(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    project.build("two", cache_from=(cache,), tags=("app:1",))
    assert project.statuses == ["cached"] * 5
    assert len(project.moved()) == 3


def test_a_directory_holds_a_cache(project: Project) -> None:
    place = str(project.place / "cache")
    to, source = CacheRef("local", place, mode="max"), CacheRef("local", place)
    first = project.build("one", cache_to=(to,))
    index = json.loads((project.place / "cache/index.json").read_text())
    assert len(index["manifests"]) == 6
    second = project.build("two", cache_from=(source,), tags=("app:1",))
    assert project.statuses == ["cached"] * 5
    assert first.image.config_digest == second.image.config_digest
    project.write("c", "more")
    project.build("three", cache_to=(to,), cache_from=(source,))
    assert len(json.loads((project.place / "cache/index.json").read_text())["manifests"]) > 6
    assert sorted(os.listdir(place)) == ["blobs", "index.json", "index.lock", "oci-layout"]


def test_two_builds_add_to_one_directory(tmp_path: Path, project: Project) -> None:
    platform = Platform("linux", "amd64")
    ref = CacheRef("local", str(tmp_path / "cache"), mode="max")
    project.build("one", cache_to=(ref,))
    first, second = (DirectoryCache(ref.ref, platform) for _ in range(2))
    entry = first.find(first.names()[0])
    assert entry is not None
    blob = tmp_path / "cache/blobs" / entry.blob.descriptor.digest.replace(":", "/")
    for number, place in enumerate((first, second)):
        key = f"{number}" * 64
        changed = msgspec.structs.replace(entry, key=key, layer=key)
        place.add(key, changed, lambda: open(blob, "rb"), "")
    first.close()
    second.close()
    assert {"0" * 64, "1" * 64} < set(DirectoryCache(ref.ref, platform).names())
    second.remove(("0" * 64,))
    assert "0" * 64 not in DirectoryCache(ref.ref, platform).names()


def test_an_image_carries_its_own_cache(project: Project) -> None:
    ref = CacheRef("registry", f"{project.registry.host}/team/app:1")
    first = project.push("one", "app:1", cache_to=(CacheRef("inline"),))
    assert project.tags("team/app") == ["1"]
    project.build("two", cache_from=(ref,))
    assert project.statuses == ["done", "done", "cached", "cached", "cached"]
    again = project.push("three", "app:2", cache_from=(ref,), cache_to=(CacheRef("inline"),))
    assert again.image.config_digest == first.image.config_digest


# Integrity


def entries(project: Project) -> dict[str, dict[str, Any]]:
    return {tag: json.loads(raw) for (name, tag), (_, raw) in project.registry.manifests.items()
            if name == "team/cache" and ":" not in tag}


def change_line(manifest: dict[str, Any], **fields: object) -> None:
    lines = json.loads(manifest["annotations"][ANNOTATION])
    lines[0].update(fields)
    manifest["annotations"][ANNOTATION] = json.dumps(lines)


BAD = {
    "another key": lambda manifest: change_line(manifest, key="0" * 64),
    "another layer": lambda manifest: change_line(manifest, layer="0" * 64),
    "no digits": lambda manifest: change_line(manifest, layer="../../etc/passwd"),
    "a base's name": lambda manifest: change_line(manifest, layer="f" * 64, reads=["f" * 64]),
    "wrong type": lambda manifest: change_line(manifest, created="now"),
    "infinite": lambda manifest: change_line(manifest, created=1e300),
    "no layer": lambda manifest: change_line(manifest, position=7),
    "other variant": lambda manifest: change_line(manifest, variant="zstd::"),
    "media type": lambda manifest: manifest["layers"][0].update(mediaType="text/html"),
    "oversized": lambda manifest: manifest["layers"][0].update(size=1 << 50),
    "two layers": lambda manifest: manifest["layers"].append(manifest["layers"][0]),
    "no annotation": lambda manifest: manifest.pop("annotations"),
    "no manifest": lambda manifest: manifest.pop("layers"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_entry_is_a_miss(project: Project, what: str) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    for tag, manifest in entries(project).items():
        BAD[what](manifest)
        kind = manifest["mediaType"]
        project.registry.manifests["team/cache", tag] = (str(kind), json.dumps(manifest).encode())
    result = project.build("two", cache_from=(cache,))
    assert project.statuses == ["done"] * 5
    assert set(project.warnings()) <= {"cache-refused", "cache-unreadable"} and project.warnings()
    assert result.image.digest


@pytest.mark.parametrize("reads", [["f" * 64], ["f" * 64] * 7])
def test_identities_that_prove_nothing_make_no_record(project: Project, reads: list[str]) -> None:
    """A layer under its own key was made under no other one, whatever the entry says was read."""
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    for tag, manifest in entries(project).items():
        change_line(manifest, reads=reads)
        project.registry.manifests["team/cache", tag] = (str(manifest["mediaType"]), json.dumps(manifest).encode())
    project.build("two", cache_from=(cache,))
    assert project.statuses == ["cached"] * 5
    with closing(sqlite3.connect(project.place / "two/records.db")) as records:
        layers = [row[0] for row in records.execute("SELECT layer FROM records")]
    assert len(layers) == len(set(layers)) == 5


@pytest.mark.parametrize("made", ["pipe", "terminal", "loop", "directory", "socket"])
@pytest.mark.parametrize("place", ["index.json", "manifests", "blobs"])
def test_what_is_no_file_in_a_directory_is_a_miss(project: Project, place: str, made: str) -> None:
    """It may come from elsewhere with all that is in it, as an archive of a CI's does."""
    cache = project.place / "cache"
    project.build("one", cache_to=(CacheRef("local", str(cache), mode="max"),))
    index = json.loads((cache / "index.json").read_text())
    manifests = {cache / "blobs/sha256" / item["digest"][7:] for item in index["manifests"]}
    blobs = set((cache / "blobs/sha256").iterdir()) - manifests
    for path in {"index.json": {cache / "index.json"}, "manifests": manifests, "blobs": blobs}[place]:
        path.unlink()
        if made == "pipe":
            os.mkfifo(path)
        elif made == "directory":
            path.mkdir()
        elif made == "socket":
            with socket.socket(socket.AF_UNIX) as listener, chdir(path.parent):
                listener.bind(path.name)
        else:
            path.symlink_to("/dev/ptmx" if made == "terminal" else path)
    project.build("two", cache_from=(CacheRef("local", str(cache)),))
    assert project.statuses == ["done"] * 5


def test_an_entry_of_too_many_bytes_is_a_miss(project: Project) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    for tag in project.tags():
        project.registry.manifests["team/cache", tag] = ("application/json", b"[" * (5 << 20))
    project.build("two", cache_from=(cache,))
    assert project.statuses == ["done"] * 5
    assert project.warnings()


@pytest.mark.parametrize("how", ["gone", "wrong", "other layer"])
def test_a_layer_that_cannot_be_had_is_made_anew(project: Project, how: str) -> None:
    cache = project.cache(mode="max")
    project.build("one", cache_to=(cache,))
    for name in list(project.registry.blobs):
        if how == "gone":
            del project.registry.blobs[name]
        elif how == "wrong":
            project.registry.blobs[name] = b"x" * len(project.registry.blobs[name])
    if how == "other layer":
        for tag, manifest in entries(project).items():
            change_line(manifest, diff_id="sha256:" + "0" * 64)
            project.registry.manifests["team/cache", tag] = (str(manifest["mediaType"]), json.dumps(manifest).encode())
    project.write("c", "changed, so that COPY --from runs and needs its source")
    project.write("Dockerfile", DOCKERFILE + "COPY --from=build /b /from-b\n")
    result = project.build("two", cache_from=(cache,), outputs=(Output("local", str(project.place / "out")),))
    assert result.image.digest or result.outputs
    assert (project.place / "out/from-a").read_text() == "a" * 5000
    assert (project.place / "out/from-b").read_text() == "b" * 5000
    assert "cache-refused" in project.warnings()


def names_in(blob: bytes) -> set[str]:
    """Return the files of a layer; none of another blob."""
    try:
        with tarfile.open(fileobj=io.BytesIO(blob)) as layer:
            return set(layer.getnames())
    except tarfile.TarError:
        return set()


@pytest.mark.parametrize("how", ["gone", "wrong"])
@pytest.mark.parametrize("kind", ["store", "registry", "oci", "elsewhere"])
def test_a_layer_that_is_missed_only_in_the_end_is_made_anew(project: Project, kind: str, how: str) -> None:
    cache = project.cache(mode="max")
    first = project.build("one", cache_to=(cache,))
    if kind == "registry" and how == "wrong":
        pytest.skip("a blob that is mounted is not seen")
    kept = dict(project.registry.blobs)
    missed = [name for name, data in kept.items() if names_in(data) & {"c", "from-a"}]
    assert len(missed) == 2
    for name in missed:
        if how == "gone":
            del project.registry.blobs[name]
        else:
            project.registry.blobs[name] = b"x" * len(kept[name])
    fields: dict[str, object] = {"cache_from": (cache,), "tags": (f"{project.registry.host}/team/late",)}
    if kind == "elsewhere":
        fields["cache_to"] = (CacheRef("local", str(project.place / "second"), mode="max"),)
    else:
        fields["outputs"] = (Output(kind, str(project.place / "out.tar") if kind == "oci" else ""),)  # type: ignore[arg-type]
    second = project.build("two", **fields)
    assert second.image.digest == first.image.digest
    assert set(project.warnings()) == {"cache-refused"}
    if kind == "registry":
        raw = project.registry.manifests["team/late", "latest"][1]
        for layer in json.loads(raw)["layers"]:
            assert ("team/late", layer["digest"]) in project.registry.blobs
    third = project.build("two")  # nothing of what was refused is remembered
    assert third.image.digest == first.image.digest and not project.warnings()


def test_secrets_stay_out(project: Project) -> None:
    project.write("Dockerfile", DOCKERFILE + "ARG TOKEN\nENV SEEN=hunter2\nCOPY a /z\n")
    project.build("one", cache_to=(project.cache(mode="max"),), build_args=(("TOKEN", "hunter2"),))
    assert project.tags()
    for _, raw in project.registry.manifests.values():
        assert b"hunter2" not in raw
    for seen in project.registry.seen:
        assert b"hunter2" not in seen.body


def test_a_context_is_remembered_without_its_password() -> None:
    request = BuildRequest("https://me:hunter2@host/app.tar?token=hunter2", "/store", now_s=1.0)
    assert "hunter2" not in slot_of(request, Source("Dockerfile", "")) and "host/app.tar" in slot_of(request, Source("D", ""))


# Failures


def test_a_cache_that_does_not_answer_is_passed_over(project: Project) -> None:
    cache = project.cache(mode="max")
    project.registry.fail("GET", "/manifests/", times=100, status=403)
    project.build("one", cache_from=(cache,))
    assert project.statuses == ["done"] * 5
    assert project.warnings().count("cache-unreadable") <= 2


def test_a_directory_that_is_no_cache_is_named(project: Project) -> None:
    project.build("one", cache_from=(CacheRef("local", str(project.place / "nothing")),))
    assert project.statuses == ["done"] * 5
    assert project.warnings() == ["cache-unreadable"]


def test_a_failed_upload_fails_the_build_when_the_image_is_out(project: Project) -> None:
    project.registry.fail("PUT", "/team/cache/manifests/", times=100, status=403)
    with pytest.raises(RegistryError):
        project.push("one", "app:1", cache_to=(project.cache(),))
    assert project.tags("team/app") == ["1"]


def test_errors_of_a_cache_can_be_ignored(project: Project) -> None:
    project.registry.fail("PUT", "/team/cache/manifests/", times=100, status=403)
    project.push("one", "app:1", cache_to=(project.cache(ignore_error=True),))
    assert project.tags("team/app") == ["1"]
    assert project.warnings() == ["cache-unwritable"]


# Explanations


def told(project: Project) -> list[str]:
    return [event.data.decode() for event in project.events if isinstance(event, Log)]


def test_misses_are_explained(project: Project) -> None:
    project.build("one", explain=True)
    assert all("nothing is known" in line for line in told(project))
    project.write("b", "other")
    project.build("one", explain=True)
    assert told(project) == ["not cached: the content of `b` changed\n"]
    project.build("one", explain=True)
    assert told(project) == []


def test_a_build_that_must_be_cached_fails_where_it_is_not(project: Project) -> None:
    project.build("one")
    project.build("one", require_cached=True)
    project.write("c", "other")
    with pytest.raises(FirkinError, match=r"`COPY c /c` is not cached: the content of `c` changed"):
        project.build("one", require_cached=True)


# The command


def test_entries_are_removed_or_the_registry_says_no(project: Project) -> None:
    project.build("one", cache_to=(project.cache(mode="max"),))
    with RegistryClient(RegistrySettings()) as client:
        place = RepositoryCache(f"{project.registry.host}/team/cache", lambda: client, Platform("linux", "amd64"))
        names = place.names()
        assert len(names) == 6
        project.registry.fail("DELETE", "/manifests/", status=405)
        with pytest.raises(RegistryError, match="does not delete manifests") as caught:
            place.remove(names[:1])
        assert "storage.delete.enabled" in caught.value.hints[0]
