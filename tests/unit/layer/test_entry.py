"""Headers as other programs read them, and only as much of them as is needed."""

import io
import subprocess
import tarfile

import pytest

from firkin.layer.change import Entry
from firkin.layer.entry import (
    BLOCK,
    TRAILER,
    encode_member,
    encode_opaque,
    encode_whiteout,
    padding,
    parse_header,
    parse_records,
    parse_time_ns,
)
from firkin.layer.tar import TarReader, clean_name

SECOND = 1_000_000_000

PLAIN = [
    ("a", Entry("file", 0o644, 1, 2, 5, 1_700_000_000 * SECOND)),
    ("usr/bin/tool", Entry("file", 0o4755, 0, 0, 0)),
    ("tmp", Entry("dir", 0o1777, 0, 0, 0, 3 * SECOND)),
    ("l", Entry("symlink", 0o777, target="../x y")),
    ("null", Entry("char", 0o666, major=1, minor=3)),
    ("sda", Entry("block", 0o660, 0, 6, major=8, minor=16)),
    ("p", Entry("fifo", 0o600)),
    ("d" * 60 + "/" + "n" * 90, Entry("file", 0o600)),
    ("x" * 99, Entry("dir", 0o755)),
]
EXTENDED = [
    ("d/é", Entry("dir", 0o755)),
    ("x" * 150, Entry("file")),
    ("x" * 100, Entry("dir", 0o755)),
    ("/".join(["p" * 50] * 8), Entry("file", size=3)),
    ("l", Entry("symlink", 0o777, target="t" * 101)),
    ("u", Entry("file", uid=3_000_000, gid=2_097_152)),
    ("c", Entry("file", xattrs=(("security.capability", b"\0=\n\xff"), ("user.ä", b"")))),
    ("before-1970", Entry("file", mtime_ns=-5 * SECOND)),
    ("not-utf8-\udcff", Entry("fifo")),
]


def archive(members: list[tuple[str, Entry]]) -> bytes:
    pieces = []
    for path, entry in members:
        pieces.append(encode_member(path, entry))
        if entry.kind == "file":
            pieces.append(b"x" * entry.size + bytes(padding(entry.size)))
    return b"".join((*pieces, TRAILER))


@pytest.mark.parametrize(("path", "entry"), PLAIN, ids=[path[:20] for path, _ in PLAIN])
def test_plain_members_are_one_block(path: str, entry: Entry) -> None:
    assert len(encode_member(path, entry)) == BLOCK


@pytest.mark.parametrize(("path", "entry"), EXTENDED, ids=[path[:20] for path, _ in EXTENDED])
def test_others_have_one_pax_header(path: str, entry: Entry) -> None:
    encoded = encode_member(path, entry)
    assert encoded[156:157] == b"x"
    assert len(encoded) == 3 * BLOCK or len(encoded) == 4 * BLOCK


@pytest.mark.parametrize("chunk", [1, 7, 511, 512, 1 << 20])
def test_reader_gives_back_what_was_written(chunk: int) -> None:
    members = PLAIN + EXTENDED
    data = archive(members)
    reader = TarReader([data[at : at + chunk] for at in range(0, len(data), chunk)])
    found = []
    while (member := reader.next_member()) is not None:
        found.append((clean_name(member.name), member.entry))
        assert b"".join(bytes(piece) for piece in reader.content()) == b"x" * member.entry.size
    assert found == members


def test_python_reads_it() -> None:
    members = PLAIN + EXTENDED
    with tarfile.open(fileobj=io.BytesIO(archive(members))) as file:
        for (path, entry), member in zip(members, file, strict=True):
            assert member.name == path
            assert (member.mode, member.uid, member.gid, member.size) == (entry.mode, entry.uid, entry.gid, entry.size)
            assert member.mtime == entry.mtime_ns // SECOND
            assert member.linkname == entry.target
            assert (member.devmajor, member.devminor) == (entry.major, entry.minor)
            assert (member.uname, member.gname) == ("", "")
            assert member.isdir() == (entry.kind == "dir")


def test_gnu_tar_reads_it() -> None:
    members = PLAIN + EXTENDED
    command = ["tar", "tvf", "-", "--numeric-owner", "--quoting-style=literal", "--utc", "--full-time"]
    listed = subprocess.run(command, input=archive(members), capture_output=True, check=True).stdout
    lines = listed.decode("utf-8", "surrogateescape").splitlines()
    assert len(lines) == len(members)
    assert lines[0].split() == ["-rw-r--r--", "1/2", "5", "2023-11-14", "22:13:20", "a"]
    for (path, entry), line in zip(members, lines):
        assert f" {path}" in line
        assert f"{entry.uid}/{entry.gid}" in line
        assert not entry.target or line.endswith(f" -> {entry.target}")


def test_times_lose_their_fraction_and_can_be_clamped() -> None:
    entry = Entry("file", mtime_ns=1_700_000_000_999_999_999)
    assert parse_header(encode_member("a", entry))[6] == 1_700_000_000
    assert parse_header(encode_member("a", entry, clamp_mtime_s=5))[6] == 5
    assert parse_header(encode_member("a", Entry("file", mtime_ns=3 * SECOND), clamp_mtime_s=5))[6] == 3


def test_hard_link_has_no_content() -> None:
    reader = TarReader([encode_member("b", Entry("file", size=10), link="d/a")])
    member = reader.next_member()
    assert member is not None
    assert (member.is_link, member.link, member.entry.size, member.stored) == (True, "d/a", 0, 0)


def test_removals() -> None:
    assert parse_header(encode_whiteout("a/b"))[0] == b"a/.wh.b"
    assert parse_header(encode_whiteout("b"))[:6] == (b".wh.b", b"0", 0, 0, 0, 0)
    assert parse_header(encode_opaque("a"))[0] == b"a/.wh..wh..opq"
    assert parse_header(encode_opaque(""))[0] == b".wh..wh..opq"


def test_root_is_written_as_dot() -> None:
    assert parse_header(encode_member("", Entry("dir", 0o755)))[0] == b"./"
    assert clean_name("./") == ""


def test_what_no_tar_can_hold() -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode_member("a\0b", Entry("file"))
    with pytest.raises(ValueError, match=r"user\.a=b"):
        encode_member("a", Entry("file", xattrs=(("user.a=b", b""),)))
    with pytest.raises(ValueError, match="too big"):
        encode_member("a", Entry("file", xattrs=(("user.a", bytes(1 << 21)),)))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"x path=a\n", "no length"),
        (b"99 path=a\n", "cut short"),
        (b"10 path=ab\n", "cut short"),
        (b"5 =a\n", "cut short"),
        (b"-9 path=a\n", "no length"),
        (b"9" * 30, "no length"),
    ],
)
def test_damaged_pax_records(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_records(body)


def test_pax_times() -> None:
    assert parse_time_ns(b"12.5") == 12_500_000_000
    assert parse_time_ns(b"-1") == -SECOND
    assert parse_time_ns(b"1.1234567899") == 1_123_456_789
    for wrong in (b"", b"1e5", b"1.x", b"9" * 30):
        with pytest.raises(ValueError):
            parse_time_ns(wrong)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a/b", "a/b"),
        ("./a/b/", "a/b"),
        ("/a//b", "a/b"),
        ("../../a", "a"),
        ("a/../../b", "b"),
        ("a/./.b/..c", "a/.b/..c"),
        (".", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_clean_names(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_strict_names() -> None:
    assert clean_name("a/../b", strict=True) == "b"
    for name in ("../a", "a/../../b", "/../a", ".."):
        with pytest.raises(ValueError, match="out of the root"):
            clean_name(name, strict=True)
