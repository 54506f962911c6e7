"""Git packs and repositories made by hand, with contents that git would not write."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from struct import pack as packed

from dulwich.objects import ObjectID

from firkin.builder.context.git_objects import Objects
from firkin.builder.context.git_pack import Budget
from firkin.builder.context.git_view import GitView
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits

COMMIT, TREE, BLOB, OFFSET_DELTA, ID_DELTA = 1, 2, 3, 6, 7
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob"}


def id_of(kind: int, content: bytes) -> bytes:
    return hashlib.sha1(b"%s %d\0" % (NAMES[kind], len(content)) + content).digest()


def head(kind: int, size: int) -> bytes:
    out = bytearray()
    byte, size = kind << 4 | size & 15, size >> 4
    while size:
        out.append(byte | 128)
        byte, size = size & 127, size >> 7
    return bytes([*out, byte])


def number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def entry(kind: int, content: bytes, base: bytes = b"", size: int | None = None) -> bytes:
    return head(kind, len(content) if size is None else size) + base + zlib.compress(content)


def delta(base: int, result: int, *instructions: bytes) -> bytes:
    return number(base) + number(result) + b"".join(instructions)


def back(distance: int) -> bytes:
    """Return the encoded offset of a base that is `distance` bytes before its difference."""
    out = [distance & 127]
    while distance := distance >> 7:
        distance -= 1
        out.append(distance & 127 | 128)
    return bytes(reversed(out))


def copy_all(size: int) -> bytes:
    """Copy the first `size` bytes of the base."""
    return b"\xf0" + size.to_bytes(3, "little")


def pack_of(*entries: bytes, number_of: int | None = None) -> bytes:
    body = b"PACK" + packed(">II", 2, len(entries) if number_of is None else number_of) + b"".join(entries)
    return body + hashlib.sha1(body).digest()


class Repository:
    """Objects that go into one pack."""

    def __init__(self) -> None:
        self.objects: dict[bytes, tuple[int, bytes]] = {}

    def add(self, kind: int, content: bytes) -> bytes:
        sha = id_of(kind, content)
        self.objects[sha] = kind, content
        return sha

    def tree(self, *entries: tuple[int, bytes, bytes]) -> bytes:
        return self.add(TREE, b"".join(b"%o %b\0" % (mode, name) + sha for mode, name, sha in entries))

    def commit(self, tree: bytes) -> ObjectID:
        text = b"tree %b\nauthor A <a@b> 1600000000 +0000\ncommitter A <a@b> 1600000000 +0000\n\nm\n"
        return ObjectID(self.add(COMMIT, text % tree.hex().encode()).hex().encode())

    def open(self, place: Path, commit: ObjectID, limits: UnpackLimits = UNPACK_LIMITS) -> GitView:
        objects = Objects(str(place), 20, Budget(limits, "what is fetched of a repository"))
        path = place / "p"
        path.write_bytes(pack_of(*(entry(kind, content) for kind, content in self.objects.values())))
        objects.add_pack(str(path))
        return GitView(objects, objects.commit(commit), Budget(limits, "a git tree"))

    def bomb(self, levels: int, width: int, leaf: bytes = b"x") -> ObjectID:
        below, mode = self.add(BLOB, leaf), 0o100644
        for _ in range(levels):
            below, mode = self.tree(*((mode, b"%d" % number, below) for number in range(width))), 0o040000
        return self.commit(below)
