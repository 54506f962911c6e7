"""The objects of one fetched repository: packs and single ones, in files below a directory. Does I/O.

The id of each object is computed from its content; the server's is not trusted. Only git modules of context/ import it.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from dulwich.object_format import SHA1, SHA256
from dulwich.objects import Commit, ObjectID, ShaFile

from firkin.builder.context.git_pack import KIND_NAMES, Budget, Pack, inflated, new_hash

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
_KINDS = {name: kind for kind, name in KIND_NAMES.items()}
_MAX_PARSED_BYTES = 64 << 20
_MAX_HEADER_BYTES = 32


class _Single(NamedTuple):
    path: str
    kind: int
    size: int
    start: int  # offset of the content in the inflated file


class Objects:
    """The fetched objects. `directory` is created; the `budget` limits their total. Reading is thread-safe."""

    def __init__(self, directory: str, id_bytes: int, budget: Budget) -> None:
        self.directory = directory
        self.id_bytes = id_bytes
        self.packs: list[Pack] = []
        self.singles: dict[bytes, _Single] = {}
        self._budget = budget
        self._spooled: dict[bytes, str] = {}
        os.makedirs(directory, 0o700)

    def add_pack(self, path: str) -> None:
        """Add a pack, whose file must stay where it is. Raises ValueError for a damaged one."""
        self.packs.append(Pack(path, self.id_bytes, self._budget))

    def add_single(self, path: str, sha: ObjectID) -> None:
        """Add one deflated object, whose file must stay where it is. Raises ValueError, also if it has another id."""
        damaged = ValueError(f"object {sha.decode()} is damaged")
        with open(path, "rb") as file:
            head = zlib.decompressobj().decompress(file.read(4096), _MAX_HEADER_BYTES).partition(b"\0")[0]
        name, _, digits = head.partition(b" ")
        if name not in _KINDS or not digits.isdigit():
            raise damaged
        size = int(digits)
        self._budget.take(1, size)
        hasher = new_hash(self.id_bytes)
        try:
            for piece in _inflated(path, len(head) + 1 + size):
                hasher.update(piece)
        except (ValueError, zlib.error):
            raise damaged from None
        if hasher.hexdigest().encode() != sha:
            raise damaged
        self.singles[hasher.digest()] = _Single(path, _KINDS[name], size, len(head) + 1)

    def __contains__(self, sha: ObjectID) -> bool:
        return self._find(sha) is not None

    def stat(self, sha: ObjectID) -> tuple[int, int]:
        """Return an object's kind and its size in bytes; raises KeyError."""
        found = self._find(sha)
        if found is None:
            raise KeyError(f"there is no object {sha.decode()}")
        if isinstance(found, _Single):
            return found.kind, found.size
        pack, place = found
        return pack.kind(place), pack.size(place)

    def pieces(self, sha: ObjectID) -> Iterator[bytes]:
        """Yield an object's content; raises KeyError."""
        found = self._find(sha)
        if found is None:
            raise KeyError(f"there is no object {sha.decode()}")
        if not isinstance(found, _Single):
            yield from found[0].pieces(found[1])
            return
        skip = found.start
        for piece in _inflated(found.path, found.start + found.size):
            if skip < len(piece):
                yield piece[skip:]
            skip = max(0, skip - len(piece))

    def read(self, sha: ObjectID, kind: int, most_bytes: int = _MAX_PARSED_BYTES) -> bytes:
        """Return an object's content; raises KeyError, ValueError for another kind or for more than `most_bytes`."""
        found, size = self.stat(sha)
        if found != kind:
            raise ValueError(f"{sha.decode()} is no {KIND_NAMES[kind].decode()}")
        if size > most_bytes:
            raise ValueError(f"the {KIND_NAMES[kind].decode()} {sha.decode()} is too large: {size} bytes")
        return b"".join(self.pieces(sha))

    def parsed(self, sha: ObjectID) -> ShaFile:
        """Return a commit, tree or tag; raises KeyError, ValueError."""
        kind, _ = self.stat(sha)
        if kind == BLOB:
            raise ValueError(f"{sha.decode()} is a file")
        form = SHA1 if self.id_bytes == 20 else SHA256
        return ShaFile.from_raw_string(kind, self.read(sha, kind), sha, object_format=form)

    def commit(self, sha: ObjectID) -> Commit:
        """Return a commit, or the commit that a tag names; raises KeyError, ValueError."""
        found = self.parsed(sha)
        while found.type_num == TAG:
            found = self.parsed(found.object[1])  # type: ignore[attr-defined]
        if not isinstance(found, Commit):
            raise ValueError(f"{sha.decode()} is no commit")
        if not isinstance(found.commit_time, int) or not isinstance(found.tree, bytes):
            raise ValueError(f"the commit {sha.decode()} is damaged")
        return found

    def spool(self, sha: ObjectID) -> str:
        """Return a file with an object's content, made on first use; raises KeyError."""
        path = self._spooled.get(sha)
        if path is None:
            path = f"{self.directory}/{sha.decode()}"
            made = f"{path}.{os.urandom(8).hex()}"
            with open(made, "xb") as file:
                for piece in self.pieces(sha):
                    file.write(piece)
            os.rename(made, path)
            self._spooled[sha] = path
        return path

    def _find(self, sha: ObjectID) -> _Single | tuple[Pack, int] | None:
        raw = bytes.fromhex(sha.decode())
        for pack in self.packs:
            place = pack.ids.get(raw)
            if place is not None:
                return pack, place
        return self.singles.get(raw)


def _inflated(path: str, size: int) -> Iterator[bytes]:
    """Yield exactly `size` inflated bytes of a file; raises ValueError if there are more or fewer."""
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    yield from inflated(data, 0, size)
