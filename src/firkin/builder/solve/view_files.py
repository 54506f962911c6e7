"""Reading small files of a View by path, links followed within its root. Does I/O."""

from __future__ import annotations

import os

from firkin.errors import ContextError
from firkin.layer.change import Content, View, follow_links
from firkin.layer.view import resolve_path
from firkin.linux.files import MAX_TEXT_BYTES

_MAX_BYTES = 16 * 1024 * 1024
_KINDS = {"dir": "is a directory", "fifo": "it is a named pipe, not a file"}


def read_file(view: View, path: str) -> bytes:
    """Return a regular file's bytes, b"" where there is none (or it is absurdly large)."""
    found = resolve_path(view, path)
    entry = view.lstat(found)
    if entry is None or entry.kind != "file" or entry.size > _MAX_BYTES:
        return b""
    return read_content(view.content(found))


def read_text(view: View, path: str, what: str) -> bytes | None:
    """Return the bytes of a Dockerfile or ignore file, None where there is none; `what` is the context, for messages.

    Raises ContextError for a link that leads nowhere in the context, for a path that is no file, and for a huge file,
    as `context.directory.read_text` does.
    """
    found = follow_links(view.lstat, path)
    entry = view.lstat(found) if found else None
    if entry is None:
        link = _dangling(view, path)
        if link is None:
            return None
        raise ContextError(
            f"cannot read `{path}` of {what}: it is a link to `{link}`, which is not in the context",
            code="context-link",
            hints=("links are followed inside the context only, absolute ones as well",),
        )
    why = "" if entry.kind == "file" else _KINDS.get(entry.kind, "it is a device, not a file")
    if entry.kind == "file" and entry.size > MAX_TEXT_BYTES:
        why = f"it is larger than {MAX_TEXT_BYTES >> 20} MiB"
    if why:
        raise ContextError(f"cannot read `{path}` of {what}: {why}", code="context-unreadable")
    return read_content(view.content(found or ""))


def _dangling(view: View, path: str) -> str | None:
    """Return the text of the link that a path ends at, None where it ends at none."""
    place = follow_links(view.lstat, path, last=False)
    entry = view.lstat(place) if place else None
    return entry.target if entry is not None and entry.kind == "symlink" else None


def read_content(content: Content) -> bytes:
    """Return a small file's bytes; a link is not followed."""
    if isinstance(content, bytes):
        return content
    descriptor = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return file.read(_MAX_BYTES)
