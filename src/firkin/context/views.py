"""Trees that are no directory on this machine: nothing, one file, files held in memory. Pure.

Solve and the contexts may import it. Beside what View asks for, a context's view may have
    exclusion_reason(path) -> str                            why a file that exists is hidden, "" if it is not
    children(path) -> list[(name, Entry, FileStat | None)]   a directory in one go, for digests
    file_stat(path) -> FileStat | None                       the same for one file
whose entries need no xattrs (they are in the file's digest).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from firkin.layer.change import Content, Entry, View


class Member(NamedTuple):
    """One member of an archive, in the archive's order.

    `path` is the name as written. A hard link has `link`, the other name as written, and `entry`
    holds its header's owner, mode and time. `content` is set for regular files.
    """

    path: str
    entry: Entry
    content: Content | None = None
    link: str = ""


class FileStat(NamedTuple):
    """What tells whether a file on this machine is the one that was seen before."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    dev: int


ROOT_ENTRY = Entry(kind="dir", mode=0o755)


class MemoryView:
    """A tree in memory: entries by path, contents by path. Parents that are missing are made up."""

    __slots__ = ("_children", "_contents", "_entries")

    def __init__(self, entries: dict[str, Entry], contents: dict[str, Content]) -> None:
        self._entries = entries
        self._contents = contents
        self._children: dict[str, list[str]] = {}
        entries.setdefault("", ROOT_ENTRY)
        for path in tuple(entries):
            self._adopt(path)

    def _adopt(self, path: str) -> None:
        while path:
            parent, _, name = path.rpartition("/")
            names = self._children.get(parent)
            if names is not None:
                names.append(name)
                return
            self._children[parent] = [name]
            if parent in self._entries:
                return
            self._entries[parent] = ROOT_ENTRY
            path = parent

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        return self._entries.get(path)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes."""
        return sorted(self._children.get(path, ()), key=_bytes)

    def content(self, path: str) -> Content:
        """Return a file's bytes or where they are; raises KeyError where there is no file."""
        return self._contents[path]


class SingleFile:
    """A tree of one file, the result of a download."""

    __slots__ = ("_content", "_entry", "filename")

    def __init__(self, filename: str, entry: Entry, content: Content) -> None:
        self.filename = filename
        self._entry = entry
        self._content = content

    def lstat(self, path: str) -> Entry | None:
        """Return the file's entry, the root's, or None."""
        if path == self.filename:
            return self._entry
        return None if path else ROOT_ENTRY

    def iterdir(self, path: str) -> list[str]:
        """Return the file's name for the root."""
        return [] if path else [self.filename]

    def content(self, path: str) -> Content:
        """Return the file's bytes or where they are; raises KeyError for any other path."""
        if path != self.filename:
            raise KeyError(path)
        return self._content


class Below:
    """A view of the files below a directory of another view."""

    __slots__ = ("_base", "_prefix")

    def __init__(self, base: View, subdir: str) -> None:
        self._base = base
        self._prefix = subdir.strip("/")

    def _path(self, path: str) -> str:
        return f"{self._prefix}/{path}".strip("/") if self._prefix else path

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        return self._base.lstat(self._path(path))

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory."""
        return self._base.iterdir(self._path(path))

    def content(self, path: str) -> Content:
        """Return a file's bytes or where they are."""
        return self._base.content(self._path(path))


def empty_view() -> View:
    """Return a tree of nothing but a root directory (0755, 0:0)."""
    return MemoryView({}, {})


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def sorted_paths(paths: Iterable[str]) -> list[str]:
    """Return paths in the order of a depth-first walk: parents first, names by their bytes."""
    return sorted(paths, key=lambda path: _bytes(path).replace(b"/", b"\0"))
