"""Brings the blob of every layer into the store, for outputs that need them. Does I/O."""

from __future__ import annotations

from collections.abc import Iterable

from firkin.builder.output.built import Built
from firkin.builder.solve.session import BuildSession


def gather(session: BuildSession, built: Iterable[Built]) -> None:
    """Fetch the layers that are not in the store: those of a base that no step has needed."""
    sources = session.layers.sources
    tasks = [
        session.pools.transfers.submit(lambda layer=layer, origin=ref.origin: sources.ensure_blob(layer, origin))  # type: ignore[misc]
        for item in built
        for ref, layer in zip(item.snapshot.layers, item.image.layers, strict=True)
    ]
    for task in tasks:
        task.result()
