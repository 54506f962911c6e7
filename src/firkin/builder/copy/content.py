"""Content digests of files that a step reads, for its cache key. Does I/O. The engine imports it.

docs/dev/copy.md lists what a digest covers. Mirrors: moby/buildkit cache/contenthash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from firkin.builder.context.views import FileStat
from firkin.builder.copy.plan import CopyTools
from firkin.builder.copy.select import (
    Match,
    find_matches,
    follow,
    has_wildcard,
    not_found,
    nothing_selected,
    split_parents,
)
from firkin.builder.copy.walk import Selection, names_of, selection_of
from firkin.builder.graph.ops import Copy, FileSource, PathSource, TextSource
from firkin.errors import ContextError
from firkin.layer.change import Content, Entry, View
from firkin.text import clean

_PIECE = 1 << 20
_MOST_ITEMS = 100_000
_SETTLED_NS = 2_000_000_000
_CAPABILITY = "security.capability"


class DigestCache(Protocol):
    """Digests of files on this machine by their stat; see store/digests.py."""

    def get(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int) -> str | None:
        """Return the digest stored for exactly this file state, or None."""

    def put(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int, digest: str) -> None:
        """Store a digest."""


class FileDigests:
    """Digests of files' content and capability, cached where that is safe.

    `now_ns` is a time at or before the first look at any file. A digest is cached only if the
    file's mtime and ctime lie two seconds before it: a later change then gets another ctime, however
    coarse the file system's clock is. `lists` takes, by digest, what was hashed for the keys of steps.
    """

    __slots__ = ("_before", "_cache", "lists")

    def __init__(
        self, cache: DigestCache | None, now_ns: int, lists: dict[str, list[str]] | None = None
    ) -> None:
        self._cache = cache
        self.lists = lists
        self._before = now_ns - _SETTLED_NS

    def of(self, view: View, path: str, stat: FileStat | None) -> str:
        """Return the digest of a regular file; `stat` describes the file on this machine, if there is one."""
        if stat is None or self._cache is None:
            return _digest(view.content(path))
        found = self._cache.get(stat.path, stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode, stat.dev)
        if found is None:
            found = _digest(stat.path)
            if stat.mtime_ns < self._before and stat.ctime_ns < self._before:
                self._cache.put(stat.path, stat.size, stat.mtime_ns, stat.ctime_ns, stat.inode, stat.dev, found)
        return found


def _digest(content: Content) -> str:
    """Return sha256 hex, and the capability after a `+`."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    try:
        descriptor = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            hasher = hashlib.sha256()
            while piece := os.read(descriptor, _PIECE):
                hasher.update(piece)
            digest = hasher.hexdigest()
            if _CAPABILITY in os.listxattr(descriptor):
                digest += "+" + os.getxattr(descriptor, _CAPABILITY).hex()
            return digest
        finally:
            os.close(descriptor)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ContextError(f"cannot read {content}: {why}", code="context-unreadable") from error


def copy_digests(op: Copy, inputs: Sequence[View], tools: CopyTools, files: FileDigests) -> tuple[str, ...]:
    """Return the digest of each source of a COPY, in order. Raises ContextError for a missing source."""
    return tuple(_source_digest(op, source, inputs, tools, files) for source in op.sources)


def copy_times(op: Copy, inputs: Sequence[View], tools: CopyTools) -> str:
    """Return a digest of the times that somebody set on the selected files; "" where there are none.

    Cache keys leave it out, since a file that was only touched or checked out again has not changed. But an mtime
    far before the inode's last change was set on purpose (by an archive, `touch -d`, `cp -p`). A layer that another
    project made from equal files with other mtimes must not be taken then.
    """
    found = []
    for source in op.sources:
        if isinstance(source, PathSource):
            walk, matches = _selection(op, source, inputs, tools, _Times)
            walk.digest(matches, named=False)
            found.append(walk.result())
    return "" if not any(found) else hashlib.sha256("\n".join(found).encode()).hexdigest()


def tree_digest(view: View, path: str, files: FileDigests) -> str:
    """Return the digest of all that a path holds (links followed to it), as a mount shows it.

    Raises ContextError for a path that is not there.
    """
    return _listed(_Walk(view, files, Selection()), files, (_shown(view, path),), named=True)


def _shown(view: View, path: str) -> Match:
    target = follow(view.lstat, clean(path))
    entry = view.lstat(target)
    if entry is None:
        raise not_found(view, target, path)
    return Match("", target, entry)


def _listed(walk: _Walk, files: FileDigests, matches: Iterable[Match], *, named: bool) -> str:
    """Return the digest of a walk, and keep the list of what was hashed, so that a later change can be explained."""
    if files.lists is None:
        return walk.digest(matches, named=named)
    walk.items = []
    digest = walk.digest(matches, named=named)
    if walk.items is not None:
        files.lists[digest] = walk.items
    return digest


def selects_same(
    op: Copy, source: PathSource, views: tuple[View, View], tools: CopyTools, files: FileDigests
) -> bool:
    """Say whether a COPY would copy the same from both views of its source. Raises ContextError for a missing path."""

    def digest(view: View, kind: type[_Walk]) -> str:
        alone = msgspec.structs.replace(source, input=0)
        walk, matches = _selection(op, alone, (view,), tools, kind, files)
        return walk.digest(matches, named=False)

    return all(digest(views[0], kind) == digest(views[1], kind) for kind in (_Sizes, _Walk))


def shows_same(path: str, views: tuple[View, View], files: FileDigests) -> bool:
    """Say whether a mount of either view shows the same. Raises ContextError for a missing path."""

    def digest(view: View, kind: type[_Walk]) -> str:
        return kind(view, files, Selection()).digest((_shown(view, path),), named=True)

    return all(digest(views[0], kind) == digest(views[1], kind) for kind in (_Sizes, _Walk))


def _source_digest(
    op: Copy, source: PathSource | TextSource | FileSource, inputs: Sequence[View], tools: CopyTools, files: FileDigests
) -> str:
    if isinstance(source, TextSource):
        text = source.content.encode("utf-8", "surrogateescape")
        return hashlib.sha256(text).hexdigest()
    if isinstance(source, FileSource):
        view = inputs[source.input]
        name = getattr(view, "filename", "")
        entry = view.lstat(name)
        if entry is None:
            raise not_found(view, name, name)
        return _listed(_Walk(view, files, Selection()), files, (Match(name, name, entry),), named=True)
    walk, matches = _selection(op, source, inputs, tools, _Walk, files)
    digest = _listed(walk, files, matches, named=False)
    if op.parents and not walk.selected and not has_wildcard(source.path):
        raise nothing_selected(inputs[source.input], source, op.exclude)
    return digest


def _selection(
    op: Copy,
    source: PathSource,
    inputs: Sequence[View],
    tools: CopyTools,
    kind: type[_AnyWalk],
    files: FileDigests | None = None,
) -> tuple[_AnyWalk, list[Match]]:
    """Return a walk for a source and the matches to start from. Raises ContextError for a missing path."""
    view = inputs[source.input]
    files = files or FileDigests(None, 0)
    if not op.parents:
        walk = kind(view, files, selection_of(op, tools.matcher))
        return walk, find_matches(view, source.path, wildcard=source.wildcard)
    start, pattern = split_parents(source)
    return kind(view, files, selection_of(op, tools.matcher, pattern)), find_matches(view, "/" + start)


_AnyWalk = TypeVar("_AnyWalk", bound="_Walk")


class _Level:
    """A directory that is being hashed; `kept` is the state to go back to if nothing in it is selected."""

    __slots__ = ("any_wanted", "kept")

    def __init__(self, kept: tuple[hashlib._Hash, dict[tuple[int, int], int], int] | None) -> None:
        self.kept = kept
        self.any_wanted = False


class _Walk:
    """One walk that hashes a selection; `selected` says whether anything in a directory was selected.

    `items` is a list that takes what is hashed, piece by piece; it becomes None when there is too much.
    """

    def __init__(self, view: View, files: FileDigests, selection: Selection) -> None:
        self._view = view
        self._files = files
        self._selection = selection
        self._hasher = hashlib.sha256()
        self._links: dict[tuple[int, int], int] = {}
        self._files_seen = 0
        self.selected = False
        self.items: list[str] | None = None

    def digest(self, matches: Iterable[Match], *, named: bool) -> str:
        """Hash the matches; with `named`, the attributes of a matched directory count as well."""
        for match in matches:
            self._links.clear()
            if match.entry.kind != "dir":
                self._file(match.name.rpartition("/")[2], match.path, match.entry, self._stat(match.path))
                continue
            if named:
                self._feed(".", match.entry, "")
            self._mark("(")
            self.selected |= self._tree(match.path)
            self._mark(")")
        return self._hasher.hexdigest()

    def _stat(self, path: str) -> FileStat | None:
        stat_of = getattr(self._view, "file_stat", None)
        return stat_of(path) if stat_of is not None else None

    def _feed(self, name: str, entry: Entry, rest: str) -> None:
        text = f"{len(name)}:{name}{entry.kind} {entry.mode:o} {entry.uid} {entry.gid} {rest}\n"
        self._hasher.update(text.encode("utf-8", "surrogateescape"))
        if self.items is not None:
            self.items.append(text)
            if len(self.items) > _MOST_ITEMS:
                self.items = None

    def _mark(self, text: str) -> None:
        """Hash the beginning or the end of a directory's contents."""
        self._hasher.update(text.encode())
        if self.items is not None:
            self.items.append(text)

    def _file(self, name: str, path: str, entry: Entry, stat: FileStat | None) -> None:
        """Hash anything but a directory."""
        if entry.kind == "file":
            rest = self._content(path, entry, stat)
            self._files_seen += 1
            if entry.inode is not None:  # hard links count if both names are selected
                first = self._links.setdefault(entry.inode, self._files_seen)
                if first != self._files_seen:
                    rest += f" ={first}"
        elif entry.kind == "symlink":
            rest = f"{len(entry.target)}:{entry.target}"
        else:
            rest = f"{entry.major} {entry.minor}"
        self._feed(name, entry, rest)

    def _content(self, path: str, entry: Entry, stat: FileStat | None) -> str:
        content = self._files.of(self._view, path, stat)
        if stat is None and entry.xattrs:
            content += "".join(f"+{value.hex()}" for key, value in entry.xattrs if key == _CAPABILITY)
        return content

    def _tree(self, path: str) -> bool:
        """Hash a directory's selected contents; say whether there were any."""
        top = _Level(None)
        levels = [top]
        children = getattr(self._view, "children", None) or names_of(self._view)
        for found in self._selection.walk(self._view, path, children):
            if found is None:
                self._leave(levels)
                continue
            name, place, entry, stat, wanted = found
            if entry.kind != "dir":
                levels[-1].any_wanted = True
                self._file(name, place, entry, stat)
                continue
            # A directory that is not selected counts only if something in it is selected: keep a state to go back to.
            seen = 0 if self.items is None else len(self.items)
            levels.append(_Level(None if wanted else (self._hasher.copy(), dict(self._links), seen)))
            self._feed(name, entry, "")
            self._mark("(")
        return top.any_wanted

    def _leave(self, levels: list[_Level]) -> None:
        done = levels.pop()
        if done.kept is None or done.any_wanted:
            levels[-1].any_wanted = True
            self._mark(")")
        else:
            self._hasher, self._links, seen = done.kept
            if self.items is not None:
                del self.items[seen:]


class _Sizes(_Walk):
    """A walk that opens no file and hashes sizes: if they differ, so does the content."""

    def _content(self, path: str, entry: Entry, stat: FileStat | None) -> str:
        return str(entry.size)


_SET_AFTER_NS = 60 * 1_000_000_000


class _Times(_Walk):
    """A walk that hashes the names and times of non-directories whose time was set on purpose."""

    _any = False

    def _feed(self, name: str, entry: Entry, rest: str) -> None:
        self._hasher.update(f"{len(name)}:{name} {rest}\n".encode("utf-8", "surrogateescape"))

    def _file(self, name: str, path: str, entry: Entry, stat: FileStat | None) -> None:
        # A file that was written or checked out has an mtime close to its ctime. Members of an archive have
        # whole seconds.
        whole = not entry.mtime_ns % 1_000_000_000
        if whole if stat is None else stat.ctime_ns - stat.mtime_ns > _SET_AFTER_NS:
            self._any = True
            self._feed(name, entry, str(entry.mtime_ns // 1_000_000_000))

    def result(self) -> str:
        """Return the digest, "" where no time was set."""
        return self._hasher.hexdigest() if self._any else ""
