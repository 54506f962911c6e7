"""What a prune removed, what it spared, and why. Pure."""

from __future__ import annotations

import msgspec


class Freed(msgspec.Struct, frozen=True):
    """A removed item: `kind` is layer, record, blob, mount, image, download or file; `size_bytes` is on disk."""

    kind: str
    name: str
    size_bytes: int


class Spared(msgspec.Struct, frozen=True):
    """The items of one kind that stay for one reason: how many, and their bytes where they are known."""

    kind: str
    why: str
    count: int
    size_bytes: int


RECENT = "of use lately, or to a build that runs"
WANTED = "part of an image"
NEEDED = "of use to a {}"
KEPT = "within the space to keep"
HELD = "held by a build"


class Tally:
    """Counts what is spared, by kind and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, kind: str, why: str, size_bytes: int) -> None:
        count, size = self._found.get((kind, why), (0, 0))
        self._found[kind, why] = count + 1, size + size_bytes

    def result(self) -> tuple[Spared, ...]:
        return tuple(Spared(kind, why, count, size) for (kind, why), (count, size) in self._found.items())


class Pruned(msgspec.Struct, frozen=True):
    """The outcome of a prune (or, when dry, what it would have been)."""

    freed: tuple[Freed, ...]
    spared: tuple[Spared, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.freed)
