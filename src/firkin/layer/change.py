"""File-tree entries and the three kinds of change that a layer is made of. Pure.

Paths are relative to the root ("" is the root itself), `/`-separated, never normalised, decoded by
os.fsdecode. Spec: image-spec layer.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

Kind = Literal["file", "dir", "symlink", "fifo", "char", "block"]

WHITEOUT_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"


class Entry(msgspec.Struct, frozen=True):
    """The file behind a name in a tree.

    `mode` is the permission bits with setuid, setgid and sticky (07777). `target` is a symbolic
    link's text. `inode` is set for a file with several names: entries with an equal one are hard
    links of each other. `xattrs` are sorted by name and hold what a layer may carry
    (`security.capability`, `user.*` but for overlayfs's own).
    """

    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    inode: tuple[int, int] | None = None

    @property
    def unpacked_bytes(self) -> int:
        """What docker counts of it for the size of a layer: a file's size, holes included, or the length of a target.

        A hard link counts once, which is the caller's business. Mirrors: moby daemon/internal/directory Size.
        """
        if self.kind == "file":
            return self.size
        return len(self.target.encode("utf-8", "surrogateescape"))


Content = str | bytes
"""A regular file's bytes: an absolute path on this machine to read them from (never followed if it is
a link), or the bytes themselves."""


class Put(msgspec.Struct, frozen=True):
    """`path` is (now) `entry`. `content` for regular files; `link` is the path of an earlier Put
    in the same layer that this is a hard link to (then entry repeats the file's metadata)."""

    path: str
    entry: Entry
    content: Content | None = None
    link: str = ""


class Remove(msgspec.Struct, frozen=True):
    """`path`, of a layer below, is gone, with everything beneath it (a whiteout)."""

    path: str


class Opaque(msgspec.Struct, frozen=True):
    """The directory `path` shows nothing of the layers below. Comes after the directory's Put
    and before everything beneath it."""

    path: str


Change = Put | Remove | Opaque
Lookup = Callable[[str], Entry | None]

_MAX_LINKS = 255


def is_beneath(path: str) -> bool:
    """Say whether a change's path consists of names alone, so that it stays beneath any directory it is joined to.

    Sources are checked where they are opened (`context.views.CheckedView`, `layer.tar.clean_name`); writers of
    layers and trees check again, so that a path that slipped through is stopped as a fault.
    """
    if path[:1] not in "/." and "/." not in path and "//" not in path and "\0" not in path and path[-1:] != "/":
        return True
    return not path or ("\0" not in path and all(part not in ("", ".", "..") for part in path.split("/")))


class View(Protocol):
    """Read access to a file tree: a directory, a build context behind its ignore file, a merged
    stack of layers, an index. Links are never followed; missing paths are None, not errors."""

    def lstat(self, path: str) -> Entry | None:
        """Return the entry, or None where there is nothing (or a parent is no directory)."""

    def iterdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted by their bytes (os.fsencode)."""

    def content(self, path: str) -> Content:
        """Return where a regular file's bytes are."""


def follow_links(lookup: Lookup, path: str, *, last: bool = True) -> str | None:
    """Return a path with its links followed within the root (the last part only with `last`).

    Parts that do not exist stay as they are. None for a chain without end. Mirrors: continuity fs.RootPath.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if done:
                done.pop()
            continue
        done.append(part)
        if not todo and not last:
            break
        entry = lookup("/".join(done))
        if entry is not None and entry.kind == "symlink":
            links += 1
            if links > _MAX_LINKS:
                return None
            done.pop()
            if entry.target.startswith("/"):
                done.clear()
            todo += entry.target.split("/")[::-1]
    return "/".join(done)
