"""Views of trees that are not a directory on this machine: an empty tree, one file, files in memory. Pure.

Solve, copy and the contexts import it. Besides the methods of View, a context's view may have
    filename: str                                            the name of the one file, of a download
    time_s: int | None                                       a commit's time, or that of a remote file or archive
    exclusion_reason(path) -> str                            the ignore file that hides an existing file, or ""
    children(path) -> list[(name, Entry, FileStat | None)]   a directory in one go, for digests
    file_stat(path) -> FileStat | None                       the same for one file
whose entries need no xattrs (they are in the file's digest).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from firkin.errors import ContextError
from firkin.layer.change import Content, Entry, View

_MAX_NAME_BYTES = 255  # NAME_MAX and PATH_MAX of Linux: nothing longer can be created
MAX_PATH_BYTES = 4095
_SHORT = 63  # so many characters are no more than 255 bytes


class Member(NamedTuple):
    """One member of an archive, in the archive's order.

    `path` is the name as written. A hard link has `link`, the other name as written, and `entry`
    holds its header's owner, mode and time. `content` is set for regular files.
    """

    path: str
    entry: Entry
    content: Content | None = None
    link: str = ""


class Matcher(Protocol):
    """Ordered patterns with `!`; see builder/dockerfile/ignore.py."""

    def __bool__(self) -> bool:
        """Say whether there is any pattern at all."""

    def match(self, path: str, parent: int) -> tuple[bool, int]:
        """Say whether a path matches, given its directory's state (0: the root); also return its own state."""

    def may_reinclude(self, path: str) -> bool:
        """Say whether a `!` pattern can match below a directory."""


class FileStat(NamedTuple):
    """The stat of a file on this machine: as long as it is the same, so is the file."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    dev: int


ROOT_ENTRY = Entry(kind="dir", mode=0o755)


class MemoryView:
    """A tree in memory: entries by path, contents by path. Missing parents get default entries."""

    __slots__ = ("_children", "_contents", "_entries", "time_s")

    def __init__(self, entries: dict[str, Entry], contents: dict[str, Content], time_s: int | None = None) -> None:
        self.time_s = time_s
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

    def newest_s(self) -> int | None:
        """Return the latest time of any entry of the tree, None if the tree is empty."""
        times = [entry.mtime_ns // 1_000_000_000 for path, entry in self._entries.items() if path]
        return max(times, default=None)

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        return self._entries.get(path)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes."""
        return sorted(self._children.get(path, ()), key=_bytes)

    def content(self, path: str) -> Content:
        """Return a file's bytes, or the path of a file with them; raises KeyError if it does not exist."""
        return self._contents[path]


class SingleFile:
    """A tree of one file, the result of a download; `time_s` is the server's Last-Modified."""

    __slots__ = ("_content", "_entry", "filename", "time_s")

    def __init__(self, filename: str, entry: Entry, content: Content) -> None:
        self.filename = filename
        self.time_s = entry.mtime_ns // 1_000_000_000 or None
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
        """Return the file's bytes, or the path of a file with them; raises KeyError for any other path."""
        if path != self.filename:
            raise KeyError(path)
        return self._content


class CheckedView:
    """A View that checks the names of another one, so that paths joined from them stay below its root.

    The names in a git tree, an archive or a download are not trusted. Whatever the scheme, all of them are checked
    here before a step sees them (`solve.result.Files` makes this view). Raises ContextError for an invalid name.
    """

    __slots__ = ("_base", "_children", "content", "exclusion_reason", "file_stat", "filename", "time_s")

    def __init__(self, base: View) -> None:
        self._base = base
        self._children = getattr(base, "children", None)
        self.content = base.content
        self.file_stat = getattr(base, "file_stat", _no_stat)
        self.exclusion_reason = getattr(base, "exclusion_reason", _no_reason)
        self.time_s: int | None = getattr(base, "time_s", None)
        self.filename: str = getattr(base, "filename", "")
        if self.filename:
            check_names((self.filename,), "")

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        if len(path) > _SHORT:
            check_lengths(path)
        entry = self._base.lstat(path)
        if entry is not None and entry.kind == "symlink":
            _check_target(entry, path)
        return entry

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory."""
        names = self._base.iterdir(path)
        check_names(names, path)
        return names

    def children(self, path: str) -> list[tuple[str, Entry, FileStat | None]]:
        """Return the names in a directory with entry and stat."""
        if self._children is None:
            prefix = path + "/" if path else ""
            entries = [(name, self.lstat(prefix + name)) for name in self.iterdir(path)]
            return [(name, entry, None) for name, entry in entries if entry is not None]
        found: list[tuple[str, Entry, FileStat | None]] = self._children(path)
        if len(path) > _SHORT:
            check_lengths(path)
        check_names([item[0] for item in found], path)
        for name, entry, _ in found:
            if entry.kind == "symlink":
                _check_target(entry, f"{path}/{name}")
        return found


def _no_stat(path: str) -> FileStat | None:
    return None


def _no_reason(path: str) -> str:
    return ""


def check_names(names: Sequence[str], directory: str) -> None:
    """Check the names in a directory; raises ContextError for one that is empty, `.` or `..`, that holds a `/` or
    a NUL, that is too long for any file system, or that is there twice."""
    if _are_plain(names):
        return
    where = f" in `{directory}`" if directory else ""
    seen: set[str] = set()
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ContextError(
                f"{name!r}{where} is no file name",
                code="context-name",
                hints=("no file system can hold it: who made this source may mean harm",),
            )
        check_lengths(name)
        if name in seen:
            raise ContextError(f"`{name}`{where} is there twice", code="context-name")
        seen.add(name)


def _are_plain(names: Sequence[str]) -> bool:
    """Say whether names are short, valid and distinct: a fast check that most directories pass."""
    joined = "".join(names)
    return (
        "/" not in joined and "\0" not in joined and "" not in names and "." not in names and ".." not in names
        and len(set(names)) == len(names)
        and (len(joined) <= _SHORT or max(map(len, names)) <= _SHORT)
    )  # fmt: skip


def check_lengths(path: str) -> None:
    """Check that a path and the names in it fit into a file system; raises ContextError."""
    size = len(_bytes(path))
    if size > MAX_PATH_BYTES:
        raise ContextError(
            f"the path `{path[:60]}...` has {size} bytes; {MAX_PATH_BYTES} are the most", code="context-name"
        )
    for name in path.split("/") if size > _MAX_NAME_BYTES else ():
        if len(_bytes(name)) > _MAX_NAME_BYTES:
            raise ContextError(
                f"the name `{name[:60]}...` has {len(_bytes(name))} bytes; {_MAX_NAME_BYTES} are the most",
                code="context-name",
            )


def _check_target(entry: Entry, path: str) -> None:
    if not entry.target or "\0" in entry.target or len(_bytes(entry.target)) > MAX_PATH_BYTES:
        raise ContextError(f"the link `{path.lstrip('/')}` has a text that no link can have", code="context-name")


class Below:
    """A view of the files below a directory of another view."""

    __slots__ = ("_base", "_prefix", "time_s")

    def __init__(self, base: View, subdir: str) -> None:
        self._base = base
        self.time_s: int | None = getattr(base, "time_s", None)
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
        """Return a file's bytes, or the path of a file with them."""
        return self._base.content(self._path(path))


def empty_view() -> View:
    """Return a tree with only a root directory (0755, 0:0)."""
    return MemoryView({}, {})


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def sorted_paths(paths: Iterable[str]) -> list[str]:
    """Return paths in the order of a depth-first walk: parents first, names by their bytes."""
    return sorted(paths, key=lambda path: _bytes(path).replace(b"/", b"\0"))
