"""Digests of a context's files, kept by path and stat: one file of the store for each context. Does I/O.

builder/copy/content.py hashes the files and decides which digests may be kept. The store's file is read at the
first look-up and written once, as a whole, if there are new digests. When two builds of one context end at the
same time, the digests of the last one stay: that loses only time.

A context may have a million files, and a build looks at one directory after the other. So the digests of a
directory stay packed, about 90 bytes a file, until one of its files is looked up.
"""

from __future__ import annotations

import struct
import threading

import msgspec

from firkin.decode import decode_msgpack, msgpack_decoder
from firkin.oci.digest import framed_hash
from firkin.store.layout import StoreLayout, write_atomically

VERSION = 2
_OPEN_DIRECTORIES = 32
"""Enough for several walks at once, each with all directories above the current one."""

_pack_stat = struct.Struct("<QqqQQ").pack
"""size, mtime_ns, ctime_ns, inode, dev; the digest's bytes follow, then those of a capability."""
_STAT_BYTES, _DIGEST_BYTES = 40, 32


class _Known(msgspec.Struct, frozen=True):
    version: int
    directories: dict[str, bytes]


_NOTHING = msgspec.msgpack.encode({})
_names_decoder = msgpack_decoder(dict[str, bytes])


class StoredDigests:
    """A DigestCache for the files of one context. Paths are those that builder/copy/content.py uses as names.

    May be used from any thread.
    """

    def __init__(self, layout: StoreLayout, context: str) -> None:
        self._path = f"{layout.digests}/{framed_hash((context.encode('utf-8', 'surrogateescape'),))}"
        self._scratch = layout.scratch
        self._lock = threading.Lock()
        self._packed: dict[str, bytes] | None = None
        self._open: dict[str, dict[str, bytes]] = {}  # the last used is at the end
        self._changed: set[str] = set()
        self._learned = False
        self._last = ""

    def get(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int) -> str | None:
        """Return the digest of a file that has not changed since it was hashed."""
        directory, _, name = path.rpartition("/")
        with self._lock:
            known = self._directory(directory).get(name)
        if known is None or known[:_STAT_BYTES] != _pack_stat(size, mtime_ns, ctime_ns, inode, dev):
            return None
        digest = known[_STAT_BYTES:].hex()
        return digest if len(digest) == 2 * _DIGEST_BYTES else f"{digest[:64]}+{digest[64:]}"

    def put(self, path: str, size: int, mtime_ns: int, ctime_ns: int, inode: int, dev: int, digest: str) -> None:
        """Keep a digest."""
        directory, _, name = path.rpartition("/")
        packed = _pack_stat(size, mtime_ns, ctime_ns, inode, dev) + bytes.fromhex(digest.replace("+", ""))
        with self._lock:
            self._directory(directory)[name] = packed
            self._changed.add(directory)
            self._learned = True

    def save(self) -> None:
        """Write the new digests."""
        with self._lock:
            if not self._learned or self._packed is None:
                return
            self._learned = False
            for directory in list(self._open):
                self._close(directory)
            write_atomically(self._path, msgspec.msgpack.encode(_Known(VERSION, self._packed)), self._scratch)

    def _directory(self, path: str) -> dict[str, bytes]:
        """Return the packed stat and digest of each known file of a directory, by name."""
        if path == self._last and path in self._open:
            return self._open[path]
        self._last = path
        found = self._open.pop(path, None)
        if found is None:
            try:
                found = _names_decoder.decode(self._load().get(path, _NOTHING))
            except msgspec.MsgspecError:
                found = {}  # damaged: its files are hashed again
            if len(self._open) >= _OPEN_DIRECTORIES:
                self._close(next(iter(self._open)))
        self._open[path] = found
        return found

    def _close(self, path: str) -> None:
        names = self._open.pop(path)
        if path in self._changed:
            self._changed.remove(path)
            # Names that are not UTF-8 cannot be written as text; such files are hashed each time.
            if _is_text(path):
                names = {name: known for name, known in names.items() if _is_text(name)}
                self._load()[path] = msgspec.msgpack.encode(names)

    def _load(self) -> dict[str, bytes]:
        if self._packed is None:
            self._packed = {}
            try:
                with open(self._path, "rb") as file:
                    known = decode_msgpack(file.read(), _Known)
            except (OSError, msgspec.MsgspecError):
                return self._packed  # no file yet, or a damaged one: the context's files are hashed again
            if known.version == VERSION:
                self._packed = known.directories
        return self._packed


def _is_text(path: str) -> bool:
    return path.isascii() or path.encode("utf-8", "replace").decode() == path
