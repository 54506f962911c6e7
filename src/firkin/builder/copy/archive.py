"""Unpacks an archive into a draft, as if the destination were the root directory. Pure.

The copy planner imports it.
Mirrors: moby/go-archive Unpack inside chroot, as BuildKit's ADD calls it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.builder.context.views import Member, check_lengths
from firkin.builder.copy.draft import Draft, Node
from firkin.builder.copy.owner import Owner
from firkin.builder.copy.select import follow
from firkin.errors import StepFailed
from firkin.layer.change import Entry
from firkin.layer.tar import limit_hints
from firkin.text import clean


def unpack(draft: Draft, dest: str, members: Iterable[Member], owner: Owner | None, made_ns: int, archive: str) -> None:
    """Put an archive's members below `dest`, a directory. Raises StepFailed, naming the archive and the member."""
    _Unpacker(draft, dest, owner, made_ns, archive).run(members)


class _Unpacker:
    def __init__(self, draft: Draft, dest: str, owner: Owner | None, made_ns: int, archive: str) -> None:
        self._draft = draft
        self._base = dest
        self._owner = owner
        self._archive = archive
        self._implied = Entry(kind="dir", mode=0o755, mtime_ns=made_ns)

    def _below(self, path: str) -> str:
        return f"{self._base}/{path}" if self._base and path else self._base or path

    def _lstat(self, path: str) -> Entry | None:
        return self._draft.lstat(self._below(path))

    def run(self, members: Iterable[Member]) -> None:
        try:
            for member in members:
                path = clean(member.path)
                check_lengths(path)
                if path:  # a member `.` does not change the destination's attributes
                    self._add(member, path)
        except ValueError as error:
            raise StepFailed(
                f"`{self._archive}`: {error}", code="add-archive", hints=limit_hints(error)
            ) from error

    def _add(self, member: Member, path: str) -> None:
        parent, _, name = path.rpartition("/")
        place = self._parent(parent, member.path)
        target = self._below(f"{place}/{name}" if place else name)
        entry = member.entry
        node: Node
        if member.link:
            node = self._linked(member)
            if self._draft.nodes.get(target) is node:
                return
            if node.entry.kind != "symlink":
                node.entry = msgspec.structs.replace(
                    node.entry, mode=entry.mode, uid=entry.uid, gid=entry.gid, mtime_ns=entry.mtime_ns
                )
            self._chown(node)
        else:
            node = Node(entry, member.content)
            self._chown(node)
        present = self._draft.lstat(target)
        if present is not None:
            if present.kind == "dir" and entry.kind == "dir" and not member.link:
                self._draft.put(target, node)
                return
            self._draft.remove(target)
        self._draft.put(target, node)

    def _chown(self, node: Node) -> None:
        if self._owner is not None:
            node.entry = msgspec.structs.replace(node.entry, uid=self._owner.uid, gid=self._owner.gid)

    def _linked(self, member: Member) -> Node:
        """Return the node that a hard link shares."""
        path = clean(member.link)
        found = follow(self._lstat, path, last=False)
        entry = self._lstat(found)
        if entry is None:
            raise self._failed(member.path, f"links to `{member.link}`: no such file")
        if entry.kind == "dir":
            raise self._failed(member.path, f"links to `{member.link}`, a directory")
        return self._draft.adopt(self._below(found))

    def _parent(self, path: str, shown: str) -> str:
        """Return the resolved path of a member's directory. It is made if it is missing; links stay in `dest`."""
        if not path:
            return ""
        entry = self._lstat(path)
        if entry is not None and entry.kind == "dir":
            return path
        done = ""
        for part in path.split("/"):
            step = f"{done}/{part}" if done else part
            found = follow(self._lstat, step)
            entry = self._lstat(found)
            if entry is None:
                if self._lstat(follow(self._lstat, step, last=False)) is not None:
                    raise self._failed(shown, "lies below a link that leads out of the destination or nowhere")
                self._draft.make_dir(self._below(found), self._implied, owned=True)
            elif entry.kind != "dir":
                raise self._failed(shown, f"mkdir {step}: not a directory")
            done = found
        return done

    def _failed(self, member: str, why: str) -> StepFailed:
        return StepFailed(f"`{self._archive}`: `{member}` {why}", code="add-archive")
