"""Archives of other programs, and broken ones."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from firkin.layer.change import Entry
from firkin.layer.entry import TRAILER, encode_member, encode_record, padding
from firkin.layer.tar import Member, TarReader


def members(data: bytes, chunk: int = 1000) -> list[tuple[Member, bytes]]:
    reader = TarReader([data[at : at + chunk] for at in range(0, len(data), chunk)])
    found = []
    while (member := reader.next_member()) is not None:
        found.append((member, b"".join(bytes(piece) for piece in reader.content())))
    return found


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b"".join(encode_record(key, value) for key, value in records.items())
    header = bytearray(encode_member("PaxHeaders/x", Entry("file", size=len(body))))
    header[156:157] = kind
    return seal(header) + body + bytes(padding(len(body)))


def seal(header: bytes | bytearray) -> bytes:
    """Set the checksum."""
    header = bytearray(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_formats_of_gnu_tar(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "d" / "sub"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"content" * 1000)
    (folder / "link").symlink_to("file")
    (folder / "hard").hardlink_to(folder / "file")
    (folder / "empty").touch()
    long = "l" * 60 + "/" + "m" * 120 if form in ("gnu", "oldgnu", "pax") else "short"
    (folder / long).parent.mkdir(exist_ok=True)
    (folder / long).write_bytes(b"long")
    data = subprocess.run(
        ["tar", "c", f"--format={form}", "--sort=name", "d"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    found = {member.name: (member, content) for member, content in members(data)}
    assert found["d/sub/"][0].entry.kind == "dir"
    assert found[f"d/sub/{long}"][1] == b"long"
    assert found["d/sub/link"][0].entry.target == "file"
    assert found["d/sub/file"][1] == b"content" * 1000
    assert found["d/sub/hard"][0].link == "d/sub/file"
    status = (folder / "file").stat()
    entry = found["d/sub/file"][0].entry
    assert (entry.mode, entry.uid, entry.gid) == (status.st_mode & 0o7777, status.st_uid, status.st_gid)
    assert entry.mtime_ns == (status.st_mtime_ns if form == "pax" else status.st_mtime_ns // 10**9 * 10**9)


@pytest.mark.parametrize(
    "form", ["--format=gnu", *(f"--format=pax --sparse-version={version}" for version in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files(form: str, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for at in range(40):
            file.seek(at * 100_000)
            file.write(b"%d" % at)
        file.truncate(10 << 20)
    data = subprocess.run(["tar", "cS", *form.split(), "sparse"], cwd=tmp_path, capture_output=True, check=True).stdout
    ((member, content),) = members(data)
    assert member.name == "sparse"
    assert member.sparse is not None
    whole = bytearray(member.entry.size)
    for offset, length in member.sparse:
        whole[offset : offset + length] = content[:length]
        content = content[length:]
    assert bytes(whole) == (tmp_path / "sparse").read_bytes()


def test_python_pax_and_big_numbers() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo("x")
        info.uid, info.gid, info.mtime = 3_000_000, 2**31, -10
        file.addfile(info)
    ((member, _),) = members(buffer.getvalue())
    assert (member.entry.uid, member.entry.gid, member.entry.mtime_ns) == (3_000_000, 2**31, -10 * 10**9)


def test_global_records_hold_until_changed() -> None:
    one = encode_member("one", Entry("file"))
    data = pax({b"uid": b"7", b"comment": b"git"}, b"g") + one + pax({b"uid": b"8"}) + one + one + TRAILER
    assert [member.entry.uid for member, _ in members(data)] == [7, 8, 7]


def test_an_archive_may_end_without_zeros() -> None:
    data = encode_member("one", Entry("file"))
    assert len(members(data)) == 1
    assert members(b"") == []


def test_directories_by_their_slash_and_contiguous_files() -> None:
    header = bytearray(encode_member("old/", Entry("file")))
    header[156:157] = b"\0"
    ((member, _),) = members(seal(header))
    assert member.entry.kind == "dir"
    header = bytearray(encode_member("new", Entry("file", size=3)))
    header[156:157] = b"7"
    ((member, content),) = members(seal(header) + b"abc" + bytes(509))
    assert (member.entry.kind, content) == ("file", b"abc")


def test_volume_labels_are_passed_over() -> None:
    header = bytearray(encode_member("label", Entry("file")))
    header[156:157] = b"V"
    assert [member.name for member, _ in members(seal(header) + encode_member("a", Entry("file")))] == ["a"]


def _typed(kind: bytes) -> bytes:
    header = bytearray(encode_member("a", Entry("file")))
    header[156:157] = kind
    return seal(header)


GOOD = encode_member("good", Entry("file", size=3)) + b"abc" + bytes(509)
BROKEN = {
    "garbage": (b"\x7fELF" + bytes(508), "no tar header"),
    "text": (b"hello world " * 100, "checksum"),
    "half a header": (GOOD[:300], "cut short"),
    "half a file": (encode_member("a", Entry("file", size=5000)) + bytes(100), "middle of a file"),
    "no padding": (GOOD[:520], "cut short"),
    "flipped bit": (b"G" + GOOD[1:], "checksum"),
    "zeros before a header": (bytes(512) + GOOD, "zeros"),
    "unknown type": (_typed(b"Q"), "unknown type"),
    "volumes": (_typed(b"M"), "several volumes"),
    "a pax header and nothing": (pax({b"path": b"x"}), "must follow"),
    "a pax header too big": (seal(_typed(b"x")[:124] + b"77777777777\0" + _typed(b"x")[136:]), "too big"),
    "long name too big": (seal(_typed(b"L")[:124] + b"77777777777\0" + _typed(b"L")[136:]), "too big"),
    "a name of 5000 bytes": (pax({b"path": b"x" * 5000}) + GOOD, "longer than 4000"),
    "a NUL in a name": (pax({b"path": b"a\0b"}) + GOOD, "NUL"),
    "a size that is none": (pax({b"size": b"-1"}) + GOOD, "no number"),
    "an owner out of range": (pax({b"uid": b"99999999999"}) + GOOD, "out of range"),
    "a time out of range": (pax({b"mtime": b"99999999999999"}) + GOOD, "out of range"),
    "negative size": (seal(GOOD[:124] + b"\xff" * 12 + GOOD[136:512]), "negative"),
    "letters for numbers": (seal(GOOD[:100] + b"rw-r--r-" + GOOD[108:512]), "a number"),
    "sparse pieces that overlap": (
        pax({b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0,2,1,1"}) + GOOD,
        "overlap",
    ),
    "sparse map of another file": (pax({b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0,2"}) + GOOD, "does not fit"),
    "sparse map without an end": (pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}) + GOOD, "no number"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives(name: str) -> None:
    data, why = BROKEN[name]
    with pytest.raises(ValueError, match=f"^tar: .*{why}.*at byte") as caught:
        members(GOOD + data)
    assert int(str(caught.value).rpartition("byte ")[2].rstrip(")")) >= len(GOOD)
