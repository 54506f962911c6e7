"""Reading small files of a View by path, links followed within its root. Pure over the View, but for
reading the bytes that it points to."""

from __future__ import annotations

import os

from firkin.layer.change import Content, View
from firkin.layer.view import resolve_path

_MAX_BYTES = 16 * 1024 * 1024


def read_file(view: View, path: str) -> bytes:
    """Return a regular file's bytes, b"" where there is none (or it is absurdly large)."""
    found = resolve_path(view, path)
    entry = view.lstat(found)
    if entry is None or entry.kind != "file" or entry.size > _MAX_BYTES:
        return b""
    return read_content(view.content(found))


def read_content(content: Content) -> bytes:
    """Return a small file's bytes; a link is not followed."""
    if isinstance(content, bytes):
        return content
    descriptor = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return file.read(_MAX_BYTES)
