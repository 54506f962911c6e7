"""Layers hold whatever a tree may hold, and no bytes make the readers fail otherwise than by ValueError."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Entry, Opaque, Put, Remove
from firkin.layer.compress import iter_decompressed
from firkin.layer.entry import TRAILER, encode_member, encode_record, padding
from firkin.layer.index import IndexWriter, open_index
from firkin.layer.limits import UnpackLimits
from firkin.layer.scan import iter_tree_changes, iter_upper_changes, scan_tree
from firkin.layer.stream import write_layer
from firkin.layer.tar import TarReader, clean_name
from firkin.layer.unpack import unpack_layer

ME = (os.getuid(), os.getgid())
MANY = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

# File names as the kernel knows them: bytes without NUL and slash.
raw_names = st.one_of(
    st.sampled_from([b"a", b"b", b"a-b", b"a.b", b".x", b" ", b"\xff", "é".encode(), b"n" * 101, b"n" * 255]),
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"_")),
).filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
names = raw_names.map(os.fsdecode)
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
xattrs = st.dictionaries(st.sampled_from(["user.a", "user.b c", "user.ä"]), st.binary(max_size=600), max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
seconds = st.integers(-(1 << 32), 1 << 32)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(["file", "dir", "symlink", "fifo", "char", "block"]))
    device = kind in ("char", "block")
    return Entry(
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.integers(0, 2**32 - 2)),
        draw(st.integers(0, 2**32 - 2)),
        draw(st.integers(0, 1 << 40)) if kind == "file" else 0,
        draw(seconds) * 10**9,
        draw(paths) if kind == "symlink" else "",
        draw(st.integers(1, 4095)) if device else 0,
        draw(st.integers(0, 2**20 - 1)) if device else 0,
        draw(xattrs),
    )


@MANY
@given(paths, entries())
def test_headers_come_back(path: str, entry: Entry) -> None:
    encoded = encode_member(path, entry)
    assert len(encoded) % 512 == 0
    member = TarReader([encoded], UnpackLimits(size_bytes=1 << 62)).next_member()
    assert member is not None
    assert (clean_name(member.name), member.entry) == (path, entry)


def _read_all(data: bytes, chunk: int) -> None:
    reader = TarReader([data[at : at + chunk] for at in range(0, len(data), chunk)])
    while (member := reader.next_member()) is not None:
        clean_name(member.name)
        for _ in reader.content():
            pass


@MANY
@given(st.binary(max_size=3000), st.integers(1, 700))
def test_any_bytes_as_tar(data: bytes, chunk: int) -> None:
    try:
        _read_all(data, chunk)
    except ValueError:
        pass


records = st.lists(
    st.tuples(
        st.sampled_from([b"path", b"linkpath", b"size", b"uid", b"mtime", b"SCHILY.xattr.user.a", b"GNU.sparse.map",
                         b"GNU.sparse.size", b"GNU.sparse.realsize", b"GNU.sparse.major", b"GNU.sparse.minor",
                         b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.name"]),
        st.one_of(st.binary(max_size=20), st.integers(-5, 1 << 70).map(lambda value: b"%d" % value),
                  st.sampled_from([b"0,1,2,3", b"0", b"1", b"10", b""])),
    ),
    max_size=5,
)  # fmt: skip


@st.composite
def odd_members(draw: st.DrawFn) -> bytes:
    """Build a member with a valid checksum and anything else."""
    body = b"".join(encode_record(key, value) for key, value in draw(records))
    header = bytearray(encode_member(draw(st.sampled_from(["a", "a/b", "c/"])), Entry("file", size=len(body))))
    header[156] = draw(st.sampled_from(b"0125SxgLKVDM7\0"))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from([100, 108, 116, 124, 136, 157, 257, 329, 345, 386, 398, 482, 483]))
        field = draw(st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from([b"\x80" + bytes(6), b"\xff" * 8])))
        header[at : at + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + body + bytes(padding(len(body)))


@MANY
@given(st.lists(odd_members(), max_size=4), st.integers(1, 2000))
def test_any_headers_as_tar(members: list[bytes], chunk: int) -> None:
    try:
        _read_all(b"".join(members), chunk)
    except ValueError:
        pass


@SOME
@given(st.lists(odd_members(), max_size=4))
def test_any_headers_stay_beneath_the_root(members: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "root").mkdir()
        try:
            unpack_layer([b"".join(members)], f"{place}/root", chown=False)
        except (ValueError, OSError):
            pass
        assert os.listdir(place) == ["root"]


@MANY
@given(
    st.sampled_from([b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0", b""]), st.binary(max_size=300)
)
def test_any_bytes_as_compressed(magic: bytes, data: bytes) -> None:
    try:
        for _ in iter_decompressed([magic + data]):
            pass
    except ValueError:
        pass


# --- trees -------------------------------------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn) -> list[Change]:
    """Draw the changes of one layer, in any sensible shape."""
    kinds: dict[str, str] = {}
    for path in draw(st.lists(st.lists(names, min_size=1, max_size=4), max_size=12)):
        for depth in range(1, len(path)):
            if kinds.setdefault("/".join(path[:depth]), "dir") != "dir":
                break
        else:
            kinds.setdefault("/".join(path), draw(st.sampled_from(["file", "dir", "symlink", "fifo", "gone", "link"])))
    changes: list[Change] = []
    files: list[Put] = []
    for path in sorted(kinds, key=lambda path: os.fsencode(path).split(b"/")):
        kind = kinds[path]
        if kind == "gone":
            changes.append(Remove(path))
            continue
        if kind == "link" and files:
            first = draw(st.sampled_from(files))
            changes.append(Put(path, first.entry, None, first.path))
            continue
        kind = "file" if kind == "link" else kind
        content = draw(st.binary(max_size=1500)) if kind == "file" else b""
        entry = Entry(
            kind,  # type: ignore[arg-type]
            0o777 if kind == "symlink" else draw(st.integers(0, 0o777)) | 0o700,
            *ME,
            len(content),
            abs(draw(seconds)) * 10**9,
            draw(paths) if kind == "symlink" else "",
            xattrs=draw(xattrs) if kind in ("file", "dir") else (),
        )
        put = Put(path, entry, content if kind == "file" else None)
        if kind == "file":
            files.append(put)
        changes.append(put)
        if kind == "dir" and draw(st.booleans()):
            changes.append(Opaque(path))
    return changes


def _plain(changes: Iterator[Change] | list[Change]) -> list[Change]:
    """Take away what a layer does not keep."""
    return [
        Put(change.path, msgspec.structs.replace(change.entry, inode=None), None, change.link)
        if isinstance(change, Put)
        else change
        for change in changes
    ]


@SOME
@given(trees(), st.sampled_from(["gzip", "zstd", "none"]))
def test_tree_to_layer_to_tree(changes: list[Change], compression: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ("applied", "unpacked"):
            os.mkdir(f"{place}/{name}")
        # A link's first name in the order of a scan is the file, the others are links to it.
        apply_changes(changes, f"{place}/applied")
        applied = list(iter_upper_changes(f"{place}/applied"))
        sink = io.BytesIO()
        digests = write_layer(applied, sink, compression=compression)  # type: ignore[arg-type]
        unpack_layer(iter_decompressed([sink.getvalue()]), f"{place}/unpacked")
        unpacked = list(iter_upper_changes(f"{place}/unpacked"))
        assert _plain(unpacked) == _plain(applied)
        assert write_layer(unpacked, io.BytesIO(), compression=compression) == digests  # type: ignore[arg-type]
        assert {change.path for change in applied} == {change.path for change in changes}


@SOME
@given(trees())
def test_index_says_what_the_tree_says(changes: list[Change]) -> None:
    writer = IndexWriter()
    for change in changes:
        writer.add(change)
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/index", "wb") as file:
            writer.write(file)
        with open_index(f"{place}/index") as index:
            said: list[Change] = []
            for record in index.iter():
                if record.entry is None:
                    said.append(Remove(record.path))
                    continue
                said.append(Put(record.path, record.entry, None, record.link))
                if record.opaque:
                    said.append(Opaque(record.path))
            assert _plain(said) == _plain(changes)
            for change in changes:
                assert index.lookup(change.path) is not None
                folder, _, name = change.path.rpartition("/")
                assert name in {found for found, _ in index.children(folder)}


@SOME
@given(trees(), trees())
def test_changes_between_listings_lead_from_one_to_the_other(old: list[Change], new: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ("work", "copy"):
            os.mkdir(f"{place}/{name}")
            apply_changes(_without_marks(old), f"{place}/{name}", form="flat")
        before = scan_tree(f"{place}/work")
        apply_changes(_without_marks(new), f"{place}/work", form="flat")
        found = list(iter_tree_changes(f"{place}/work", before, scan_tree(f"{place}/work")))
        sink = io.BytesIO()
        write_layer(found, sink, compression="none")
        os.mkdir(f"{place}/layer")
        implied = unpack_layer([sink.getvalue()], f"{place}/layer").implied
        unpacked = iter_upper_changes(f"{place}/layer")
        named = [change for change in unpacked if not (isinstance(change, Put) and change.path in implied)]
        apply_changes(named, f"{place}/copy", form="flat")
        assert _names(f"{place}/copy") == _names(f"{place}/work")


def _without_marks(changes: list[Change]) -> list[Change]:
    return [change for change in changes if not isinstance(change, Opaque)]


def _names(root: str) -> list[tuple[str, object]]:
    return [
        (change.path, msgspec.structs.replace(change.entry, inode=None, mtime_ns=0))
        for change in iter_upper_changes(root)
        if isinstance(change, Put)
    ]


def test_an_empty_archive_ends() -> None:
    assert TarReader([TRAILER]).next_member() is None
