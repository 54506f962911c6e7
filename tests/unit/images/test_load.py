"""Archives that are loaded: those of many tools, and hostile ones that leave nothing behind."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.image_archives import (
    config_of,
    described,
    docker_files,
    entry,
    layer_tar,
    layout_files,
    oci_image,
    tar_of,
)
from support.stored import drop, keep, keep_index, size_without_reading

from firkin.errors import Cancelled, ContextError, FirkinError, UsageError
from firkin.images.find import find_image
from firkin.images.load import Front, Loaded, LoadRequest, load_directory, load_stream
from firkin.images.names import read_tag
from firkin.images.save import SaveRequest, save_images
from firkin.layer.limits import UnpackLimits
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

ONE, TWO = layer_tar(one=b"1" * 3000), layer_tar(two=b"2" * 400_000)
ARM = Platform("linux", "arm64")
MANIFEST = media.OCI_MANIFEST


class Told:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.cancel = Cancel()

    def front(self) -> Front:
        return Front(self.cancel, lambda name, size: lambda current: None, lambda code, text: self.warnings.append(text))


def load(store: Store, data: bytes, told: Told | None = None, **request: Any) -> tuple[Loaded, ...]:
    pieces = (data[at : at + 70_000] for at in range(0, len(data), 70_000))
    return load_stream(store, pieces, LoadRequest(**request), (told or Told()).front())


def blobs(store: Store) -> set[str]:
    found = {file for _, _, files in os.walk(store.layout.blobs) for file in files}
    return found | set(os.listdir(store.layout.scratch))


def refused(store: Store, data: bytes, match: str, **request: Any) -> FirkinError:
    before = blobs(store)
    with pytest.raises(ContextError, match=match) as caught:
        load(store, data, **request)
    assert caught.value.code == "archive"
    assert store.images.entries() == () and blobs(store) == before
    return caught.value


def names(loaded: tuple[Loaded, ...]) -> list[list[str]]:
    return [[name.familiar for name in image.names] for image in loaded]


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes, "gzip": lambda data: gzip.compress(data, mtime=0), "bzip2": bz2.compress, "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


@pytest.mark.parametrize("outer", COMPRESSIONS)
@pytest.mark.parametrize("inner", COMPRESSIONS)
def test_every_compression_around_and_inside(store: Store, outer: str, inner: str) -> None:
    files = docker_files(*map(COMPRESSIONS[inner], (ONE, TWO)), tars=(ONE, TWO))
    (loaded,) = load(store, COMPRESSIONS[outer](tar_of(files)))
    found = find_image(store, "app:1")
    (image,) = found.images
    assert loaded.id == image.config.digest and names((loaded,)) == [["app:1"]]
    assert [layer.diff_id for layer in image.layers] == [digest_of(ONE), digest_of(TWO)]
    for layer, data in zip(image.layers, (ONE, TWO), strict=True):
        raw = store.blobs.read(layer.descriptor.digest)
        kind = layer.descriptor.media_type
        if inner in ("none", "gzip", "zstd"):
            assert raw == COMPRESSIONS[inner](data), "a blob passes as it is"
            assert kind.endswith({"none": "tar", "gzip": "gzip", "zstd": "zstd"}[inner])
        else:
            assert gzip.decompress(raw) == data and kind.endswith("gzip")
    kinds = {layer.descriptor.media_type for layer in image.layers}
    assert all(("docker" in kind) == (inner != "zstd") for kind in kinds), "zstd needs OCI media types"


@pytest.mark.parametrize("form", ["docker", "oci", "oci-dir"])
def test_what_is_saved_is_loaded(store: Store, tmp_path: Path, form: Any) -> None:
    kept = keep(store, "app:1", "app:2", layers=(ONE, TWO))
    save_images(store, SaveRequest(("app",), form), str(tmp_path / "saved"), None, lambda code, text: None)
    with Store(str(tmp_path / "other"), lambda: 1.0) as other:
        if form == "oci-dir":
            loaded = load_directory(other, str(tmp_path / "saved"), LoadRequest(), Told().front())
        else:
            loaded = load(other, (tmp_path / "saved").read_bytes())
        assert names(loaded) == [["app:1", "app:2"]]
        assert find_image(other, "app:2").images[0].manifest.raw == kept.manifest.raw


def test_names_with_a_dot_or_a_slash_in_front_trap_21(store: Store) -> None:
    """Bazel, Nix and Kaniko: manifest.json only, `./` or absolute names, a configuration named `sha256:…`."""
    config = config_of(digest_of(ONE))
    for number, front in enumerate(("./", "/", "")):
        listed = [entry(f"{front}{digest_of(config)}", ["layer.tar.gz"], f"app:{number}")]
        files = {"manifest.json": json.dumps(listed).encode(), digest_of(config): config}
        files["layer.tar.gz"] = gzip.compress(ONE, mtime=0)
        load(store, tar_of({front + name: data for name, data in files.items()}))
    assert len({entry.descriptor.digest for entry in store.images.entries()}) == 1


def test_links_between_layers(store: Store) -> None:
    """`docker save` before 25: equal layers are links, `<id>/layer.tar` → `../<id>/layer.tar`; Bazel: hard links."""
    config = config_of(*[digest_of(ONE)] * 3)
    listed = [entry("c.json", ["a/layer.tar", "b/layer.tar", "dir/layer.tar"], "app:1")]
    files = {"c.json": config, "a/layer.tar": ONE, "manifest.json": json.dumps(listed).encode()}
    load(store, tar_of(files, {"b/layer.tar": "../a/layer.tar", "dir": "a"}))
    assert len(find_image(store, "app:1").images[0].layers) == 3
    load(store, tar_of(files, {"b/layer.tar": "/a/layer.tar"}, {"dir/layer.tar": "./b/layer.tar"}))


def test_equal_layers_and_no_layers_trap_20(store: Store) -> None:
    load(store, tar_of(docker_files(ONE, ONE, TWO)))
    load(store, tar_of(docker_files(names=("empty:1",))))
    assert len(find_image(store, "app:1").images[0].layers) == 3
    assert find_image(store, "empty:1").images[0].layers == ()


def test_several_images_share_layers(store: Store) -> None:
    configs = [config_of(digest_of(ONE)), config_of(digest_of(ONE), digest_of(TWO))]
    listed = [entry("a", ["1"], "a:1", "b:1"), entry("b", ["1", "2"], "c:1"), entry("a", ["1"], "d:1")]
    files = {"1": ONE, "2": TWO, "a": configs[0], "b": configs[1], "manifest.json": json.dumps(listed).encode()}
    loaded = load(store, tar_of(files))
    assert names(loaded) == [["a:1", "b:1", "d:1"], ["c:1"]]


@pytest.mark.parametrize(("annotations", "tag", "expected"), [
    ({"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"}, "", ["app:1"]),
    ({"org.opencontainers.image.ref.name": "quay.io/team/app:2"}, "", ["quay.io/team/app:2"]),
    ({"org.opencontainers.image.ref.name": "localhost/app:2"}, "", ["localhost/app:2"]),
    ({"org.opencontainers.image.ref.name": "team/app"}, "", ["team/app:latest"]),
    ({"org.opencontainers.image.ref.name": "latest"}, "", []),
    ({"org.opencontainers.image.ref.name": "2"}, "app", ["app:2"]),
    ({"org.opencontainers.image.ref.name": "2"}, "app:3", ["app:3"]),
    ({}, "app", ["app:latest"]),
    ({"org.opencontainers.image.ref.name": "NO:NAME"}, "", []),
])  # fmt: skip
def test_names_of_layouts_trap_22_and_2(store: Store, annotations: Any, tag: str, expected: list[str]) -> None:
    """A full name, or a tag and the name that the user gives; `localhost/latest:latest` is never made up."""
    config, manifest = oci_image(ONE)
    files = layout_files([described(manifest, MANIFEST, annotations=annotations)], config, manifest, ONE)
    name = read_tag(tag) if tag else None
    loaded = load(store, tar_of(files), name=name, tagged=tag.endswith(":3"))
    assert names(loaded) == [expected]
    assert [entry.name for entry in store.images.entries()] == [str(read_tag(name)) for name in expected] or [""]


def test_a_name_for_two_images_is_refused_trap_2(store: Store) -> None:
    files = docker_files(ONE, names=())
    other = config_of(digest_of(TWO))
    listed = json.loads(files["manifest.json"]) + [entry("other", ["two"])]
    files |= {"manifest.json": json.dumps(listed).encode(), "other": other, "two": TWO}
    with pytest.raises(UsageError, match="can name one image only"):
        load(store, tar_of(files), name=read_tag("app:1"))
    assert store.images.entries() == ()


def test_a_name_that_moves_is_told_with_both_ids_trap_3(store: Store) -> None:
    (old,) = load(store, tar_of(docker_files(ONE)))
    assert load(store, tar_of(docker_files(ONE)))[0].moved == ()
    (new,) = load(store, tar_of(docker_files(TWO)))
    ((name, old_id),) = new.moved
    assert (name.familiar, old_id) == ("app:1", old.id) and new.id != old.id
    assert find_image(store, "app:1").images[0].config.digest == new.id


def test_digests_survive_trap_4(store: Store) -> None:
    """The manifest's bytes are kept, also when manifest.json lists the same image."""
    config, manifest = oci_image(ONE)
    manifest += b"\n\n"
    files = layout_files([described(manifest, MANIFEST)], config, manifest, ONE)
    place = "blobs/sha256/"
    listed = [entry(place + digest_of(config)[7:], [place + digest_of(ONE)[7:]], "app:1")]
    (loaded,) = load(store, tar_of({**files, "manifest.json": json.dumps(listed).encode()}))
    assert loaded.digest == digest_of(manifest) and store.blobs.read(loaded.digest) == manifest
    assert names((loaded,)) == [["app:1"]]


def test_digest_names_survive_trap_4(store: Store, tmp_path: Path) -> None:
    """A repository that is known to have the document is known after loading, if the digest is the document's own."""
    kept = keep(store, layers=(ONE,))
    pulled = parse_reference("quay.example/team/app:1")
    store.images.tag(kept.manifest.descriptor, (pulled,), pinned=True)
    for form in ("docker", "oci"):
        request = SaveRequest((kept.config.digest,), form)  # type: ignore[arg-type]
        save_images(store, request, str(tmp_path / form), None, lambda code, text: None)
        with Store(str(tmp_path / f"store-{form}"), lambda: 1.0) as other:
            load(other, (tmp_path / form).read_bytes())
            assert [entry.name for entry in other.images.entries()] == [f"{pulled.name}@{kept.manifest.digest}"]
    config, manifest = oci_image(TWO)
    for digest, expected in ((digest_of(manifest), [f"docker.io/library/a@{digest_of(manifest)}"]), (digest_of(ONE), [""])):
        notes = {"io.containerd.image.name": f"docker.io/library/a@{digest}"}
        files = layout_files([described(manifest, MANIFEST, annotations=notes)], config, manifest, TWO)
        with Store(str(tmp_path / f"store-{digest}"), lambda: 1.0) as other:
            load(other, tar_of(files))
            assert [entry.name for entry in other.images.entries()] == expected


def two_platforms(*, without_arm: bool) -> tuple[dict[str, bytes], bytes]:
    amd, arm = oci_image(ONE), oci_image(TWO, architecture="arm64")
    platforms = [{"os": "linux", "architecture": kind} for kind in ("amd64", "arm64")]
    children = [described(image[1], MANIFEST, platform=platform)
                for image, platform in zip((amd, arm), platforms, strict=True)]  # fmt: skip
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": children}).encode()
    name = {"io.containerd.image.name": "docker.io/library/multi:1"}
    parts = [*amd, ONE, index] + [*arm, TWO] * (not without_arm)
    return layout_files([described(index, media.OCI_INDEX, annotations=name)], *parts), index


@pytest.mark.parametrize("kept", ["nothing", "the manifest", "all but a layer"])
def test_children_that_are_not_here_are_tolerated_trap_5(store: Store, kept: str) -> None:
    files, index = two_platforms(without_arm=kept == "nothing")
    if kept == "the manifest":
        config, _ = oci_image(TWO, architecture="arm64")
        del files[f"blobs/sha256/{digest_of(config)[7:]}"], files[f"blobs/sha256/{digest_of(TWO)[7:]}"]
    elif kept == "all but a layer":
        del files[f"blobs/sha256/{digest_of(TWO)[7:]}"]
    (loaded,) = load(store, tar_of(files))
    assert loaded.digest == digest_of(index) and [str(item) for item in loaded.platforms] == ["linux/amd64"]
    assert len(find_image(store, "multi:1").images) == 1
    with pytest.raises(UsageError, match="has no image for linux/arm64") as caught:
        load(store, tar_of(files), platforms=(ARM,))
    assert caught.value.hints == ("it has images for: linux/amd64",)


def test_some_platforms_are_loaded_trap_6(store: Store) -> None:
    files, _ = two_platforms(without_arm=False)
    (both,) = load(store, tar_of(files), platforms=(ARM, Platform("linux", "amd64")))
    assert len(both.platforms) == 2
    (one,) = load(store, tar_of(files), platforms=(ARM,))
    assert one.digest == digest_of(oci_image(TWO, architecture="arm64")[1])
    with pytest.raises(UsageError, match=r"multi:1 has no image for linux/s390x"):
        load(store, tar_of(files), platforms=(Platform("linux", "s390x"),))


def test_attestations_come_along(store: Store) -> None:
    statement = b'{"predicateType":"x"}'
    config, manifest = oci_image(ONE)
    kind = "application/vnd.oci.image"
    empty = config_of(digest_of(statement), os="unknown", architecture="unknown")
    attestation = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": described(empty, f"{kind}.config.v1+json"),
        "layers": [described(statement, "application/vnd.in-toto+json")],
    }).encode()  # fmt: skip
    index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [
        described(manifest, MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        described(attestation, MANIFEST, platform={"os": "unknown", "architecture": "unknown"}),
    ]}).encode()  # fmt: skip
    files = layout_files([described(index, media.OCI_INDEX)], config, manifest, ONE, empty, attestation, statement, index)
    (loaded,) = load(store, tar_of(files))
    assert loaded.id == digest_of(config) and [str(item) for item in loaded.platforms] == ["linux/amd64"]
    assert store.blobs.read(digest_of(statement)) == statement


def test_the_documents_may_come_first_or_last(store: Store) -> None:
    files = docker_files(ONE, TWO)
    assert list(files)[-1] == "manifest.json"
    assert load(store, tar_of(files))[0].digest == load(store, tar_of(dict(reversed(files.items()))))[0].digest


@pytest.mark.parametrize(("listed", "match"), [
    (None, "is null"),
    ({}, "manifest.json"),
    ([None], "no configuration"),
    ([{}], "no configuration"),
    ([{"Config": "../c", "Layers": []}], "leads out of the root"),
    ([{"Config": "absent", "Layers": []}], "no configuration `absent`"),
    ([{"Config": "c", "Layers": []}], "expected 1, got 0"),
    ([{"Config": "c", "Layers": ["1", "1"]}], "expected 1, got 2"),
    ([{"Config": "c", "Layers": ["absent"]}], "the layer `absent` is not in the archive"),
    ([{"Config": "c", "Layers": ["2"]}], "but its image says"),
    ([{"Config": "c", "Layers": ["torn"]}], "cut short"),
    ([{"Config": "c", "Layers": ["broken"]}], "damaged"),
    ([{"Config": "c", "Layers": ["../../etc/passwd"]}], "leads out of the root"),
    ([{"Config": "1", "Layers": []}], "`1`"),
    ([{"Config": "windows", "Layers": []}], "cannot load windows image on linux"),
    ([{"Config": "0" * 64 + ".json", "Layers": []}], "is damaged: its digest is"),
    ([{"Config": "blobs/sha256/" + "0" * 64, "Layers": []}], "is damaged: its digest is"),
    ([{"Config": "large", "Layers": []}], "too many for a document"),
])  # fmt: skip
def test_what_manifest_json_says_is_checked(store: Store, listed: Any, match: str) -> None:
    config = config_of(digest_of(ONE))
    pressed = gzip.compress(ONE)
    files = {
        "1": ONE, "2": TWO, "c": config, "torn": pressed[:-20], "large": b"{" + b" " * (5 << 20) + b"}",
        "broken": pressed[:50] + b"\xff" * 60 + pressed[110:], "0" * 64 + ".json": config,
        "blobs/sha256/" + "0" * 64: config, "windows": config_of(os="windows"),
        "manifest.json": json.dumps(listed).encode(),
    }  # fmt: skip
    refused(store, tar_of(files), match)


def test_an_archive_of_no_images_is_accepted(store: Store) -> None:
    assert load(store, tar_of({"manifest.json": b"[]"})) == ()
    refused(store, tar_of({"x": b""}), "does not contain a manifest.json")
    refused(store, tar_of({"index.json": b"{}"}), "index.json")
    refused(store, b"", "does not contain a manifest.json")
    refused(store, b"no tar at all" * 100, "tar: ")


def test_what_a_layout_says_is_checked(store: Store) -> None:
    config, manifest = oci_image(ONE)
    files = layout_files([described(manifest, MANIFEST)], config, manifest, ONE)
    for blob in (config, manifest, ONE):
        name = f"blobs/sha256/{digest_of(blob)[7:]}"
        refused(store, tar_of({**files, name: blob + b" "}), "is damaged: its digest is")
        refused(store, tar_of({key: data for key, data in files.items() if key != name}), "not in the archive")
    short = {**described(manifest, MANIFEST), "size": len(manifest) - 1}
    refused(store, tar_of(layout_files([short], config, manifest, ONE)), "and should have")
    wrong, lying = oci_image(ONE)
    wrong = config_of(digest_of(TWO))
    lying = lying.replace(digest_of(config).encode(), digest_of(wrong).encode())
    assert len(wrong) == len(config)
    refused(store, tar_of(layout_files([described(lying, MANIFEST)], wrong, lying, ONE)), "but its image says")


def test_deep_indexes_are_refused(store: Store) -> None:
    config, manifest = oci_image(ONE)
    parts, inner = [config, manifest, ONE], described(manifest, MANIFEST)
    for _ in range(8):
        index = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [inner]}).encode()
        parts.append(index)
        inner = described(index, media.OCI_INDEX)
    refused(store, tar_of(layout_files([inner], *parts)), "nested too deeply")


@pytest.mark.parametrize("name", ["../c", "a/../../c", "/../c"])
def test_names_that_lead_out_are_refused(store: Store, name: str) -> None:
    files = docker_files(ONE)
    refused(store, tar_of({**files, name: b"x"}), "leads out of the root")
    refused(store, tar_of(files, {"link": f"/x/{'../' * 3}etc/passwd"}), "leads out of the root")
    refused(store, tar_of(files, None, {"hard": "../../etc/passwd"}), "leads out of the root")


def test_links_in_a_circle_are_refused(store: Store) -> None:
    listed = [entry("a", [])]
    links = {"a": "b", "b": "a"}
    refused(store, tar_of({"manifest.json": json.dumps(listed).encode()}, links), "in a circle")
    refused(store, tar_of({"manifest.json": json.dumps(listed).encode()}, {"a": "a/b"}), "in a circle")


def test_a_name_with_two_contents_is_refused(store: Store) -> None:
    files = docker_files(ONE)
    assert load(store, tar_of([*files.items(), *files.items()]))[0].names
    drop(store, "docker.io/library/app:1")
    with pytest.raises(ContextError, match="twice, with different contents"):
        load(store, tar_of([*files.items(), ("layer0.tar", TWO)]))
    with pytest.raises(ContextError, match="twice"):
        load(store, tar_of(files, {"layer0.tar": "other"}))


def test_devices_and_pipes_are_no_files(store: Store) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind in (("c", tarfile.CHRTYPE), ("p", tarfile.FIFOTYPE), ("d", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
        data = json.dumps([entry("c", [])]).encode()
        member = tarfile.TarInfo("manifest.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    refused(store, stream.getvalue(), "no configuration `c`")


def test_bombs_are_refused_with_the_way_out(store: Store) -> None:
    limits = UnpackLimits(64 << 20, 1000)
    bomb = gzip.compress(bytes(100 << 20), 1)
    error = refused(store, tar_of(docker_files(bomb, tars=(b"",))), "unpacks to more than", limits=limits)
    assert error.hints
    error = refused(store, gzip.compress(tar_of({"zeros": bytes(100 << 20)}), 1), "more than", limits=limits)
    assert error.hints
    error = refused(store, tar_of({str(number): b"" for number in range(1200)}), "entries", limits=limits)
    assert error.hints


def test_pax_bombs_and_long_names_are_refused(store: Store) -> None:
    refused(store, tar_of({"n" * 5000: b""}), "longer than")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("x")
        member.pax_headers = {"comment": "c" * (2 << 20)}
        archive.addfile(member)
    refused(store, stream.getvalue(), "too big")


def test_an_endless_archive_ends_at_the_limit(store: Store) -> None:
    def endless() -> Iterator[bytes]:
        header = tar_of({"zeros": b""})[:512]
        member = tarfile.TarInfo("zeros")
        member.size = 1 << 40
        yield member.tobuf()
        assert len(header) == 512
        while True:
            yield bytes(1 << 20)

    with pytest.raises(ContextError, match="more than"):
        load_stream(store, endless(), LoadRequest(limits=UnpackLimits(8 << 20)), Told().front())
    assert blobs(store) == set()


def test_a_load_can_be_stopped(store: Store) -> None:
    told = Told()

    def stopped() -> Iterator[bytes]:
        data = tar_of(docker_files(TWO, TWO))
        yield data[:5000]
        told.cancel.set()
        yield data[5000:]

    with pytest.raises(Cancelled):
        load_stream(store, stopped(), LoadRequest(), told.front())
    assert blobs(store) == set()


def test_directories(store: Store, tmp_path: Path) -> None:
    config, manifest = oci_image(ONE)
    files = layout_files([described(manifest, MANIFEST)], config, manifest, ONE)
    for name, data in files.items():
        path = tmp_path / "layout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with Store(str(tmp_path / "other"), lambda: 1.0) as other:
        (loaded,) = load_directory(other, str(tmp_path / "layout"), LoadRequest(), Told().front())
        assert loaded.id == digest_of(config)
    blob = tmp_path / "layout/blobs/sha256" / digest_of(manifest)[7:]
    blob.unlink()
    (tmp_path / "outside").write_bytes(manifest)
    for target in ("../../../outside", str(tmp_path / "outside"), "/dev/zero"):
        blob.symlink_to(target)
        with pytest.raises(ContextError, match=r"is not in the archive|names sha256"):
            load_directory(store, str(tmp_path / "layout"), LoadRequest(), Told().front())
        blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(ContextError, match="not in the archive"):
        load_directory(store, str(tmp_path / "layout"), LoadRequest(), Told().front())


def test_an_archive_may_leave_out_what_the_store_has(store: Store) -> None:
    load(store, tar_of(docker_files(ONE)))
    config, manifest = oci_image(ONE, author="other")
    (loaded,) = load(store, tar_of(layout_files([described(manifest, MANIFEST)], config, manifest)))
    assert loaded.id == digest_of(config)


def test_an_index_of_the_store_is_loaded_again(store: Store, tmp_path: Path) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    index = keep_index(store, "multi:1", *images)
    assert encode_index(Index(media.OCI_INDEX, index.manifests)).digest == index.digest
    save_images(store, SaveRequest(("multi:1",), "oci"), str(tmp_path / "saved"), None, lambda code, text: None)
    with Store(str(tmp_path / "other"), lambda: 1.0) as other:
        (loaded,) = load(other, (tmp_path / "saved").read_bytes())
        assert loaded.digest == index.digest and len(loaded.platforms) == 2


@pytest.mark.parametrize("inner", COMPRESSIONS)
def test_no_layer_is_read_again_to_list_what_was_loaded(
    store: Store, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(store, tar_of(docker_files(*map(COMPRESSIONS[inner], (ONE, TWO)), tars=(ONE, TWO))))
    assert size_without_reading(store, "app:1", monkeypatch) == 403_000


def test_no_layer_is_read_again_to_list_a_layout_that_was_loaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, manifest = oci_image(ONE, TWO)
    named = described(manifest, MANIFEST, annotations={"org.opencontainers.image.ref.name": "app:1"})
    load(store, tar_of(layout_files([named], ONE, TWO, config, manifest)))
    assert size_without_reading(store, "app:1", monkeypatch) == 403_000


def test_a_layer_that_is_no_tar_is_loaded_and_has_no_size(store: Store) -> None:
    for number, data in enumerate((b"no tar" * 1000, ONE[:700], gzip.compress(b"no tar" * 200_000))):
        tars = (gzip.decompress(data),) if data[:2] == b"\x1f\x8b" else ()
        (loaded,) = load(store, tar_of(docker_files(data, names=(f"odd:{number}",), tars=tars)))
        (layer,) = find_image(store, loaded.id).images[0].layers
        assert store.blobs.read(layer.descriptor.digest) == data, "all of it was taken in"
        assert store.records.layer_sizes((layer.diff_id,)) == {}
