"""A layer's metadata in one small file: every member, sorted, found by bisection without reading the rest. Does I/O.

`content` keeps one for each layer whose names are needed without a tree, and reads them as views.

Layout, little endian:
  magic    16 bytes
  records  path with NUL for `/`, NUL NUL, then: kind u8, flags u8, mode u16, uid u32, gid u32, size u64,
           mtime_ns i64, device u64, target length u16, xattrs length u32, target, xattrs
           (each: name length u16, value length u32, name, value)
  table    where each record begins, u32 each, in the order of the records
  end      count u32, where the table begins u32
NUL sorts below every byte of a name, so a directory's content follows it, and the order is that of `scan`.
A file costs its path and 52 bytes. The same members give the same bytes.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from firkin.layer.change import OPAQUE_NAME, WHITEOUT_PREFIX, Change, Entry, Kind, Opaque, Put, Remove
from firkin.layer.compare import LATEST_NS, clamp_ns
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.places import Places

if TYPE_CHECKING:
    from firkin.layer.tar import Member, TarReader

_MAGIC = b"firkin index 1\n\0"
_fixed = struct.Struct("<BBHIIQqQHI")
_attribute = struct.Struct("<HI")
_end = struct.Struct("<II")
_ordinal = struct.Struct(">I")

_KINDS: tuple[Kind, ...] = ("file", "dir", "symlink", "fifo", "char", "block")
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DIR = 1
_LINK, _REMOVE, _OPAQUE_ONLY = 6, 7, 8
_FLAG_OPAQUE, _FLAG_LINKED = 1, 2
_FLAG_ONCE = 4
"""Only one member has this path. Indexes of earlier versions have it nowhere."""


class IndexRecord(NamedTuple):
    """One layer's record of a path. `entry` None: removed. `opaque`: hides what lies below;
    `implied`: the layer says no more than `opaque`, or only has members beneath it, so the attributes are not its own.
    """

    path: str
    entry: Entry | None
    link: str = ""
    opaque: bool = False
    implied: bool = False


class IndexFile(Protocol):
    """Where an index is written: a file opened for binary writing."""

    def write(self, data: bytes, /) -> object: ...


class IndexWriter:
    """Collects changes in any order (`observe=writer.add`), about 150 bytes each, and writes them sorted."""

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._linked: set[bytes] = set()

    def add(self, change: Change) -> None:
        """Note one change."""
        # The ordinal keeps several changes of one path in their order.
        ordinal = _ordinal.pack(len(self._records))
        key = key_of(change.path)
        if type(change) is Put:
            entry = change.entry
            target = entry.target
            number = _NUMBERS[entry.kind]
            if change.link:
                target = change.link
                self._linked.add(key_of(target))
                number |= _LINK << 4
            raw = target.encode("utf-8", "surrogateescape")
            xattrs = b""
            if entry.xattrs:
                xattrs = b"".join(
                    _pack_attribute(name, value)
                    for name, value in entry.xattrs
                    if name.startswith("user.") or name == "security.capability"  # a tree has no others
                )
            fixed = _fixed.pack(
                number,
                _FLAG_ONCE,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.size,
                entry.mtime_ns if -LATEST_NS <= entry.mtime_ns <= LATEST_NS else clamp_ns(entry.mtime_ns),
                entry.major << 32 | entry.minor,
                len(raw),
                len(xattrs),
            )
            self._records.append(b"".join((key, b"\0\0", ordinal, fixed, raw, xattrs)))
        else:
            number = _OPAQUE_ONLY if type(change) is Opaque else _REMOVE
            self._records.append(b"".join((key, b"\0\0", ordinal, _fixed.pack(number, 0, 0, 0, 0, 0, 0, 0, 0, 0))))

    def write(self, file: IndexFile) -> None:
        """Write the index and empty the writer. Raises ValueError for an index above 4 GiB."""
        from array import array

        records = self._records
        records.sort()
        table = array("I")
        file.write(_MAGIC)
        at = len(_MAGIC)
        buffer: list[bytes] = []
        held = 0
        index = 0
        count = len(records)
        while index < count:
            record = records[index]
            cut = record.index(b"\0\0") + 2
            body = record[cut + 4 :]
            index += 1
            while index < count and records[index].startswith(record[:cut]):
                body = _merge(body, records[index][cut + 4 :])
                index += 1
            if body[0] == _REMOVE and index < count and records[index].startswith(record[: cut - 1]):
                # The layer puts something beneath a path that it removes: so it makes a new directory there.
                body = bytes((_OPAQUE_ONLY,)) + body[1:]
            if record[: cut - 2] in self._linked:
                body = body[:1] + bytes((body[1] | _FLAG_LINKED,)) + body[2:]
            if at > 0xFFFFFFFF:
                raise ValueError("the layer has too many members for an index")
            table.append(at)
            buffer.append(record[:cut])
            buffer.append(body)
            at += cut + len(body)
            held += 1
            if held == 1024:
                file.write(b"".join(buffer))
                buffer.clear()
                held = 0
        if sys.byteorder == "big":
            table.byteswap()
        buffer.append(table.tobytes())
        buffer.append(_end.pack(len(table), at))
        file.write(b"".join(buffer))
        self._records = []
        self._linked = set()


def _pack_attribute(name: str, value: bytes) -> bytes:
    raw = name.encode("utf-8", "surrogateescape")
    return _attribute.pack(len(raw), len(value)) + raw + value


def _merge(old: bytes, new: bytes) -> bytes:
    """Return the meaning of two records of one path: a Put wins over a removal."""
    old_word, new_word = old[0], new[0]
    opaque = old_word in (_REMOVE, _OPAQUE_ONLY) or new_word in (_REMOVE, _OPAQUE_ONLY) or bool(old[1] & _FLAG_OPAQUE)
    if new_word in (_REMOVE, _OPAQUE_ONLY):
        kept = new if old_word == _REMOVE else old
    elif old_word in (_REMOVE, _OPAQUE_ONLY):
        kept = new
    else:
        kept = new[:1] + bytes((new[1] & ~_FLAG_ONCE,)) + new[2:]
    if kept[0] == _DIR and opaque:
        return kept[:1] + bytes((kept[1] | _FLAG_OPAQUE,)) + kept[2:]
    return kept


def key_of(path: str) -> bytes:
    """Return the bytes that paths are sorted by."""
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


class LayerIndex:
    """An open index. Made by `open_index`; a context manager."""

    def __init__(self, data: mmap.mmap, count: int, table: int) -> None:
        self._data = data
        self._count = count
        self._table = memoryview(data)[table : table + 4 * count].cast("I")

    def __enter__(self) -> LayerIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Unmap the file."""
        self._table.release()
        self._data.close()

    def lookup(self, path: str) -> IndexRecord | None:
        """Return the layer's record of a path; None if it has neither the path nor anything beneath it."""
        key = key_of(path)
        at = self._bisect(key + b"\0\0")
        if at == self._count:
            return None
        start = self._start(at)
        found = self._data[start : start + len(key) + 2]
        if found == key + b"\0\0":
            return self._record(at)
        if not key or found.startswith(key + b"\0"):
            return IndexRecord(path, Entry("dir", 0o755), implied=True)
        return None

    def is_once(self, path: str) -> bool:
        """Say whether the archive is known to have one member of a path, whose content then is that of the file."""
        key = key_of(path) + b"\0\0"
        at = self._bisect(key)
        if at == self._count:
            return False
        start = self._start(at)
        return self._data[start : start + len(key)] == key and bool(self._data[start + len(key) + 1] & _FLAG_ONCE)

    def iter(self, prefix: str = "") -> Iterator[IndexRecord]:
        """Yield the record of `prefix` and all beneath it, in order."""
        key = key_of(prefix)
        at = self._bisect(key + b"\0\0") if key else 0
        while at < self._count:
            start = self._start(at)
            if key and self._data[start : start + len(key) + 1] != key + b"\0":
                return
            yield self._record(at)
            at += 1

    def children(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the names that the layer has or removes in a directory, with True for removed ones."""
        key = key_of(path)
        prefix = key + b"\0" if key else b""
        at = self._bisect(prefix)
        if not key and at < self._count and self._data[self._start(at) : self._start(at) + 2] == b"\0\0":
            at += 1
        while at < self._count:
            start = self._start(at)
            if prefix and self._data[start : start + len(prefix)] != prefix:
                return
            begin = start + len(prefix)
            if self._data[begin] == 0:
                at += 1  # the directory itself
                continue
            end = self._data.find(b"\0", begin)
            name = self._data[begin:end]
            own = self._data[end + 1] == 0
            yield name.decode("utf-8", "surrogateescape"), own and self._data[end + 2] == _REMOVE
            following = at + 1
            if following < self._count:
                start = self._start(following)
                if self._data[start : start + len(prefix) + len(name) + 1] == prefix + name + b"\0":
                    following = self._bisect(prefix + name + b"\1")
            at = following

    def _start(self, at: int) -> int:
        return self._table[at]

    def _bisect(self, probe: bytes) -> int:
        data, table, length = self._data, self._table, len(probe)
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            start = table[middle]
            if data[start : start + length] < probe:
                low = middle + 1
            else:
                high = middle
        return low

    def _record(self, at: int) -> IndexRecord:
        data = self._data
        start = self._start(at)
        cut = data.find(b"\0\0", start)
        path = data[start:cut].replace(b"\0", b"/").decode("utf-8", "surrogateescape")
        word, flags, mode, uid, gid, size, mtime_ns, device, target_size, xattrs_size = _fixed.unpack_from(
            data, cut + 2
        )
        if word == _REMOVE:
            return IndexRecord(path, None)
        if word == _OPAQUE_ONLY:
            return IndexRecord(path, Entry("dir", 0o755), opaque=True, implied=True)
        text_at = cut + 2 + _fixed.size
        target = data[text_at : text_at + target_size].decode("utf-8", "surrogateescape")
        link = target if word >> 4 else ""
        kind = _KINDS[word & 15]
        inode = None
        if link:
            inode = (0, self._bisect(key_of(link) + b"\0\0"))
            if kind == "symlink":
                original = self.lookup(link)
                target = original.entry.target if original is not None and original.entry is not None else ""
        elif flags & _FLAG_LINKED:
            inode = (0, at)
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if xattrs_size:
            xattrs_at = text_at + target_size
            xattrs = _unpack_attributes(data[xattrs_at : xattrs_at + xattrs_size])
        entry = Entry(
            kind,
            mode,
            uid,
            gid,
            size,
            mtime_ns,
            target if kind == "symlink" else "",
            device >> 32,
            device & 0xFFFFFFFF,
            xattrs,
            inode,
        )
        return IndexRecord(path, entry, link, bool(flags & _FLAG_OPAQUE))


def _unpack_attributes(data: bytes) -> tuple[tuple[str, bytes], ...]:
    found = []
    at = 0
    while at < len(data):
        name_size, value_size = _attribute.unpack_from(data, at)
        at += _attribute.size
        name = data[at : at + name_size].decode("utf-8", "surrogateescape")
        found.append((name, data[at + name_size : at + name_size + value_size]))
        at += name_size + value_size
    return tuple(found)


def open_index(path: str) -> LayerIndex:
    """Map an index; raises ValueError for a file that is no index of this version, and OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size < len(_MAGIC) + _end.size:
            raise ValueError(f"`{path}` is no layer index")
        data = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    count, table = _end.unpack_from(data, size - _end.size)
    if data[: len(_MAGIC)] != _MAGIC or table + 4 * count + _end.size != size:
        data.close()
        raise ValueError(f"`{path}` is no layer index of this version")
    return LayerIndex(data, count, table)


def index_tar(chunks: Iterable[bytes], writer: IndexWriter, limits: UnpackLimits = UNPACK_LIMITS) -> None:
    """Note every member of a tar (not compressed) in `writer`, without unpacking, and read it to its end.

    Raises ValueError.
    """
    from firkin.layer.tar import TarReader

    reader = TarReader(chunks, limits)
    for path, member, link in iter_placed(reader):
        folder, _, name = path.rpartition("/")
        if name == OPAQUE_NAME:
            writer.add(Opaque(folder))
        elif name.startswith(WHITEOUT_PREFIX * 2):
            continue  # internal files of aufs
        elif name.startswith(WHITEOUT_PREFIX):
            bare = name[len(WHITEOUT_PREFIX) :]
            writer.add(Remove(f"{folder}/{bare}" if folder else bare))
        else:
            writer.add(Put(path, member.entry, link=link))
    reader.drain()


def iter_placed(reader: TarReader) -> Iterator[tuple[str, Member, str]]:
    """Yield where each member of a layer lands, the member, and where the target of a hard link is ("": it is none).

    Whiteouts keep their `.wh.` names. A member's content is to be read before the next one. Raises ValueError.
    """
    from firkin.layer.tar import clean_name

    places = Places()
    while (member := reader.next_member()) is not None:
        path = places.of(clean_name(member.name, strict=True))
        if ".wh." in path and path[path.rfind("/") + 1 :].startswith(WHITEOUT_PREFIX):
            yield path, member, ""
            continue
        entry = member.entry
        places.put(path, entry.target if entry.kind == "symlink" else None, is_folder=entry.kind == "dir")
        yield path, member, places.of(clean_name(member.link)) if member.is_link else ""
