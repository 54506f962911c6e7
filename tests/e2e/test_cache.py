"""Layer caches in a real registry and in directories: fresh stores, branches, expiry, cache mounts, pruning."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.accounts import Firkin, make_firkin
from support.marks import ROOT_AND_USER
from support.registry import Registry, running_registry

pytestmark = pytest.mark.registry

DOCKERFILE = """
FROM busybox:1.35 AS build
RUN mkdir /out && head -c 3000000 /dev/urandom > /out/big && echo made > /out/small
RUN date > /date
FROM busybox:1.35
COPY app.txt /app/
RUN cat /app/app.txt > /app/copy && head -c 1000000 /dev/urandom > /random
COPY --from=build /out /out
"""

Machine = Callable[[str], Firkin]


@pytest.fixture
def own() -> Iterator[Registry]:
    """A registry of this test's own: every request in its log is ours."""
    with running_registry() as started:
        started.seed_bases("busybox")
        yield started


@pytest.fixture(params=ROOT_AND_USER)
def machine(request: pytest.FixtureRequest, scratch: Path, own: Registry) -> Machine:
    """Firkin with a fresh store of the given name."""
    return lambda name: make_firkin(request.param, scratch / name, own.url)


@pytest.fixture
def context(scratch: Path) -> Path:
    place = scratch / "context"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "app.txt").write_text("first\n")
    for path in (place, *place.iterdir()):
        path.chmod(0o755)
    return place


def cached(said: str) -> int:
    """Return how many steps were cached, without FROM."""
    titles = dict(re.findall(r"^#(\d+) \[[^]]*\] (\S+)", said, re.MULTILINE))
    return sum(titles.get(number) != "FROM" for number in re.findall(r"^#(\d+) CACHED", said, re.MULTILINE))


def tags(registry: Registry, repository: str) -> list[str]:
    return list(json.loads(registry.get(f"{repository}/tags/list"))["tags"] or [])


def build(firkin: Firkin, context: Path, *options: str) -> str:
    return firkin.run("build", "--progress=plain", *options, context).stderr


def test_a_fresh_machine_moves_manifests_only(machine: Machine, own: Registry, context: Path) -> None:
    cache = f"type=registry,ref={own.reference('team/cache')}"
    build(machine("one"), context, "-t", own.reference("team/app:1"), "--push", f"--cache-to={cache},mode=max")
    first = own.manifest("team/app:1")
    before = len(own.requests())
    said = build(machine("two"), context, "-t", own.reference("other/app:2"), "--push", f"--cache-from={cache}")
    assert cached(said) == 5
    assert own.manifest("other/app:2") == first
    made = own.requests()[before:]
    layers = [(method, path) for method, path, _ in made if "/blobs/" in path and method in ("GET", "PATCH")]
    base = own.manifest("library/busybox:1.35")["config"]["digest"]
    assert [item for item in layers if base not in item[1]] == []
    # One look at each key, one at the image that the reference would name, and the base's manifest.
    assert len([path for method, path, _ in made if method == "GET" and "/manifests/" in path]) <= 8
    mounted = [path for method, path, status in made if method == "POST" and "mount=" in path and status == 201]
    assert len(mounted) == len(first["layers"])


def test_files_of_a_cached_layer_come_when_a_step_needs_them(machine: Machine, own: Registry, context: Path) -> None:
    cache = f"type=registry,ref={own.reference('team/cache')}"
    build(machine("one"), context, f"--cache-to={cache},mode=max")
    (context / "Dockerfile").write_text(DOCKERFILE + "RUN test -s /random && grep made /out/small\n")
    said = build(machine("two"), context, f"--cache-from={cache}")
    assert cached(said) == 5


def test_branches_share_a_cache(machine: Machine, own: Registry, context: Path) -> None:
    cache = f"type=registry,ref={own.reference('team/cache')}"
    both = (f"--cache-from={cache}", f"--cache-to={cache},mode=max")
    build(machine("main"), context, *both)
    before = set(tags(own, "team/cache"))
    (context / "app.txt").write_text("a branch\n")
    said = build(machine("branch"), context, *both)
    # The stage is untouched; COPY and RUN are new; COPY --from stands on them.
    assert cached(said) == 2
    assert before < set(tags(own, "team/cache"))
    for text in ("first\n", "a branch\n"):
        (context / "app.txt").write_text(text)
        assert cached(build(machine(f"again-{len(text)}"), context, *both)) == 5


def test_a_cache_in_a_directory(machine: Machine, context: Path, scratch: Path) -> None:
    one = machine("one")
    place = one.directory("cache")
    build(one, context, f"--cache-to=type=local,dest={place},mode=max")
    two = machine("two")
    assert cached(build(two, context, f"--cache-from=type=local,src={place}")) == 5
    listed = one.run("cache", "ls", place).stdout
    assert "RUN date > /date" in listed and "6 entries" in listed


def test_an_image_is_its_own_cache(machine: Machine, own: Registry, context: Path) -> None:
    image = own.reference("team/app:1")
    build(machine("one"), context, "-t", image, "--push", "--cache-to=type=inline")
    assert cached(build(machine("two"), context, f"--cache-from={image}")) == 3
    assert tags(own, "team/app") == ["1"]


def test_kaniko_spelling_with_an_expiry(machine: Machine, own: Registry, context: Path) -> None:
    options = ("--cache", f"--cache-repo={own.reference('team/cache')}", "--context", str(context), "--no-push",
               "--registry-mirror", own.host, "--cache-copy-layers", "--force")  # fmt: skip
    machine("one").run("executor", *options)
    assert len(tags(own, "team/cache")) >= 5
    again = machine("two").run("executor", *options)
    assert again.stderr.count("Using caching version") == 5
    time.sleep(2)
    late = machine("three").run("executor", *options, "--cache-ttl=1s")
    assert late.stderr.count("Using caching version") == 0


def test_cache_mounts_travel(machine: Machine, own: Registry, context: Path) -> None:
    cache = f"type=registry,ref={own.reference('team/cache')},mounts=true"
    text = (
        "FROM busybox:1.35\nRUN --mount=type=cache,target=/c,id=tools "
        "if [ -e /c/kept ]; then echo restored > /r; else echo fresh > /r; fi; cat /r; echo x > /c/kept\n"
    )
    (context / "Dockerfile").write_text(text)
    assert "fresh" in build(machine("one"), context, f"--cache-to={cache}")
    assert any(tag.startswith("mount-") for tag in tags(own, "team/cache"))
    (context / "Dockerfile").write_text(text.replace("cat /r", "cat  /r"))
    assert "restored" in build(machine("two"), context, f"--cache-from={cache}")
    plain = build(machine("three"), context, f"--cache-from={cache.replace(',mounts=true', '')}")
    assert "fresh" in plain
    assert "fresh" in build(machine("five"), context, "--no-cache", f"--cache-from={cache}")
    assert "cache mount tools" in machine("four").run("cache", "ls", own.reference("team/cache")).stdout


def test_pruning(machine: Machine, own: Registry, context: Path) -> None:
    repository = own.reference("team/cache")
    one = machine("one")
    cache = f"type=registry,ref={repository},mode=max"
    build(one, context, "-t", own.reference("team/app:1"), "--push", f"--cache-to={cache}")
    count = len(tags(own, "team/cache"))
    told = one.run("cache", "prune", "--unused-by", own.reference("team/app:1"), "--dry-run", repository).stderr
    assert f"would remove 1 of {count} entries" in told  # RUN date; the layer of the other RUN is that of COPY --from
    one.run("cache", "prune", "--unused-by", own.reference("team/app:1"), repository)
    assert len(tags(own, "team/cache")) == count - 1
    assert one.run("cache", "prune", "--older-than=1h", repository).stderr.startswith("removed 0 of")
    place = one.directory("cache")
    build(one, context, f"--cache-to=type=local,dest={place},mode=max")
    one.run("cache", "prune", "--unused-by", own.reference("team/app:1"), place)
    assert f"{count - 1} entries" in one.run("cache", "ls", place).stdout


def test_misses_are_explained(machine: Machine, context: Path) -> None:
    one = machine("one")
    build(one, context)
    (context / "Dockerfile").write_text(DOCKERFILE.replace("date > /date", "date -u > /date"))
    assert "not cached: the command changed" in build(one, context, "--explain")
    (context / "app.txt").write_text("other\n")
    failed = one.run("build", "--require-cached", context, check=False)
    assert failed.returncode == 1
    assert "`COPY app.txt /app/` is not cached: the content of `app.txt` changed" in failed.stderr


VALUE = "value-of-an-argument"
TELLING = """
ARG BASE
FROM $BASE AS build
ARG TOKEN
WORKDIR /in/$TOKEN
COPY app.txt /as-$TOKEN
COPY <<A /text
$TOKEN
A
RUN --mount=type=cache,id=$TOKEN,target=/c --mount=type=cache,target=/plain echo $TOKEN >/c/a
ONBUILD RUN echo $TOKEN
FROM build
ARG TOKEN
RUN <<A
echo $TOKEN
A
RUN --mount=type=secret,id=s$TOKEN true
"""


@pytest.mark.parametrize("kind", ["local", "inline"])
def test_entries_tell_nothing_of_build_arguments(
    machine: Machine, own: Registry, context: Path, scratch: Path, kind: str
) -> None:
    (context / "Dockerfile").write_text(TELLING)
    place = scratch / "exchange"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    to = f"type=local,dest={place}/cache,mode=max,mounts=true" if kind == "local" else "type=inline"
    firkin = machine("one")
    arguments = ("--build-arg", f"TOKEN={VALUE}", "--build-arg", "BASE=busybox:1.35")
    said = build(firkin, context, *arguments, "--cache-to", to, "-o", f"type=oci,tar=false,dest={place}/image")
    assert f"WORKDIR /in/{VALUE}" in said  # who builds may see it
    blobs = (place / ("cache" if kind == "local" else "image")).rglob("*")
    texts = [blob.read_bytes() for blob in blobs if blob.is_file()]
    notes = [json.dumps(json.loads(text).get("annotations")) for text in texts if text.startswith(b'{"schemaVersion"')]
    assert any("WORKDIR /in/$TOKEN" in note for note in notes) and not any(VALUE in note for note in notes)
    if kind == "local":
        assert not any(VALUE.encode() in text for text in texts)
        listed = firkin.run("cache", "ls", place / "cache").stdout
        assert "cache mount /plain" in listed and "cache mount (its id is made of variables)" in listed
    (records,) = (path for path in firkin.store.glob("records-*.db"))
    assert records.stat().st_mode & 0o777 == 0o600
