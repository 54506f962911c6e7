"""From `--cache-from` and `--cache-to` to the places that they mean. Does I/O only by what it makes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firkin.builder.cache import Lookup
from firkin.builder.cache.directory import DirectoryCache
from firkin.builder.cache.entry import ANNOTATION, CacheEntry, annotation_of
from firkin.builder.cache.repository import ImageCache, RepositoryCache
from firkin.builder.request import CacheRef
from firkin.builder.solve.remote_cache import CacheSource, CacheTarget, RemoteCache, entry_of
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.events import Warned
from firkin.oci.image import Layer
from firkin.oci.manifest import PairMap

if TYPE_CHECKING:
    from firkin.builder.solve.engine import Engine
    from firkin.builder.solve.session import BuildSession


def open_caches(session: BuildSession, refused: frozenset[str]) -> RemoteCache:
    """Return the caches of a build, from which no layer of `refused` is taken; raises UsageError."""
    sources = []
    for ref in session.request.cache_from:
        match ref.type:
            case "registry":
                # A repository of entries, and (as for buildx) an image that was made with an inline cache.
                images: tuple[Lookup, ...] = (ImageCache(ref.ref, session.client),)
                sources.append(CacheSource(ref, (*images, _repository(session, ref))))
            case "local":
                directory = _directory(session, ref)
                if not directory.exists():  # as the first time, or misspelt
                    text = f"there is no cache at {directory.shown}, so nothing is taken from it"
                    session.emit(Warned(session.clock(), "cache-unreadable", text))
                sources.append(CacheSource(ref, (directory,)))
            case "inline":
                if ref.ref:
                    sources.append(CacheSource(ref, (ImageCache(ref.ref, session.client),)))
    targets = []
    for ref in session.request.cache_to:
        if ref.type == "registry":
            targets.append(CacheTarget(ref, _repository(session, ref)))
        elif ref.type == "local":
            targets.append(CacheTarget(ref, _directory(session, ref)))
    return RemoteCache(
        tuple(sources),
        tuple(targets),
        session.store,
        session.layers,
        session.pools.transfers,
        session.emit,
        session.stop,
        session.clock,
        refused,
    )


def inline_cache(
    engine: Engine, snapshot: Snapshot, layers: tuple[Layer, ...], form: LayerFormat
) -> PairMap:
    """Return the annotation that makes an image a cache of its own layers (type=inline)."""
    entries: dict[str, tuple[int, CacheEntry]] = {}
    used = [record for ref in snapshot.layers for record in engine.records.get(ref.tree_id, ())]
    saved = max((record.created for record in used), default=0.0)  # no clock: equal builds make equal images
    for position, (ref, layer) in enumerate(zip(snapshot.layers, layers, strict=True)):
        for record in engine.records.get(ref.tree_id, ()):
            entry = entry_of(record, layer, form.of(ref), engine.step_records, saved)
            if entry is not None:
                entries[record.key] = (position, entry)
    return ((ANNOTATION, annotation_of(entries.values())),) if entries else ()


def _repository(session: BuildSession, ref: CacheRef) -> RepositoryCache:
    return RepositoryCache(ref.ref, session.client, session.host)


def _directory(session: BuildSession, ref: CacheRef) -> DirectoryCache:
    path = os.path.normpath(os.path.join(session.request.cwd, ref.ref))
    place = DirectoryCache(path, session.host)
    session.contexts.layouts[path] = place
    return place
