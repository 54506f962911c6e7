"""Lists the entries of a layer cache, and chooses those to remove. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from firkin.builder.cache import WritableCache
from firkin.builder.cache.entry import CacheEntry
from firkin.errors import Cancelled
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.pools import Pools

T = TypeVar("T")


class Row(NamedTuple):
    """One entry and its name; `entry` is None if it is invalid."""

    name: str
    entry: CacheEntry | None

    @property
    def saved(self) -> float:
        return self.entry.saved if self.entry is not None else 0.0

    @property
    def digest(self) -> str:
        return self.entry.blob.descriptor.digest if self.entry is not None else ""

    @property
    def size(self) -> int:
        return self.entry.blob.descriptor.size if self.entry is not None else 0


class Rules(NamedTuple):
    """The rules that choose the entries to remove."""

    older_than_s: float
    keep_bytes: int
    used: frozenset[Digest] | None


def list_rows(place: WritableCache, parallel: int) -> tuple[Row, ...]:
    """Return all entries of a cache, the newest first; up to `parallel` are read at a time."""

    def row(name: str) -> Row:
        try:
            return Row(name, place.find(name))
        except ValueError:
            return Row(name, None)

    rows = _side_by_side(parallel, [lambda name=name: row(name) for name in place.names()])  # type: ignore[misc]
    return tuple(sorted(rows, key=lambda row: (-row.saved, row.name)))


def _side_by_side(parallel: int, calls: list[Callable[[], T]]) -> list[T]:
    pools = Pools(steps=1, transfers=parallel, cpu=1)
    try:
        tasks = [pools.transfers.submit(call) for call in calls]
        return [task.result() for task in tasks]
    finally:
        pools.close(Cancelled("the command has ended"))


def layers_of(client: RegistryClient, images: Iterable[Reference]) -> frozenset[Digest]:
    """Return the digests of all layers that images in registries have."""
    found: set[Digest] = set()
    todo = list(images)
    while todo:
        reference = todo.pop()
        document = client.get_manifest(reference)
        if isinstance(document, Index):
            todo += [Reference(reference.registry, reference.repository, "", x.digest) for x in document.manifests]
        else:
            found |= {layer.digest for layer in document.layers}
    return frozenset(found)


def choose(rows: tuple[Row, ...], rules: Rules, now_s: float) -> list[Row]:
    """Return the entries to remove: those rows of the listing that any of the rules applies to."""
    gone: list[Row] = []
    kept: list[Row] = []
    for row in rows:
        old = bool(rules.older_than_s) and row.saved + rules.older_than_s < now_s
        unused = rules.used is not None and row.digest not in rules.used
        (gone if row.entry is None or old or unused else kept).append(row)
    if rules.keep_bytes:
        left = 0
        seen: set[str] = set()
        for row in kept:  # newest first
            if row.digest not in seen:
                seen.add(row.digest)
                left += row.size
            if left > rules.keep_bytes:
                gone.append(row)
    return gone


def layer_bytes(rows: Iterable[Row]) -> int:
    """Return the size of the layers of some entries, each layer once."""
    return sum({row.digest: row.size for row in rows}.values())
