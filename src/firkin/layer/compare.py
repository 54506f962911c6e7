"""Compares two listings of one tree. Pure. `rootfs` uses it through `scan`.

A listing costs one lstat a file and no read: a file is unchanged if its inode, ctime, size, mtime,
mode and owner are. It takes about 140 bytes a file: a directory's names in one tuple, their lstat results
in one run of fixed records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_record = struct.Struct("<QqqqQQIIII")
_SIZE = _record.size
_S_IFMT, _S_IFDIR = 0o170000, 0o040000


class Stat(NamedTuple):
    """The result of lstat; times in nanoseconds, `mode` with the type bits."""

    ino: int
    ctime_ns: int
    mtime_ns: int
    size: int
    dev: int
    rdev: int
    mode: int
    uid: int
    gid: int
    nlink: int

    @property
    def is_dir(self) -> bool:
        return self.mode & _S_IFMT == _S_IFDIR


pack_stat = _record.pack
LATEST_NS = (1 << 63) - 1


def clamp_ns(time_ns: int) -> int:
    """Return the nearest time that fits into 64 bits: file systems support years after 2262."""
    return max(-LATEST_NS, min(time_ns, LATEST_NS))


def pack_far_stat(stat: Stat) -> bytes:
    """Do the same as pack_stat, for times that do not fit."""
    return pack_stat(*stat._replace(ctime_ns=clamp_ns(stat.ctime_ns), mtime_ns=clamp_ns(stat.mtime_ns)))


class TreeIndex:
    """A listing of a tree, filled a directory at a time by `scan.scan_tree`."""

    __slots__ = ("folders", "root")

    def __init__(self, root: Stat) -> None:
        self.root = root
        self.folders: dict[str, tuple[tuple[str, ...], bytes]] = {}

    def add(self, folder: str, names: tuple[str, ...], records: bytes) -> None:
        """Set what directory `folder` holds: names sorted by bytes, and a `pack_stat` for each."""
        self.folders[folder] = names, records

    def __len__(self) -> int:
        return sum(len(names) for names, _ in self.folders.values())


class Difference(NamedTuple):
    """`path` is new or changed (`stat`), or gone (`stat` is None). `was` is its earlier Stat, if there was one."""

    path: str
    stat: Stat | None
    was: Stat | None = None


def compare(before: TreeIndex, after: TreeIndex) -> Iterator[Difference]:
    """Yield the differences, parents first and names by their bytes; for a removed tree, its top only."""
    if before.root != after.root:
        yield Difference("", after.root, before.root)
    # A stack of directories would yield them in the wrong order: keep each one's walk alive instead.
    stack = [_compare_folder(before, after, "")]
    while stack:
        difference = next(stack[-1], None)
        if difference is None:
            stack.pop()
        elif isinstance(difference, str):
            stack.append(_compare_folder(before, after, difference))
        else:
            yield difference


def _compare_folder(before: TreeIndex, after: TreeIndex, folder: str) -> Iterator[Difference | str]:
    """Yield the differences of one directory; a str is a directory to walk into now."""
    old_names, old_records = before.folders.get(folder, ((), b""))
    new_names, new_records = after.folders.get(folder, ((), b""))
    prefix = folder + "/" if folder else ""
    if old_names == new_names:
        for at, name in enumerate(new_names):
            new = new_records[at * _SIZE : at * _SIZE + _SIZE]
            old = old_records[at * _SIZE : at * _SIZE + _SIZE]
            yield from _compare_entry(prefix + name, old, new, after)
        return
    old_at = {name: at for at, name in enumerate(old_names)}
    new_at = {name: at for at, name in enumerate(new_names)}
    for name in sorted(old_at.keys() | new_at.keys(), key=lambda name: name.encode("utf-8", "surrogateescape")):
        old_index, new_index = old_at.get(name), new_at.get(name)
        if new_index is None:
            yield Difference(prefix + name, None)
            continue
        new = new_records[new_index * _SIZE : new_index * _SIZE + _SIZE]
        old = b"" if old_index is None else old_records[old_index * _SIZE : old_index * _SIZE + _SIZE]
        yield from _compare_entry(prefix + name, old, new, after)


def _compare_entry(path: str, old: bytes, new: bytes, after: TreeIndex) -> Iterator[Difference | str]:
    if old != new:
        yield Difference(path, Stat(*_record.unpack(new)), Stat(*_record.unpack(old)) if old else None)
    if path in after.folders:
        yield path
