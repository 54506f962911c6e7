"""Tars of files that others may change meanwhile."""

import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from firkin.containers.files.archive_tar import TarPieces
from firkin.layer.change import Entry, Opaque, Put, Remove


def opened(tar: TarPieces, pieces: Iterable[bytes]) -> tarfile.TarFile:
    data = b"".join(pieces) + tar.end()
    assert len(data) % 512 == 0
    return tarfile.open(fileobj=io.BytesIO(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "top"
    (place / "sub").mkdir(parents=True)
    (place / "a\nb").write_text("newline")
    (place / "sub" / "f").write_text("hello")
    os.link(place / "sub" / "f", place / "sub" / "g")
    os.symlink("../../../etc", place / "up")
    os.mkfifo(place / "pipe")
    (place / "sub" / "f").chmod(0o4755)
    return place


def test_a_directory_has_everything_under_its_name(folder: Path) -> None:
    tar = TarPieces()
    found = opened(tar, tar.folder(str(folder), "d"))
    assert found.getnames() == ["d", "d/a\nb", "d/pipe", "d/sub", "d/sub/f", "d/sub/g", "d/up"]
    assert found.getmember("d/sub/g").linkname == "d/sub/f"
    assert found.getmember("d/sub/f").mode == 0o4755
    assert found.getmember("d/up").linkname == "../../../etc"
    assert tar.size_bytes == len("newline") + len("hello") + len("../../../etc")


def test_contents_alone_and_without_a_top(folder: Path) -> None:
    tar = TarPieces()
    assert opened(tar, tar.folder(str(folder), ".")).getnames()[:2] == [".", "./a\nb"]
    tar = TarPieces()
    assert opened(tar, tar.folder(str(folder), "", top=False)).getnames()[0] == "a\nb"


def test_a_file_that_shrinks_or_grows_keeps_the_size_of_its_header(tmp_path: Path) -> None:
    size = 700_000
    for change, last in ((lambda fd: os.ftruncate(fd, 300_000), b"\0"), (lambda fd: os.pwrite(fd, b"y" * 9, size), b"x")):
        path = tmp_path / "f"
        path.write_bytes(b"x" * size)
        tar = TarPieces()
        pieces = tar.file(str(path), "f")
        first = next(pieces)
        fd = os.open(path, os.O_WRONLY)
        change(fd)
        os.close(fd)
        member = opened(tar, [first, *pieces]).extractfile("f")
        assert member is not None
        data = member.read()
        assert len(data) == size and data[-1:] == last


def test_what_vanishes_is_left_out(folder: Path) -> None:
    tar = TarPieces()
    assert opened(tar, tar.file(str(folder / "nothing"), "n")).getnames() == []


def test_holes_are_zeros(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
        file.truncate(5 << 20)
    tar = TarPieces()
    member = opened(tar, tar.file(str(path), "s")).extractfile("s")
    assert member is not None and member.read() == bytes(3 << 20) + b"end" + bytes((2 << 20) - 3)


def test_changes_of_a_layer_and_names_that_none_can_hold() -> None:
    tar = TarPieces()
    changes = (Put("d", Entry("dir", 0o755)), Opaque("d"), Remove("d/gone"))
    names = opened(tar, [piece for change in changes for piece in tar.change(change)]).getnames()
    assert names == ["d", "d/.wh..wh..opq", "d/.wh.gone"]
    with pytest.raises(ValueError, match="mean removals"):
        list(TarPieces().change(Put("d/.wh.x", Entry("fifo"))))


def test_owners_can_be_replaced(folder: Path) -> None:
    tar = TarPieces(lambda path, uid, gid: (7, len(path)))
    member = opened(tar, tar.file(str(folder / "sub"), "s")).getmember("s")
    assert (member.uid, member.gid) == (7, 1)
