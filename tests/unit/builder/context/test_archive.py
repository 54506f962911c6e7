"""Archives are found by content and read whole, whatever they are compressed with."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from firkin.builder.context.archive import ArchiveOpener
from firkin.errors import ContextError
from firkin.layer.change import Content
from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import LimitReached


def make_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, data: bytes = b"", **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))

        add("./", tarfile.DIRTYPE, mode=0o700)
        add("d/f", tarfile.REGTYPE, b"small", uid=3, gid=4, mtime=5)
        add("big", tarfile.REGTYPE, b"b" * 100_000, pax_headers={"SCHILY.xattr.user.note": "x"})
        add("l", tarfile.SYMTYPE, linkname="d/f")
        add("h", tarfile.LNKTYPE, linkname="big")
        add("p", tarfile.FIFOTYPE, mode=0o620)
    return out.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def opener(tmp_path: Path) -> ArchiveOpener:
    return ArchiveOpener(lambda prefix: str(tmp_path / prefix))


def data_of(content: Content | None) -> bytes:
    if isinstance(content, str):
        return Path(content).read_bytes()
    assert content is not None
    return content


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_members(tmp_path: Path, compression: str) -> None:
    place = tmp_path / "archive.bin"
    place.write_bytes(COMPRESSIONS[compression](make_tar()))
    opened = opener(tmp_path)(str(place))
    assert opened is not None
    members = {member.path: member for member in opened}
    small, big = members["d/f"], members["big"]
    assert (small.entry.uid, small.entry.gid, small.entry.mtime_ns) == (3, 4, 5 * 10**9)
    assert data_of(small.content) == b"small"
    assert data_of(big.content) == b"b" * 100_000
    assert big.entry.xattrs == ()
    assert members["l"].entry.target == "d/f"
    assert (members["h"].link, members["h"].content) == ("big", None)
    assert (members["p"].entry.kind, members["p"].entry.mode) == ("fifo", 0o620)


@pytest.mark.parametrize(
    "data",
    [b"", b"text\n" * 500, gzip.compress(b"text"), gzip.compress(b""), bytes(10240), make_tar()[:300], b"\x1f\x8b\x08"],
    ids=["empty", "text", "gzip of text", "gzip of nothing", "tar of nothing", "cut header", "cut gzip"],
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    assert opener(tmp_path)(data) is None


def test_an_archive_that_is_cut_short_is_damaged(tmp_path: Path) -> None:
    opened = opener(tmp_path)(make_tar()[:3000])
    assert opened is not None
    with pytest.raises(ValueError, match="archive"):
        list(opened)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="cannot read"):
        opener(tmp_path)(str(tmp_path / "nothing"))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_beyond_the_limits_is_one_all_the_same(tmp_path: Path, compression: str) -> None:
    """It is not taken for a file that ADD copies as it is, whichever of its members is too much."""
    data = COMPRESSIONS[compression](make_tar())
    for limits in (UnpackLimits(entries=1), UnpackLimits(size_bytes=4), UnpackLimits(size_bytes=99_999)):
        members = ArchiveOpener(lambda prefix: str(tmp_path / prefix), limits)(data)
        assert members is not None
        with pytest.raises(LimitReached):
            list(members)
