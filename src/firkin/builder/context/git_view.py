"""The tree of a commit as a View with the files of a checkout, read from a repository's objects. Does I/O.

Only the git modules of context/ import it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from hashlib import sha256
from struct import error as StructError
from typing import TYPE_CHECKING, NamedTuple
from zlib import error as ZlibError

from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    HangupException,
    NotGitRepository,
)
from dulwich.objects import Commit, ObjectID

from firkin.builder.context.git_attributes import MAX_FILE_BYTES, Attributes, Value
from firkin.builder.context.git_attributes import NAME as ATTRIBUTES
from firkin.builder.context.git_convert import NAMES, is_converted, to_working_tree
from firkin.builder.context.git_objects import BLOB, TREE, Objects
from firkin.builder.context.git_pack import Budget
from firkin.builder.context.views import MAX_PATH_BYTES, check_lengths, check_names
from firkin.errors import ContextError
from firkin.layer.change import Content, Entry, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The errors that dulwich raises for faulty servers and repositories.
FAILURES = (
    GitProtocolError, HangupException, NotGitRepository, FileFormatException, ChecksumMismatch, ApplyDeltaError,
    OSError, KeyError, IndexError, ValueError, AssertionError, EOFError, StructError, ZlibError,
)  # fmt: skip
_END_OF_TIME_S = 253402300800  # the year 10000: no layer holds a later time
_FILE, _LINK, SUBMODULE, DIRECTORY = 0o100000, 0o120000, 0o160000, 0o040000
_MAX_TARGET_BYTES = 4095
_MAX_CONVERTED_BYTES = 256 << 20
_MAX_ATTRIBUTES_BYTES = 16 << 20  # of all distinct .gitattributes of a tree
_SMALL, _HELD = 64 << 10, 256 << 20  # limits of contents returned as bytes: of each, and of all together
_MAX_KNOWN = 50_000  # how many paths and entries are cached


class Total(NamedTuple):
    """Totals of a tree and everything below it: entries, non-directories among them (`files`), their bytes, the
    bytes of the longest path; whether there are submodules and attributes."""

    entries: int = 0
    files: int = 0
    size: int = 0
    longest: int = 0
    has_submodules: bool = False
    has_attributes: bool = False


class GitView:
    """The tree of a commit as a View, read from the repository's objects.

    Its total is counted first and taken from the `budget`: a few objects that name each other many times can make a
    huge tree. Raises ContextError for a tree that git would not check out, LimitReached.
    """

    def __init__(self, objects: Objects, commit: Commit, budget: Budget) -> None:
        self.objects = objects
        self.commit = commit
        # Git also treats an impossible time as 0.
        self.time_s: int | None = commit.commit_time if abs(commit.commit_time) < _END_OF_TIME_S else 0
        self._time_ns = self.time_s * 1_000_000_000
        self._trees: OrderedDict[ObjectID, dict[str, tuple[int, ObjectID]]] = OrderedDict()
        self._at_hand = 0  # how many entries `_trees` has
        self._directories: dict[str, ObjectID] = {}
        self._inside: dict[str, View] = {}
        self._attributes = Attributes(self._attributes_of, NAMES)
        self._attribute_texts: dict[ObjectID, bytes] = {}
        self._values_of: dict[str, dict[bytes, Value]] = {}
        self._converted: dict[tuple[ObjectID, tuple[tuple[bytes, Value], ...]], tuple[int, str]] = {}
        self._given = 0
        self._totals: dict[ObjectID, Total] = {}
        self.total = self._count(commit.tree)
        budget.take(self.total.entries, self.total.size)

    def attach(self, path: str, view: View) -> None:
        """Show another tree at a directory: a submodule, or `.git`."""
        self._inside[path] = view

    def gitlinks(self) -> Iterator[tuple[str, str]]:
        """Yield path and commit id of each submodule."""
        waiting = [("", self.commit.tree)]
        while waiting:
            path, tree = waiting.pop()
            if not self._totals[tree].has_submodules:
                continue
            for name, (mode, sha) in self._tree(tree).items():
                below = f"{path}/{name}" if path else name
                if mode & 0o170000 == DIRECTORY:
                    waiting.append((below, sha))
                elif mode & 0o170000 == SUBMODULE:
                    yield below, sha.decode()

    def files(self) -> Iterator[tuple[bytes, int, ObjectID]]:
        """Yield path, mode and id of everything but directories, sorted by their paths."""
        waiting = [(b"", self._sorted(self.commit.tree))]
        while waiting:
            prefix, entries = waiting[-1]
            for name, mode, sha in entries:
                if mode & 0o170000 == DIRECTORY:
                    waiting.append((prefix + name + b"/", self._sorted(sha)))
                    break
                yield prefix + name, mode, sha
            else:
                waiting.pop()

    def _sorted(self, tree: ObjectID) -> Iterator[tuple[bytes, int, ObjectID]]:
        entries = [(os.fsencode(name), mode, sha) for name, (mode, sha) in self._tree(tree).items()]
        return iter(sorted(entries, key=lambda entry: entry[0] + b"/" * (entry[1] & 0o170000 == DIRECTORY)))

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None."""
        if not path:
            return Entry("dir", 0o755, mtime_ns=self._time_ns)
        inside = self._in(path)
        if inside is not None:
            return inside[0].lstat(inside[1])
        found = self._find(path)
        if found is None:
            return None
        mode, sha = found
        kind = mode & 0o170000
        if kind in (DIRECTORY, SUBMODULE):
            return Entry("dir", 0o755, mtime_ns=self._time_ns)
        size = self.objects.stat(sha)[1]
        if kind == _LINK:
            # No file system has such a long target: an empty one is refused where links are checked.
            target = b"" if size > _MAX_TARGET_BYTES else self._bytes(sha)
            return Entry("symlink", 0o777, mtime_ns=self._time_ns, target=os.fsdecode(target))
        values = self._values(path)
        if values:
            size = self._convert(path, sha, values)[0]
        return Entry("file", 0o755 if mode & 0o111 else 0o644, size=size, mtime_ns=self._time_ns)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes."""
        inside = self._in(path) if path else None
        if inside is not None:
            return inside[0].iterdir(inside[1])
        tree = self._directory(path)
        names = list(self._tree(tree)) if tree is not None else []
        if not path:
            names += [name for name in self._inside if "/" not in name and name not in names]
        return sorted(names, key=os.fsencode)

    def content(self, path: str) -> Content:
        """Return a file's bytes, or the path of a file with them; raises KeyError."""
        inside = self._in(path)
        if inside is not None:
            return inside[0].content(inside[1])
        found = self._find(path)
        if found is None:
            raise KeyError(path)
        values = self._values(path)
        size, place = self._convert(path, found[1], values) if values else (self.objects.stat(found[1])[1], "")
        if place:
            return place
        if size > _SMALL or self._given > _HELD:  # a step may keep all contents in memory
            return self._spool(path, found[1], values)
        self._given += size
        return self._checked_out(path, found[1], values)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file that is known to be small; raises KeyError."""
        content = self.content(path)
        if isinstance(content, bytes):
            return content
        with open(content, "rb") as file:
            return file.read()

    def _checked_out(self, path: str, sha: ObjectID, values: Mapping[bytes, Value]) -> bytes:
        data = self._bytes(sha)
        return to_working_tree(data, sha.decode(), values, path) if values else data

    def _convert(self, path: str, sha: ObjectID, values: Mapping[bytes, Value]) -> tuple[int, str]:
        """Return the size of a file as it is checked out, and its path, "" if it is small. Raises ContextError."""
        key = (sha, tuple(sorted(values.items())))
        found = self._converted.get(key)
        if found is None:
            size = self.objects.stat(sha)[1]
            if size > _MAX_CONVERTED_BYTES:
                raise ContextError(
                    f"{path} has {size} bytes, and its attributes say that it is converted, which is done up to "
                    f"{_MAX_CONVERTED_BYTES} bytes (.gitattributes)",
                    code="git-attributes",
                )
            data = self._checked_out(path, sha, values)
            place = self._keep(data) if len(data) > _SMALL else ""
            if len(self._converted) > _MAX_KNOWN:
                self._converted.clear()
            found = self._converted[key] = len(data), place
        return found

    def _spool(self, path: str, sha: ObjectID, values: Mapping[bytes, Value]) -> str:
        if values:
            return self._keep(self._checked_out(path, sha, values))
        try:
            return self.objects.spool(sha)
        except FAILURES as error:
            raise _damaged(sha, error) from error

    def _keep(self, data: bytes) -> str:
        """Write a converted content to a file and return its path; equal contents share one file."""
        place = f"{self.objects.directory}/converted-{sha256(data).hexdigest()}"
        if not os.path.exists(place):
            made = f"{place}.{os.urandom(8).hex()}"
            with open(made, "xb") as file:
                file.write(data)
            os.rename(made, place)
        return place

    def _values(self, path: str) -> dict[bytes, Value]:
        """Return the attributes of a file that change its content."""
        if not self.total.has_attributes:
            return {}
        found = self._values_of.get(path)
        if found is None:
            values = self._attributes.of(path)
            found = {name: values[name] for name in NAMES if values.get(name) is not None}
            if not is_converted(found):
                found = {}
            if len(self._values_of) > _MAX_KNOWN:
                self._values_of.clear()
            self._values_of[path] = found
        return found

    def _attributes_of(self, directory: str) -> bytes | None:
        tree = self._directory(directory)
        found = self._tree(tree).get(ATTRIBUTES) if tree is not None else None
        if found is None or found[0] & 0o170000 != _FILE:
            return None  # git ignores a .gitattributes that is a link
        text = self._attribute_texts.get(found[1])
        if text is None:
            size = self.objects.stat(found[1])[1]
            if size > MAX_FILE_BYTES or size + sum(map(len, self._attribute_texts.values())) > _MAX_ATTRIBUTES_BYTES:
                place = f"{directory}/{ATTRIBUTES}".lstrip("/")
                raise ContextError(f"{place} is too large", code="git-attributes")
            text = self._attribute_texts[found[1]] = self._bytes(found[1])
        return text

    def _in(self, path: str) -> tuple[View, str] | None:
        for prefix, view in self._inside.items():
            if path == prefix:
                return view, ""
            if path.startswith(prefix + "/"):
                return view, path[len(prefix) + 1 :]
        return None

    def _bytes(self, sha: ObjectID) -> bytes:
        try:
            return self.objects.read(sha, BLOB, _MAX_CONVERTED_BYTES)
        except FAILURES as error:
            raise _damaged(sha, error) from error

    def _find(self, path: str) -> tuple[int, ObjectID] | None:
        parent, _, name = path.rpartition("/")
        tree = self._directory(parent)
        return self._tree(tree).get(name) if tree is not None else None

    def _directory(self, path: str) -> ObjectID | None:
        """Return the tree at a path, None if it is not a directory of this repository."""
        unknown = []
        tree: ObjectID | None = None
        while path and (tree := self._directories.get(path)) is None:
            unknown.append(path)
            path = path.rpartition("/")[0]
        if tree is None:
            tree = self.commit.tree
        for part in reversed(unknown):
            found = self._tree(tree).get(part.rpartition("/")[2])
            if found is None or found[0] & 0o170000 != DIRECTORY:
                return None
            tree = found[1]
            if len(self._directories) > _MAX_KNOWN:
                self._directories.clear()
            self._directories[part] = tree
        return tree

    def _tree(self, sha: ObjectID, path: str = "") -> dict[str, tuple[int, ObjectID]]:
        """Return mode and id by name; raises ContextError. `path` is the tree's path, for messages."""
        known = self._trees.get(sha)
        if known is None:
            try:
                raw = self.objects.read(sha, TREE)
            except FAILURES as error:
                raise _damaged(sha, error) from error
            items = read_tree(raw, self.objects.id_bytes)
            _check_tree([name for name, _, _ in items], path)
            known = self._trees[sha] = {name: (mode, item) for name, mode, item in items}
            self._at_hand += len(known) + 1
            while self._at_hand > _MAX_KNOWN and len(self._trees) > 1:
                try:
                    self._at_hand -= len(self._trees.popitem(last=False)[1]) + 1
                except KeyError:  # another thread removed it first
                    break
        return known

    def _count(self, root: ObjectID) -> Total:
        """Return the totals of a tree. Each tree is read once, however often it is named."""
        # A level has the tree, its name, the entries that are left, and the sum so far.
        levels = [_Level(root, "", iter(self._tree(root).items()))]
        while True:
            level = levels[-1]
            for name, (mode, sha) in level.left:
                kind = mode & 0o170000
                if kind != DIRECTORY:
                    level.add(name, kind, self._size(sha) if kind != SUBMODULE else 0)
                elif sha in self._totals:
                    level.add_tree(name, self._totals[sha])
                else:
                    path = "/".join([*(part.name for part in levels[1:]), name])
                    check_lengths(path)
                    levels.append(_Level(sha, name, iter(self._tree(sha, path).items())))
                    break
            else:
                levels.pop()
                total = self._totals[level.tree] = level.total()
                if not levels:
                    return total
                levels[-1].add_tree(level.name, total)

    def _size(self, sha: ObjectID) -> int:
        try:
            kind, size = self.objects.stat(sha)
            if kind != BLOB:
                raise ValueError("it is no file")
            return size
        except FAILURES as error:
            raise _damaged(sha, error) from error


class _Level:
    """A directory that is being counted."""

    __slots__ = (
        "_entries", "_files", "_has_attributes", "_has_submodules", "_longest", "_size", "left", "name", "tree",
    )  # fmt: skip

    def __init__(self, tree: ObjectID, name: str, left: Iterator[tuple[str, tuple[int, ObjectID]]]) -> None:
        self.tree, self.name, self.left = tree, name, left
        self._entries = self._files = self._size = self._longest = 0
        self._has_submodules = self._has_attributes = False

    def add(self, name: str, kind: int, size: int) -> None:
        self._entries += 1
        self._files += 1
        self._size += size
        self._has_submodules |= kind == SUBMODULE
        self._has_attributes |= name == ATTRIBUTES
        self._longest = max(self._longest, len(os.fsencode(name)))

    def add_tree(self, name: str, total: Total) -> None:
        self._entries += 1 + total.entries
        self._files += total.files
        self._size += total.size
        self._has_submodules |= total.has_submodules
        self._has_attributes |= total.has_attributes
        self._longest = max(self._longest, len(os.fsencode(name)) + 1 + total.longest)
        if self._longest > MAX_PATH_BYTES:
            raise ContextError(
                f"a path that ends in `{name[:60]}/...` has {self._longest} bytes; {MAX_PATH_BYTES} are the most",
                code="context-name",
            )

    def total(self) -> Total:
        return Total(
            self._entries, self._files, self._size, self._longest, self._has_submodules, self._has_attributes
        )


def _damaged(sha: ObjectID, error: Exception) -> ContextError:
    return ContextError(f"the git repository is damaged: object {sha.decode()}: {failure_text(error)}", code="git")


def read_tree(raw: bytes, id_bytes: int) -> list[tuple[str, int, ObjectID]]:
    """Return name, mode and id of each entry of a tree object, duplicates included. Raises ContextError.

    Spec: git Documentation/technical, `MODE SP NAME NUL ID`, the id in binary.
    """
    entries = []
    at = 0
    while at < len(raw):
        space = raw.find(b" ", at)
        end = raw.find(b"\0", space)
        mode = raw[at:space]
        if space < 0 or end < 0 or not mode.isdigit() or len(mode) > 7 or end + 1 + id_bytes > len(raw):
            raise ContextError("the git repository is damaged: a tree object cannot be read", code="git")
        name, at = os.fsdecode(raw[space + 1 : end]), end + 1 + id_bytes
        try:
            entries.append((name, int(mode, 8), ObjectID(raw[end + 1 : at].hex().encode())))
        except ValueError as error:
            raise ContextError(f"the git repository is damaged: `{name}` has no mode", code="git") from error
    return entries


def _check_tree(names: list[str], path: str) -> None:
    """Refuse names that git would not check out: empty ones, duplicates, and a `.git` in the tree."""
    check_names(names, path)
    for name in names:
        if name.lower() == ".git":
            where = f" in `{path}`" if path else ""
            raise ContextError(f"the git tree has a `{name}`{where}, which git refuses as well", code="context-name")


def failure_text(error: Exception) -> str:
    """Return the message of an error of the library, on one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
