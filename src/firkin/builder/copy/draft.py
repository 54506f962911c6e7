"""A destination while it is being planned: a View with changes on top. Pure. The copy planner imports it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from firkin.builder.context.views import sorted_paths
from firkin.builder.copy.select import follow
from firkin.errors import StepFailed
from firkin.layer.change import Change, Content, Entry, Opaque, Put, View

_SETGID = 0o2000


class Node:
    """The content of a planned path. Two paths with the same Node are hard links of each other."""

    __slots__ = ("content", "entry")

    def __init__(self, entry: Entry, content: Content | None = None) -> None:
        self.entry = entry
        self.content = content


class Draft:
    """A root with planned changes, which shows them as if they were already made."""

    def __init__(self, view: View, latest_ns: int | None = None) -> None:
        """`latest_ns`: directories that are only repeated from the layers below get no later time."""
        self._view = view
        self._latest_ns = latest_ns
        self.nodes: dict[str, Node] = {}
        self._hidden: set[str] = set()

    def lstat(self, path: str) -> Entry | None:
        """Return the entry with the planned changes applied."""
        node = self.nodes.get(path)
        if node is not None:
            return node.entry
        if self._hidden and any(path == hidden or path.startswith(hidden + "/") for hidden in self._hidden):
            return None
        return self._view.lstat(path)

    def follow(self, path: str) -> str:
        """Return a clean path with links resolved within the root."""
        return follow(self.lstat, path)

    def put(self, path: str, node: Node) -> None:
        """Set the node of a path."""
        self.nodes[path] = node

    def apply(self, put: Put) -> None:
        """Set the node of a path from a planned change, which may be a hard link."""
        self.nodes[put.path] = self.nodes[put.link] if put.link else Node(put.entry, put.content)

    def adopt(self, path: str) -> Node:
        """Return the node of an existing path, for a hard link to it, and add the path to the changes.

        Raises KeyError if the path does not exist.
        """
        node = self.nodes.get(path)
        if node is None:
            entry = self.lstat(path)
            if entry is None:
                raise KeyError(path)
            node = self.nodes[path] = Node(entry, self._view.content(path) if entry.kind == "file" else None)
        return node

    def remove(self, path: str) -> None:
        """Remove a path and all below it; the caller then puts the same path."""
        node = self.nodes.pop(path, None)
        if node is None or node.entry.kind == "dir":
            prefix = path + "/"
            for below in [name for name in self.nodes if name.startswith(prefix)]:
                del self.nodes[below]
        if self._view.lstat(path) is not None:
            self._hidden.add(path)

    def make_dirs(self, path: str, template: Entry, *, owned: bool) -> None:
        """Make a directory and its missing parents like `template`, as `make_dir` does.

        Raises StepFailed if part of the path exists and is not a directory.
        """
        at = 0
        while at != len(path):
            at = path.find("/", at + 1)
            at = len(path) if at < 0 else at
            part = path[:at]
            entry = self.lstat(part)
            if entry is None:
                self.make_dir(part, template, owned=owned)
            elif entry.kind != "dir":
                raise StepFailed(f"mkdir /{part}: not a directory", code="copy-not-a-directory")

    def make_dir(self, path: str, template: Entry, *, owned: bool) -> None:
        """Make a directory like `template`. Below a setgid directory it is setgid as well.

        It also belongs to the group of the setgid directory, unless `owned`: its owner was given explicitly.
        Mirrors: mkdir(2).
        """
        above = self.lstat(path.rpartition("/")[0])
        if above is not None and above.mode & _SETGID:
            gid = template.gid if owned else above.gid
            template = msgspec.structs.replace(template, mode=template.mode | _SETGID, gid=gid)
        self.nodes[path] = Node(template)

    def set_time(self, path: str, mtime_ns: int) -> None:
        """Give a directory a time."""
        node = self.adopt(path)
        node.entry = msgspec.structs.replace(node.entry, mtime_ns=mtime_ns)

    def changes(self) -> Iterator[Change]:
        """Yield the planned changes in the order of a walk."""
        yield from self.with_parents(self._puts())

    def _puts(self) -> Iterator[Put]:
        first: dict[int, str] = {}
        for path in sorted_paths(self.nodes):
            node = self.nodes[path]
            link = first.setdefault(id(node), path)
            if link == path:
                yield Put(path, node.entry, node.content)
            else:
                yield Put(path, node.entry, None, link)

    def with_parents(self, puts: Iterable[Put], written: Iterable[str] = ()) -> Iterator[Change]:
        """Yield each change after the directories above it, unchanged; directories in `written` are left out."""
        seen = {"", *written}
        for put in puts:
            path = put.path
            parent = path.rpartition("/")[0]
            if parent not in seen:
                yield from self._parents(parent, seen)
            yield put
            if put.entry.kind == "dir":
                seen.add(path)
                if path in self._hidden:
                    below = self._view.lstat(path)
                    if below is not None and below.kind == "dir":
                        yield Opaque(path)

    def _parents(self, path: str, seen: set[str]) -> Iterator[Put]:
        missing = []
        while path not in seen:
            missing.append(path)
            seen.add(path)
            path = path.rpartition("/")[0]
        for directory in reversed(missing):
            entry = self.lstat(directory)
            if entry is not None:
                yield Put(directory, self.limited(entry))

    def limited(self, entry: Entry) -> Entry:
        """Return an entry of the layers below with its time limited to `latest_ns`: a RUN may just have changed it."""
        if self._latest_ns is None or entry.mtime_ns <= self._latest_ns:
            return entry
        return msgspec.structs.replace(entry, mtime_ns=self._latest_ns)
