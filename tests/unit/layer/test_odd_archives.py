"""Archives that nobody made in good faith end in a ValueError, or in what was meant; never in another error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from firkin.hints import Hint
from firkin.layer.change import Entry
from firkin.layer.compress import iter_decompressed
from firkin.layer.entry import TRAILER, encode_member, encode_record, padding
from firkin.layer.index import IndexWriter, index_tar, open_index
from firkin.layer.limits import UnpackLimits
from firkin.layer.scan import iter_upper_changes
from firkin.layer.tar import LimitReached, TarReader
from firkin.layer.unpack import unpack_layer
from firkin.linux.folders import remove_tree

ME = (os.getuid(), os.getgid())


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> bytes:
    """Return a member with any field, as Python's library writes it."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.uid, info.gid = ME
    pax = fields.pop("pax", {})
    for key, value in fields.items():
        setattr(info, key, value)
    info.pax_headers = pax  # type: ignore[assignment]
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + data + bytes(-len(data) % 512)


def with_records(name: str, **records: bytes) -> bytes:
    """Return a file whose PAX header says these records, whatever they are; `__` stands for a dot."""
    body = b"".join(encode_record(key.replace("__", ".").encode(), value) for key, value in records.items())
    header = encode_member("pax", Entry("file", 0o644, size=len(body)))
    header = header[:156] + b"x" + header[157:]
    header = header[:148] + b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:])) + header[156:]
    return header + body + bytes(padding(len(body))) + member(name)


def read_all(tar: bytes, place: Path) -> None:
    """Do with an archive what is done with layers: unpack, index, and look at what came of it."""
    tree = place / "tree"
    tree.mkdir()
    try:
        unpack_layer([tar], str(tree), strict=True)
        if not os.geteuid():  # an archive may forbid an ordinary user to look into its directories
            list(iter_upper_changes(str(tree)))
    finally:
        remove_tree(str(tree))
        writer = IndexWriter()
        index_tar([tar], writer)
        with (place / "index").open("wb") as file:
            writer.write(file)
        with open_index(str(place / "index")) as index:
            for record in index.iter():
                index.lookup(record.path)


REFUSED = {
    "device number": member("d", tarfile.CHRTYPE, devmajor=2_000_000, devminor=2_000_000),
    "device number in base 256": member("d", tarfile.BLKTYPE)[:329]
    + b"\xff" * 8
    + member("d", tarfile.BLKTYPE)[337:],
    "name": member("n" * 300),
    "name of a directory": member("d/" + "n" * 256 + "/f"),
    "path": member("/".join(["d" * 200] * 25)),
    "deep": member("d/" * 5000 + "f"),
    "link text": member("l", tarfile.SYMTYPE, linkname="t" * 5000),
    "empty link text": member("l", tarfile.SYMTYPE, linkname=""),
    "owner": with_records("f", uid=b"4294967296"),
    "owner that means nobody": with_records("f", uid=b"4294967295"),
    "negative owner": with_records("f", gid=b"-1"),
    "time": with_records("f", mtime=b"99999999999999"),
    "time that is none": with_records("f", mtime=b"now"),
    "size": with_records("f", size=b"999999999999999999"),
    "negative size": with_records("f", size=b"-5"),
    "NUL in a name": with_records("f", path=b"a\0b"),
    "NUL in a link": with_records("f", linkpath=b"a\0b"),
    "attribute without a name": with_records("f", SCHILY__xattr__=b"x"),
    "attribute's long name": with_records("f", **{"SCHILY__xattr__user__" + "n" * 300: b"x"}),
    "attribute's NUL": with_records("f", **{"SCHILY__xattr__user__a\0b": b"x"}),
    "pieces of a sparse file": with_records(
        "f", GNU__sparse__major=b"0", GNU__sparse__size=b"9", GNU__sparse__map=b"5,9"
    ),
    "sparse size": with_records(
        "f", GNU__sparse__major=b"0", GNU__sparse__size=b"999999999999999999", GNU__sparse__map=b""
    ),
    "no type": member("f", b"?"),
    "a file below a file": member("f") + member("f/x"),
    "a hard link to itself": member("f", tarfile.LNKTYPE, linkname="f"),
    "a hard link to nothing": member("f", tarfile.LNKTYPE, linkname="g"),
    "endless links": member("a", tarfile.SYMTYPE, linkname="b") + member("b", tarfile.SYMTYPE, linkname="a")
    + member("a/x"),
    "out of the root": member("../x"),
    "headers without a member": b"".join([with_records("f", comment=b"x" * (1 << 20))[:-512]] * 6),
    "no archive": random.Random(1).randbytes(5000),
    "half an archive": member("f", data=bytes(5000))[:3000],
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    outside = sorted(os.listdir(tmp_path))
    tree = tmp_path / "tree"
    tree.mkdir()
    with pytest.raises(ValueError, match=r".") as caught:
        unpack_layer([REFUSED[what] + TRAILER], str(tree), strict=True)
    assert type(caught.value) in (ValueError, LimitReached)  # not one of Python's own, as of a codec
    assert len(str(caught.value)) < 400
    remove_tree(str(tree))
    try:
        read_all(REFUSED[what] + TRAILER, tmp_path)
    except ValueError as error:
        assert type(error) in (ValueError, LimitReached)
    assert set(os.listdir(tmp_path)) - {"index"} == set(outside)


@pytest.mark.parametrize(
    "attribute",
    [
        b"SCHILY.xattr.security.capability=x",
        b"SCHILY.xattr.user.big=" + b"x" * 70_000,
        b"SCHILY.xattr.user.medium=" + b"x" * 65_536,
    ],
    ids=["capability", "over the limit", "more than a block"],
)
def test_attributes_that_no_file_can_have(tmp_path: Path, attribute: bytes) -> None:
    key, _, value = attribute.partition(b"=")
    tar = with_records("f", **{key.decode().replace(".", "__"): value})
    try:
        read_all(tar + TRAILER, tmp_path)
    except ValueError as error:
        assert "cannot have its extended attribute" in str(error)


def test_what_is_unusual_and_right(tmp_path: Path) -> None:
    odd = [
        member("n" * 255),
        member("d2/.wh." + "n" * 255),
        member("/".join(["d"] * 1900) + "/f"),
        member(os.fsdecode(b"caf\xe9")),
        member("l", tarfile.SYMTYPE, linkname="t" * 4095),
        with_records("old", mtime=b"-1.5"),
        with_records("late", mtime=b"8000000000.123456789123"),
        with_records("x", **{"SCHILY__xattr__trusted__" + "n" * 200: b"not kept"}),
        member("new\nline"),
    ]
    read_all(b"".join(odd) + TRAILER, tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    parts = [
        member("d", tarfile.DIRTYPE), member("d/f", data=b"x" * 700), with_records("p", SCHILY__xattr__user__a=b"1"),
        member("s", tarfile.SYMTYPE, linkname="d"), member("s/g"), member("h", tarfile.LNKTYPE, linkname="d/f"),
        member("d/.wh.gone"), member("d/.wh..wh..opq"), member("n" * 200), member("dev", tarfile.FIFOTYPE),
    ]  # fmt: skip
    tar = bytearray(b"".join(parts) + TRAILER)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(0, len(tar) - 512, 512)
        block = bytearray(tar[at : at + 512])
        block[chance.randrange(512)] = chance.randrange(256)
        # With a checksum that is right, so that the field itself is read.
        block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        tar[at : at + 512] = block
    cut = len(tar) if chance.random() < 0.7 else chance.randrange(len(tar))
    try:
        read_all(bytes(tar[:cut]), tmp_path)
    except ValueError as error:
        assert type(error) in (ValueError, LimitReached)
    assert set(os.listdir(tmp_path)) <= {"index"}


# --- limits ---


def bomb(format: str, mebibytes: int) -> Iterator[bytes]:
    """Yield a compressed archive of one file of zeros."""
    header = encode_member("zeros", Entry("file", 0o644, *ME, mebibytes << 20))
    zeros = header + bytes(mebibytes << 20) + TRAILER
    if format == "gzip":
        yield gzip.compress(zeros, 1)
    elif format == "zstd":
        yield zstandard.ZstdCompressor().compress(zeros)
    elif format == "bzip2":
        yield bz2.compress(zeros)
    elif format == "xz":
        yield lzma.compress(zeros, preset=0)
    else:
        yield zeros


@pytest.mark.parametrize("format", ["gzip", "zstd", "bzip2", "xz", "none"])
def test_a_bomb_ends_before_it_is_unpacked(format: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(LimitReached, match="more than the 1048576 bytes") as caught:
        unpack_layer(iter_decompressed(bomb(format, 8)), str(tmp_path / "tree"), limits=UnpackLimits(1 << 20))
    assert caught.value.hint == Hint.of("unpack-size")
    assert os.listdir(tmp_path / "tree") == []
    unpack_layer(iter_decompressed(bomb(format, 1)), str(tmp_path / "tree"), limits=UnpackLimits(1 << 20))
    assert (tmp_path / "tree" / "zeros").stat().st_size == 1 << 20


def read_members(tar: Iterator[bytes] | list[bytes], limits: UnpackLimits) -> int:
    reader = TarReader(tar, limits)
    count = 0
    while reader.next_member() is not None:
        count += 1
    reader.drain()
    return count


def test_many_small_files_and_many_entries() -> None:
    tar = [b"".join(member(f"f{number}", data=bytes(1000)) for number in range(100)) + TRAILER]
    assert read_members(tar, UnpackLimits(100_000, 100)) == 100
    assert read_members(tar, UnpackLimits(0, 0)) == 100
    with pytest.raises(LimitReached, match="more than the 99999 bytes"):
        read_members(tar, UnpackLimits(99_999, 0))
    with pytest.raises(LimitReached, match="more than the 99 entries") as caught:
        read_members(tar, UnpackLimits(0, 99))
    assert caught.value.hint == Hint.of("unpack-entries")


def test_the_lastlog_of_large_user_ids_is_no_bomb() -> None:
    lastlog = with_records("f", GNU__sparse__major=b"0", GNU__sparse__size=b"292057776128", GNU__sparse__map=b"")
    member = TarReader([lastlog]).next_member()
    assert member is not None and member.entry.size == 292_057_776_128


@pytest.mark.parametrize("where", ["behind the end", "in headers", "in a hole"])
def test_nothing_gets_by_the_limit(where: str) -> None:
    def chunks() -> Iterator[bytes]:
        if where == "in a hole":
            yield with_records("f", GNU__sparse__major=b"0", GNU__sparse__size=b"9000000", GNU__sparse__map=b"")
        yield TRAILER if where == "behind the end" else b""
        header = with_records("f", comment=b"x" * 1_000_000)[:-512]
        while given[0] < 1 << 30:
            given[0] += 1 << 20
            yield bytes(1 << 20) if where == "behind the end" else header + member("f")

    given = [0]
    with pytest.raises(LimitReached):
        read_members(chunks(), UnpackLimits(1 << 20))
    assert given[0] < 64 << 20


def test_a_pipe_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    taken = [0]

    def endless() -> Iterator[bytes]:
        for number in range(1 << 20):
            taken[0] += 1
            yield member(f"f{number}", data=bytes(1000))

    with pytest.raises(LimitReached):
        index_tar(endless(), IndexWriter(), UnpackLimits(entries=500))
    assert taken[0] < 520
