"""A tar as a tree: from a file, a stream or a URL, compressed or not. Does I/O.

Contexts import it. Owners, modes and times are the archive's own, as with BuildKit.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.builder.context.archive import Scratch, file_chunks, read_members
from firkin.builder.context.views import Member, MemoryView
from firkin.errors import ContextError
from firkin.hints import Hint
from firkin.layer.change import Content, Entry
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import clean_name, limit_hints


def open_tar(path: str, scratch: Scratch, limits: UnpackLimits = UNPACK_LIMITS) -> MemoryView:
    """Return the tree of a tar file on this machine. Raises ContextError."""
    try:
        return tar_view(read_members(file_chunks(path), scratch, limits), path)
    except ContextError as error:
        error.hints += (Hint.of("context-kind"),)
        raise


def tar_view(members: Iterable[Member], what: str) -> MemoryView:
    """Return the tree that an archive unpacks to; `what` is the archive's name in errors. Raises ContextError."""
    tree = _Tree(what)
    try:
        for member in members:
            tree.add(member)
    except ValueError as error:
        raise ContextError(
            f"{what} is not a readable archive: {error}", code="context-archive", hints=limit_hints(error)
        ) from error
    return MemoryView(tree.entries, tree.contents)


class _Tree:
    """A tree that is being unpacked: the last member of a name wins, and names stay below the root."""

    def __init__(self, what: str) -> None:
        self.entries: dict[str, Entry] = {}
        self.contents: dict[str, Content] = {}
        self._what = what
        self._links = 0

    def add(self, member: Member) -> None:
        path = clean_name(member.path)
        if not path:
            return
        self._check_parents(path)
        present = self.entries.get(path)
        if present is not None and not (present.kind == "dir" and member.entry.kind == "dir" and not member.link):
            self._remove(path)
        if member.link:
            self._link(path, clean_name(member.link), member)
            return
        self.entries[path] = member.entry
        if member.content is not None:
            self.contents[path] = member.content

    def _check_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            entry = self.entries.get(parent)
            if entry is not None:
                if entry.kind == "dir":
                    return
                raise ContextError(
                    f"{self._what}: `{path}` lies below `{parent}`, which is a {entry.kind}", code="context-archive"
                )
            parent = parent.rpartition("/")[0]

    def _remove(self, path: str) -> None:
        entry = self.entries.pop(path)
        self.contents.pop(path, None)
        if entry.kind == "dir":
            for below in [name for name in self.entries if name.startswith(path + "/")]:
                del self.entries[below]
                self.contents.pop(below, None)

    def _link(self, path: str, target: str, member: Member) -> None:
        entry = self.entries.get(target)
        if entry is None or entry.kind == "dir":
            raise ContextError(
                f"{self._what}: `{member.path}` is a link to `{member.link}`, which is not there",
                code="context-archive",
            )
        if entry.inode is None:
            self._links += 1
            entry = self.entries[target] = msgspec.structs.replace(entry, inode=(0, self._links))
        self.entries[path] = entry
        if target in self.contents:
            self.contents[path] = self.contents[target]
