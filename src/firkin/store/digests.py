"""Digests of files on this machine by what stat says of them: one file of the store for each context. Does I/O.

What makes a digest fit for keeping is decided where files are hashed (solve/content.py). The file is read
when first asked for and written once, as a whole, when something new was learned; when two builds of one
context end at the same time, the last one's knowledge stays, which is no loss but time.
"""

from __future__ import annotations

import msgspec

from firkin.oci.digest import framed_hash
from firkin.store.layout import StoreLayout, write_atomically

VERSION = 1
_Stat = tuple[int, int, int, int, int]
"""size, mtime_ns, ctime_ns, inode, dev"""


class _Known(msgspec.Struct, frozen=True):
    version: int
    files: dict[str, tuple[int, int, int, int, int, str]]


class StoredDigests:
    """A DigestCache for the files of one context. Paths are those that solve/content.py uses as names."""

    def __init__(self, layout: StoreLayout, context: str) -> None:
        self._path = f"{layout.digests}/{framed_hash((context.encode('utf-8', 'surrogateescape'),))}"
        self._scratch = layout.scratch
        self._files: dict[str, tuple[int, int, int, int, int, str]] | None = None
        self._learned = False

    def _load(self) -> dict[str, tuple[int, int, int, int, int, str]]:
        if self._files is None:
            self._files = {}
            try:
                with open(self._path, "rb") as file:
                    known = msgspec.msgpack.decode(file.read(), type=_Known)
            except (OSError, msgspec.MsgspecError):
                return self._files  # no knowledge, or damaged: files are hashed again
            if known.version == VERSION:
                self._files = known.files
        return self._files

    def get(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int) -> str | None:
        """Return the digest of a file that has not changed since it was hashed."""
        known = self._load().get(path)
        if known is None or known[:5] != (size, mtime_ns, ctime_ns, inode, dev):
            return None
        return known[5]

    def put(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int, digest: str) -> None:
        """Keep a digest."""
        self._load()[path] = (size, mtime_ns, ctime_ns, inode, dev, digest)
        self._learned = True

    def save(self) -> None:
        """Write what was learned."""
        if self._learned and self._files is not None:
            self._learned = False
            # Names that are not UTF-8 cannot be written as text; such files are hashed each time.
            files = {path: known for path, known in self._files.items() if _is_text(path)}
            write_atomically(self._path, msgspec.msgpack.encode(_Known(VERSION, files)), self._scratch)


def _is_text(path: str) -> bool:
    return path.isascii() or path.encode("utf-8", "replace").decode() == path
