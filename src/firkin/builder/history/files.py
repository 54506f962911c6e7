"""Lists of the files that a COPY or a mount reads, kept so that a changed digest can be explained. Pure.

A list holds what `copy/content.py` hashes, piece by piece: a line for each file, and parentheses around the contents
of a directory. It is stored under the digest that it is hashed to, so equal files are listed once. Content is in it as
sha256 only, names are in clear.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

MAX_LIST_BYTES = 32 << 20
_SEPARATOR = b"\0"  # no name and no target of a link has it


class ListedFile(NamedTuple):
    """One entry: `mode` is octal, `content` the rest of what counts (sha256, the target of a link, device numbers)."""

    kind: str
    mode: str
    owner: str
    content: str


What = Literal["added", "removed", "kind", "content", "target", "mode", "owner"]


class FileChange(NamedTuple):
    """One difference between two lists; `before` and `after` are modes, owners, kinds or targets, or ""."""

    path: str
    what: What
    before: str = ""
    after: str = ""


def encode_list(items: list[str]) -> bytes:
    """Return a list, compressed."""
    return zlib.compress(_SEPARATOR.join(item.encode("utf-8", "surrogateescape") for item in items), 1)


def decode_list(data: bytes) -> list[str]:
    """Read a list; raises ValueError for anything else, and for one that is too large."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MAX_LIST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflate.eof:
        raise ValueError("a list of files is cut short or too large")
    return [item.decode("utf-8", "surrogateescape") for item in text.split(_SEPARATOR)] if text else []


def read_list(items: list[str], path: str = "") -> dict[str, ListedFile]:
    """Return the entries by path; `path` is the source that was walked. Raises ValueError for a damaged list."""
    found: dict[str, ListedFile] = {}
    top, outside = _places(path.strip("/"))
    prefixes: list[str] = []
    last = ""
    for item in items:
        if item == "(":
            prefixes.append(last if prefixes else top)
        elif item == ")":
            if not prefixes:
                raise _damaged()
            prefixes.pop()
        else:
            name, entry = _entry(item)
            if name == "." and not prefixes:
                found[top or "."] = entry
                continue
            last = f"{prefixes[-1] if prefixes else outside}/{name}".lstrip("/")
            found[last] = entry
    return found


def _places(source: str) -> tuple[str, str]:
    """Return the directory that a source is, and the one that it lies in if it is a file; patterns name neither."""
    outside = source.rpartition("/")[0]
    outside = "" if any(mark in outside for mark in "*?[") else outside
    return outside if any(mark in source for mark in "*?[") else source, outside


def _entry(item: str) -> tuple[str, ListedFile]:
    size, colon, rest = item.partition(":")
    if not (colon and size.isascii() and size.isdigit() and len(size) < 6):
        raise _damaged()
    fields = rest[int(size) :].rstrip("\n").split(" ", 4)
    if len(fields) != 5:
        raise _damaged()
    kind, mode, uid, gid, content = fields
    return rest[: int(size)], ListedFile(kind, mode, f"{uid}:{gid}", content)


def _damaged() -> ValueError:
    return ValueError("a list of files is damaged")


def compare_lists(old: dict[str, ListedFile], new: dict[str, ListedFile]) -> Iterator[FileChange]:
    """Yield what has changed from one list to the other, by path; a file that differs in several ways comes once."""
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None or after is None:
            yield FileChange(path, "added" if before is None else "removed")
        elif before.kind != after.kind:
            yield FileChange(path, "kind", before.kind, after.kind)
        elif before.content != after.content:
            link = after.kind == "symlink"
            targets = (before.content.partition(":")[2], after.content.partition(":")[2]) if link else ()
            yield FileChange(path, "target" if link else "content", *targets)
        elif before.mode != after.mode:
            yield FileChange(path, "mode", before.mode, after.mode)
        elif before.owner != after.owner:
            yield FileChange(path, "owner", before.owner, after.owner)
