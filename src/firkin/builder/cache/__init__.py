"""The layer cache: records of steps in the store, entries outside it, and the places that hold entries. Does I/O.

A place holds entries under names: the cache key of a step, or `mount-` and the name of a cache mount.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from firkin.builder.cache.entry import CacheEntry


class ReadableCache(Protocol):
    """A place to find entries in. Thread-safe; all methods raise FirkinError."""

    @property
    def shown(self) -> str:
        """The place's name in messages; equal for equal places."""

    @property
    def origin(self) -> str:
        """Where the blobs of entries come from, in the form of `graph.ops.Pull`."""

    def find(self, name: str) -> CacheEntry | None:
        """Return the entry of a name; raises ValueError if it is invalid."""


class WritableCache(ReadableCache, Protocol):
    """A place to add entries to as well."""

    def add(self, name: str, entry: CacheEntry, open_blob: Callable[[], BinaryIO], near: str) -> None:
        """Put an entry, its blob first; `near` is another origin of the blob, or ""."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove entries."""

    def close(self) -> None:
        """Make everything that was added visible."""
