"""OCI layouts and docker archives: what is in them, that they are the same each time, and that none is half-written."""

import io
import json
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from firkin.errors import Cancelled, StoreError, UsageError
from firkin.images.archive import output_file
from firkin.images.docker_archive import write_docker_archive
from firkin.images.oci_layout import write_directory, write_tar
from firkin.images.pack import pack_images
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import parse_reference

ONE, TWO = b"one" * 1000, b"two" * 1001
NAMES = (parse_reference("app:1"), parse_reference("registry.example.com/team/app:2"))


class Source:
    def __init__(self, *contents: bytes) -> None:
        self.blobs = {digest_of(data): data for data in contents}

    def open(self, digest: Digest) -> io.BytesIO:
        return io.BytesIO(self.blobs[digest])


def image(architecture: str, *contents: bytes) -> Image:
    digests = [digest_of(data) for data in contents]
    raw = json.dumps(
        {
            "created": "2024-01-02T03:04:05Z",
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": digests},
        }
    ).encode()
    layers = tuple(
        Layer(digest, Descriptor(media.OCI_LAYER, digest, len(data)))  # type: ignore[arg-type]
        for digest, data in zip(digests, contents, strict=True)
    )
    return assemble(parse_config(raw), layers, "oci")


APP = image("amd64", ONE, TWO)


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as archive:
        return {m.name: archive.extractfile(m).read() if m.isfile() else b"" for m in archive}  # type: ignore[union-attr]


def check_layout(files: dict[str, bytes]) -> list[dict[str, object]]:
    """Check that every descriptor leads to a blob of that digest and size; return the entries of the index."""
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])

    def follow(descriptor: dict[str, object]) -> None:
        data = files[f"blobs/{str(descriptor['digest']).replace(':', '/')}"]
        assert len(data) == descriptor["size"] and digest_of(data) == descriptor["digest"]
        if str(descriptor["mediaType"]) in (*media.MANIFESTS, *media.INDEXES):
            document = json.loads(data)
            for item in (*document.get("manifests", ()), *document.get("layers", ())):
                follow(item)
            if "config" in document:
                follow(document["config"])

    for entry in index["manifests"]:
        follow(entry)
    return list(index["manifests"])


def test_an_oci_tar_is_a_layout_with_names(tmp_path: Path) -> None:
    write_tar((pack_images((APP,), None, NAMES),), Source(ONE, TWO), str(tmp_path / "x.tar"), None)
    entries = check_layout(read_tar(tmp_path / "x.tar"))
    assert [entry["annotations"] for entry in entries] == [
        {
            "io.containerd.image.name": "docker.io/library/app:1",
            "org.opencontainers.image.created": "2024-01-02T03:04:05Z",
            "org.opencontainers.image.ref.name": "1",
        },
        {
            "io.containerd.image.name": "registry.example.com/team/app:2",
            "org.opencontainers.image.created": "2024-01-02T03:04:05Z",
            "org.opencontainers.image.ref.name": "2",
        },
    ]
    assert {entry["digest"] for entry in entries} == {APP.manifest.digest}


def test_an_archive_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar((pack_images((APP,), None, NAMES),), Source(TWO, ONE), str(tmp_path / name), None)
        write_docker_archive((pack_images((APP,), None, NAMES),), Source(ONE, TWO), str(tmp_path / f"{name}d"), None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "ad").read_bytes() == (tmp_path / "bd").read_bytes()
    with tarfile.open(tmp_path / "a") as archive:
        assert {(m.uid, m.gid, m.mtime, m.uname) for m in archive} == {(0, 0, 0, "")}


def test_several_platforms_are_joined_by_an_index(tmp_path: Path) -> None:
    images = (APP, image("arm64", TWO))
    index = encode_index(Index(media.OCI_INDEX, tuple(item.manifest.descriptor for item in images)))
    write_tar((pack_images(images, index, ()),), Source(ONE, TWO), str(tmp_path / "x.tar"), None)
    entries = check_layout(read_tar(tmp_path / "x.tar"))
    assert [entry["digest"] for entry in entries] == [index.digest]


def test_a_docker_archive_names_its_layers_and_is_a_layout_too(tmp_path: Path) -> None:
    write_docker_archive((pack_images((APP,), None, NAMES),), Source(ONE, TWO), str(tmp_path / "x.tar"), None)
    files = read_tar(tmp_path / "x.tar")
    check_layout(files)
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["app:1", "registry.example.com/team/app:2"]
    assert files[entry["Config"]] == APP.config.raw
    assert [files[layer] for layer in entry["Layers"]] == [ONE, TWO]


def test_a_docker_archive_without_names(tmp_path: Path) -> None:
    write_docker_archive((pack_images((APP,), None, ()),), Source(ONE, TWO), str(tmp_path / "x.tar"), None)
    assert json.loads(read_tar(tmp_path / "x.tar")["manifest.json"])[0]["RepoTags"] is None


def test_an_archive_can_go_to_a_stream() -> None:
    stream = io.BytesIO()
    write_docker_archive((pack_images((APP,), None, NAMES),), Source(ONE, TWO), "-", stream)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert "manifest.json" in archive.getnames()
    with pytest.raises(UsageError):
        write_docker_archive((pack_images((APP,), None, NAMES),), Source(ONE, TWO), "-", None)


def read_directory(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_directory_keeps_its_other_images(tmp_path: Path) -> None:
    place, other = tmp_path / "layout", image("amd64", TWO)
    write_directory((pack_images((APP,), None, NAMES[:1]),), Source(ONE, TWO), str(place))
    write_directory((pack_images((other,), None, NAMES[1:]),), Source(ONE, TWO), str(place))
    assert [e["digest"] for e in check_layout(read_directory(place))] == [APP.manifest.digest, other.manifest.digest]
    write_directory((pack_images((other,), None, NAMES[:1]),), Source(ONE, TWO), str(place))
    entries = check_layout(read_directory(place))
    assert [e["digest"] for e in entries] == [other.manifest.digest] * 2
    write_directory((pack_images((other,), None, ()),), Source(ONE, TWO), str(place))
    write_directory((pack_images((other,), None, ()),), Source(ONE, TWO), str(place))
    assert len(check_layout(read_directory(place))) == 3
    assert not [name for name in os.listdir(place) if name not in ("blobs", "index.json", "oci-layout")]


def test_a_directory_that_is_no_layout_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"some": "thing"}')
    with pytest.raises(UsageError):
        write_directory((pack_images((APP,), None, NAMES),), Source(ONE, TWO), str(tmp_path))
    assert (tmp_path / "index.json").read_text() == '{"some": "thing"}'


def test_a_damaged_blob_leaves_nothing_half_written(tmp_path: Path) -> None:
    source = Source(ONE, TWO)
    source.blobs[digest_of(TWO)] = TWO[:-1]
    (tmp_path / "old.tar").write_bytes(b"old")
    for call in (
        lambda: write_tar((pack_images((APP,), None, NAMES),), source, str(tmp_path / "old.tar"), None),
        lambda: write_docker_archive((pack_images((APP,), None, NAMES),), source, str(tmp_path / "new.tar"), None),
        lambda: write_directory((pack_images((APP,), None, NAMES),), source, str(tmp_path / "layout")),
    ):
        with pytest.raises(StoreError, match="damaged"):
            call()
    assert sorted(os.listdir(tmp_path)) == ["layout", "old.tar"]
    assert (tmp_path / "old.tar").read_bytes() == b"old"
    assert not (tmp_path / "layout" / "index.json").exists()
    source.blobs[digest_of(TWO)] = TWO
    write_directory((pack_images((APP,), None, NAMES),), source, str(tmp_path / "layout"))
    check_layout(read_directory(tmp_path / "layout"))


def test_outputs_get_the_mode_that_the_umask_leaves_and_errors_say_where(tmp_path: Path) -> None:
    with output_file(str(tmp_path / "x"), None) as stream:
        stream.write(b"x")
        assert os.listdir(tmp_path) != ["x"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask
    with pytest.raises(UsageError, match="no such file"):
        with output_file(str(tmp_path / "none" / "x"), None):
            pass
    assert os.listdir(tmp_path) == ["x"]


def test_an_output_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with output_file(str(tmp_path / "pipe"), None) as stream:
            stream.write(b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)


def test_many_add_to_one_layout_and_none_is_lost(tmp_path: Path) -> None:
    gate = threading.Barrier(8)

    def add(number: int) -> None:
        gate.wait()
        write_directory(
            (pack_images((APP,), None, (parse_reference(f"app:{number}"),)),),
            Source(ONE, TWO),
            str(tmp_path / "layout"),
        )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 8
    assert sorted(os.listdir(tmp_path / "layout")) == ["blobs", "index.json", "oci-layout"]


def test_an_output_without_room_is_told_by_its_name() -> None:
    with pytest.raises(StoreError, match="cannot write /dev/full: no space") as caught:
        write_docker_archive((pack_images((APP,), None, NAMES),), Source(ONE, TWO), "/dev/full", None)
    assert caught.value.code == "disk-full" and caught.value.hints
    with (
        pytest.raises(StoreError, match="cannot write standard output: no space"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        write_tar((pack_images((APP,), None, NAMES),), Source(ONE, TWO), "-", full)


def test_a_reader_who_leaves_ends_the_output() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(Cancelled) as caught, open(writing, "wb", buffering=0) as pipe:
        write_tar((pack_images((APP,), None, NAMES),), Source(ONE, TWO), "-", pipe)
    assert caught.value.exit_code == 141
