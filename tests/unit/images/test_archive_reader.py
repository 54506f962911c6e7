"""Archives that are read: those that firkin writes, and those that somebody made up."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.image_archives import tar_of
from support.stored import keep, keep_index, make_image

from firkin.errors import Cancelled, ContextError
from firkin.images import tar_files
from firkin.images.archive_reader import Files, open_files, read_image
from firkin.images.docker_archive import write_flat_archive
from firkin.images.names import read_tag
from firkin.images.save import SaveRequest, save_images
from firkin.layer.compress import iter_decompressed
from firkin.layer.limits import UnpackLimits
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

ONE, TWO = b"one" * 10_000, b"two" * 10_000


def opened(path: str, scratch: Path | None = None, **more: Any) -> Files:
    """Open an archive; without scratch space it must not need any."""
    return open_files(path, lambda: str(scratch) if scratch else pytest.fail("scratch space was used"), **more)


@pytest.mark.parametrize("form", ["docker", "oci", "oci-dir"])
def test_what_is_saved_is_read_again(store: Store, tmp_path: Path, form: Any) -> None:
    kept = keep(store, "app:1", layers=(ONE, TWO))
    save_images(store, SaveRequest(("app:1",), form), str(tmp_path / "saved"), None, lambda code, text: None)
    files = opened(str(tmp_path / "saved"))
    image, places = read_image(files)
    assert image.manifest.raw == kept.manifest.raw
    for layer, data in zip(image.layers, (ONE, TWO), strict=True):
        with files.open(places[layer.descriptor.digest]) as file:  # type: ignore[union-attr]
            assert file.read() == data


def test_a_flat_archive_gets_a_manifest(store: Store, tmp_path: Path) -> None:
    kept = keep(store, "app:1", layers=(ONE,))
    write_flat_archive(kept, (read_tag("app:1"),), store.blobs, str(tmp_path / "flat.tar"), None)
    image, places = read_image(opened(str(tmp_path / "flat.tar")))
    assert image.config.raw == kept.config.raw and len(places) == 1
    assert [layer.descriptor.digest for layer in image.layers] == [layer.descriptor.digest for layer in kept.layers]


def test_a_compressed_archive_is_read_as_well(store: Store, tmp_path: Path) -> None:
    keep(store, "app:1", layers=(ONE,))
    save_images(store, SaveRequest(("app:1",), "oci"), str(tmp_path / "a.tar"), None, lambda code, text: None)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    assert read_image(opened(str(tmp_path / "a.tar.gz"), tmp_path)) == read_image(opened(str(tmp_path / "a.tar")))


def test_what_is_no_archive_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(ContextError, match="cannot read") as caught:
            opened(str(path))
        assert caught.value.code == "push-source"


def made_up(place: Path, **documents: object) -> str:
    for name, content in documents.items():
        (place / name.replace("_", ".")).write_text(json.dumps(content))
    return str(place)


def test_what_is_in_an_archive_is_checked(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a docker archive nor an OCI layout"):
        read_image(opened(str(tmp_path)))
    with pytest.raises(ValueError, match="holds 2 images"):
        read_image(opened(made_up(tmp_path, manifest_json=[{"Config": "a"}, {"Config": "b"}])))
    with pytest.raises(ValueError, match="`c` is missing"):
        read_image(opened(made_up(tmp_path, manifest_json=[{"Config": "c"}])))
    (tmp_path / "c").write_bytes(make_image(ONE).config.raw)
    with pytest.raises(ValueError, match="lists 1 layers, the archive 0"):
        read_image(opened(made_up(tmp_path, manifest_json=[{"Config": "c"}])))
    keep_index(store, "multi:1", keep(store, architecture="amd64"), keep(store, architecture="arm64"))
    save_images(store, SaveRequest(("multi:1",), "oci-dir"), str(tmp_path / "multi"), None, lambda code, text: None)
    with pytest.raises(ValueError, match="an index of several platforms"):
        read_image(opened(str(tmp_path / "multi")))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_names_in_a_directory_do_not_lead_out_of_it(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "archive"
    (inside / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    with pytest.raises(ValueError, match="is missing"):
        read_image(opened(made_up(inside, manifest_json=[{"Config": name}])))


def test_a_tar_without_a_layer_that_it_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(make_image(ONE).config.raw)
    made_up(tmp_path, manifest_json=[{"Config": "c", "Layers": ["layer.tar"]}])
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name in ("c", "manifest.json"):
            archive.add(tmp_path / name, name)
    with pytest.raises(ValueError, match=r"the layer `layer\.tar` is missing"):
        read_image(opened(str(tmp_path / "image.tar")))


@pytest.mark.parametrize("name", ["../outside", "/outside", "link", "deep/link", "pipe", "deep"])
def test_nothing_outside_of_a_directory_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("secret")
    place = tmp_path / "archive"
    (place / "deep").mkdir(parents=True)
    (place / "link").symlink_to(tmp_path / "outside")
    (place / "deep/link").symlink_to("../../outside")
    os.mkfifo(place / "pipe")
    assert opened(str(place)).open(name) is None


def test_links_within_a_directory_are_followed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/layer.tar").write_bytes(b"layer")
    (tmp_path / "two").symlink_to("one")
    file = opened(str(tmp_path)).open("two/layer.tar")
    assert file is not None
    with file:
        assert file.read() == b"layer"


PRESSES: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


def written(place: Path, data: bytes) -> str:
    (place / "a.tar").write_bytes(data)
    return str(place / "a.tar")


def content(files: Files, name: str) -> bytes | None:
    file = files.open(name)
    if file is None:
        return None
    with file:
        return file.read()


@pytest.mark.parametrize("press", PRESSES)
def test_a_tar_is_read_once_however_many_of_its_files_are_opened(
    tmp_path: Path, press: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"layer{number}": os.urandom(20_000) for number in range(200)}
    path = written(tmp_path, PRESSES[press](tar_of(members)))
    inflated: list[int] = []
    real, pread, read = iter_decompressed, os.pread, []

    def counted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for piece in real(chunks):
            inflated.append(len(piece))
            yield piece

    def counted_pread(fd: int, size: int, at: int) -> bytes:
        read.append(len(data := pread(fd, size, at)))
        return data

    monkeypatch.setattr(tar_files, "iter_decompressed", counted)
    monkeypatch.setattr(os, "pread", counted_pread)
    files = opened(path, None if press == "none" else tmp_path)
    once = sum(inflated), sum(read)
    assert once[0] == (0 if press == "none" else len(tar_of(members)))
    assert press != "none" or once[1] < 300 * 4096, "only headers are read"
    for name, data in reversed(members.items()):
        assert content(files, name) == data
    assert (sum(inflated), sum(read)) == once, "nothing was read again but the files themselves"
    files.close()
    assert os.listdir(tmp_path) == ["a.tar"], "scratch space is empty again"


def test_readers_of_a_tar_are_independent_and_outlive_it(tmp_path: Path) -> None:
    files = opened(written(tmp_path, gzip.compress(tar_of({"a": ONE, "b": TWO}))), tmp_path)
    one, two, again = (files.open(name) for name in ("a", "b", "a"))
    files.close()
    assert one is not None and two is not None and again is not None
    assert one.read(5) == ONE[:5] and two.read(4) == TWO[:4] and one.read() == ONE[5:] and one.read() == b""
    assert again.read() == ONE and again.seek(-2, 2) == len(ONE) - 2 and again.read() == ONE[-2:]
    for file in (one, two, again):
        file.close()


def test_links_in_a_tar_are_followed(tmp_path: Path) -> None:
    links = {"x/layer.tar": "../a/layer.tar", "y": "x", "round": "trip", "trip": "round"}
    files = opened(written(tmp_path, tar_of({"a/layer.tar": ONE}, links, {"hard": "a/layer.tar"})))
    for name in ("a/layer.tar", "./a//layer.tar", "x/layer.tar", "y/layer.tar", "hard"):
        assert content(files, name) == ONE
    assert files.open("a") is None and files.open("missing") is None
    with pytest.raises(ValueError, match="in a circle"):
        files.open("round")
    files.close()


@pytest.mark.parametrize(("data", "match"), [
    (tar_of({"../x": b""}), "leads out of the root"),
    (tar_of({}, {"x": "../y"}), "leads out of the root"),
    (tar_of([("a", ONE), ("a", TWO)]), "twice, with different contents"),
    (tar_of([("a", ONE), ("a", ONE[1:])]), "twice, with different contents"),
    (tar_of({"a": ONE})[:5000], "ends in the middle of a file"),
    (gzip.compress(tar_of({"a": ONE}))[:-20], "cut short|truncated|ends"),
    (gzip.compress(bytes(30 << 20)), "more than the 20971520 bytes"),
    (tar_of({f"f{number}": b"" for number in range(60)}), "more than the 50 entries"),
], ids=range(8))  # fmt: skip
def test_a_tar_that_is_damaged_or_hostile_is_refused(
    tmp_path: Path, data: bytes, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_files, "MOST_FILES", 50)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ContextError, match=match) as caught:
        opened(written(tmp_path, data), tmp_path, limits=UnpackLimits(20 << 20))
    assert caught.value.code == "push-source"
    assert os.listdir(tmp_path) == ["a.tar"] and set(os.listdir("/proc/self/fd")) == before


def test_the_same_file_twice_is_one(tmp_path: Path) -> None:
    files = opened(written(tmp_path, tar_of([("a", ONE), ("a", ONE)])))
    assert content(files, "a") == ONE
    files.close()


def test_opening_a_tar_can_be_stopped(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        opened(written(tmp_path, gzip.compress(tar_of({"a": ONE}))), tmp_path, check=cancel.check)
    assert os.listdir(tmp_path) == ["a.tar"]
