"""The tree of a commit as a View, read from a repository's objects, as a checkout would have it. Does I/O.

Only the git modules of context/ import it.
"""

from __future__ import annotations

import os
from struct import error as StructError
from typing import TYPE_CHECKING
from weakref import finalize
from zlib import error as ZlibError

from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    HangupException,
    NotGitRepository,
)
from dulwich.objects import Commit, ObjectID, ShaFile, Tree

from firkin.context.directory import unknown_parts
from firkin.context.git_attributes import NAME as ATTRIBUTES
from firkin.context.git_attributes import Attributes, Value
from firkin.context.git_convert import NAMES, to_working_tree
from firkin.context.views import check_names
from firkin.errors import ContextError
from firkin.layer.change import Content, Entry, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dulwich.repo import Repo

# What dulwich raises for servers and repositories that are not what they should be.
FAILURES = (
    GitProtocolError, HangupException, NotGitRepository, FileFormatException, ChecksumMismatch, ApplyDeltaError,
    OSError, KeyError, IndexError, ValueError, AssertionError, EOFError, StructError, ZlibError,
)  # fmt: skip
_END_OF_TIME_S = 253402300800  # the year 10000: no layer holds a later time
_FILE, _LINK, _SUBMODULE, _DIRECTORY = 0o100000, 0o120000, 0o160000, 0o040000


class GitView:
    """The tree of a commit as a View, read from the repository's objects."""

    def __init__(self, repo: Repo, commit: Commit) -> None:
        self.repo = repo
        self.commit = commit
        finalize(self, repo.close)  # also at exit, before modules that closing needs are gone
        # Git takes a time that no clock has for 0 as well.
        self.time_s: int | None = commit.commit_time if abs(commit.commit_time) < _END_OF_TIME_S else 0
        self._time_ns = self.time_s * 1_000_000_000
        self._trees: dict[str, dict[str, tuple[int, ObjectID]]] = {}
        self._inside: dict[str, View] = {}
        self._attributes = Attributes(self._attributes_of, NAMES)
        self._values_of: dict[str, dict[bytes, Value]] = {}
        self._attributed = {"": ATTRIBUTES in self._tree("")}

    def attach(self, path: str, view: View) -> None:
        """Show another tree at a directory: a submodule."""
        self._inside[path] = view

    def gitlinks(self) -> Iterator[tuple[str, str]]:
        """Yield path and commit id of each submodule."""
        waiting = [""]
        while waiting:
            path = waiting.pop()
            for name, (mode, sha) in self._tree(path).items():
                below = f"{path}/{name}" if path else name
                if mode & 0o170000 == _DIRECTORY:
                    waiting.append(below)
                elif mode & 0o170000 == _SUBMODULE:
                    yield below, sha.decode()

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
        if kind in (_DIRECTORY, _SUBMODULE):
            return Entry("dir", 0o755, mtime_ns=self._time_ns)
        blob = self._object(sha)
        if kind == _LINK:
            return Entry("symlink", 0o777, mtime_ns=self._time_ns, target=os.fsdecode(blob.as_raw_string()))
        values = self._values(path)
        size = len(self._bytes(path, sha, values)) if values else blob.raw_length()
        return Entry("file", 0o755 if mode & 0o111 else 0o644, size=size, mtime_ns=self._time_ns)

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes."""
        inside = self._in(path) if path else None
        if inside is not None:
            return inside[0].iterdir(inside[1])
        names = list(self._tree(path))
        if not path:
            names += [name for name in self._inside if "/" not in name and name not in names]
        return sorted(names, key=os.fsencode)

    def content(self, path: str) -> Content:
        """Return a file's bytes; raises KeyError."""
        inside = self._in(path)
        if inside is not None:
            return inside[0].content(inside[1])
        found = self._find(path)
        if found is None:
            raise KeyError(path)
        return self._bytes(path, found[1], self._values(path))

    def _bytes(self, path: str, sha: ObjectID, values: Mapping[bytes, Value]) -> bytes:
        data = bytes(self._object(sha).as_raw_string())
        return to_working_tree(data, sha.decode(), values, path) if values else data

    def _values(self, path: str) -> dict[bytes, Value]:
        """Return the attributes of a file that change its content."""
        if not self._has_attributes(path.rpartition("/")[0]):
            return {}
        found = self._values_of.get(path)
        if found is None:
            values = self._attributes.of(path)
            found = {name: values[name] for name in NAMES if values.get(name) is not None}
            self._values_of[path] = found
        return found

    def _has_attributes(self, directory: str) -> bool:
        """Say whether there is a .gitattributes in a directory or above it."""
        for part in unknown_parts(directory, self._attributed):
            self._attributed[part] = self._attributed[part.rpartition("/")[0]] or ATTRIBUTES in self._tree(part)
        return self._attributed[directory]

    def _attributes_of(self, directory: str) -> bytes | None:
        found = self._tree(directory).get(ATTRIBUTES)
        if found is None or found[0] & 0o170000 != _FILE:
            return None  # git takes no link for one
        return bytes(self._object(found[1]).as_raw_string())

    def _in(self, path: str) -> tuple[View, str] | None:
        for prefix, view in self._inside.items():
            if path == prefix:
                return view, ""
            if path.startswith(prefix + "/"):
                return view, path[len(prefix) + 1 :]
        return None

    def _object(self, sha: ObjectID) -> ShaFile:
        try:
            return self.repo.object_store[sha]
        except FAILURES as error:
            raise ContextError(
                f"the git repository is damaged: object {sha.decode()}: {failure_text(error)}", code="git"
            ) from error

    def _find(self, path: str) -> tuple[int, ObjectID] | None:
        parent, _, name = path.rpartition("/")
        return self._tree(parent).get(name)

    def _tree(self, path: str) -> dict[str, tuple[int, ObjectID]]:
        known = self._trees.get(path)
        if known is None:
            sha: ObjectID | None = self.commit.tree
            if path:
                found = self._find(path)
                sha = found[1] if found is not None and found[0] & 0o170000 == _DIRECTORY else None
            tree = self._object(sha) if sha is not None else None
            known = {}
            if isinstance(tree, Tree):
                items = read_tree(bytes(tree.as_raw_string()), len(self.commit.tree) // 2)
                _check_tree([name for name, _, _ in items], path)
                known = {name: (mode, item) for name, mode, item in items}
            self._trees[path] = known
        return known


def read_tree(raw: bytes, id_bytes: int) -> list[tuple[str, int, ObjectID]]:
    """Return name, mode and id of each entry of a tree object, doubles included. Raises ContextError.

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
    """Refuse what git would not check out: no names, names twice, and a `.git` of the tree's own."""
    check_names(names, path)
    for name in names:
        if name.lower() == ".git":
            where = f" in `{path}`" if path else ""
            raise ContextError(f"the git tree has a `{name}`{where}, which git refuses as well", code="context-name")


def failure_text(error: Exception) -> str:
    """Return what to tell of an error of the library's, on one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
