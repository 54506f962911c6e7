"""Opens the caches that `--cache-from` and `--cache-to` name. Does I/O. It looks for directories."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from firkin.builder.cache.directory import DirectoryCache
from firkin.builder.cache.entry import ANNOTATION, CacheEntry, annotation_of
from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.cache.repository import ImageCache, RepositoryCache
from firkin.builder.request import BuildRequest, CacheRef
from firkin.builder.solve.remote_cache import CacheSource, CacheTarget, entry_of
from firkin.content.fetch import LayoutReader
from firkin.content.format import LayerFormat
from firkin.content.snapshot import Snapshot
from firkin.oci.image import Layer
from firkin.oci.manifest import PairMap
from firkin.oci.platform import Platform

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient


def cache_places(
    request: BuildRequest,
    client: Callable[[], RegistryClient],
    host: Platform,
    layouts: dict[str, LayoutReader],
    warn: Callable[[str, str], None],
) -> tuple[tuple[CacheSource, ...], tuple[CacheTarget, ...]]:
    """Return the caches to read and the caches to write; those in directories are added to `layouts`."""

    def repository(ref: CacheRef) -> RepositoryCache:
        return RepositoryCache(ref.ref, client, host)

    def directory(ref: CacheRef) -> DirectoryCache:
        path = os.path.normpath(os.path.join(request.cwd, ref.ref))
        layouts[path] = place = DirectoryCache(path, host)
        return place

    sources = []
    for ref in request.cache_from:
        match ref.type:
            case "registry":
                # A repository of entries, and (as for buildx) an image that was made with an inline cache.
                sources.append(CacheSource(ref, (ImageCache(ref.ref, client), repository(ref))))
            case "local":
                place = directory(ref)
                if not place.exists():  # the first build, or a misspelt path
                    warn("cache-unreadable", f"there is no cache at {place.shown}, so nothing is taken from it")
                sources.append(CacheSource(ref, (place,)))
            case "inline":
                if ref.ref:
                    sources.append(CacheSource(ref, (ImageCache(ref.ref, client),)))
    targets = []
    for ref in request.cache_to:
        if ref.type == "registry":
            targets.append(CacheTarget(ref, repository(ref)))
        elif ref.type == "local":
            targets.append(CacheTarget(ref, directory(ref)))
    return tuple(sources), tuple(targets)


def inline_cache(
    known: Mapping[str, Sequence[StepRecord]],
    records: StepRecords,
    snapshot: Snapshot,
    layers: tuple[Layer, ...],
    form: LayerFormat,
) -> PairMap:
    """Return the annotation that makes an image a cache of its own layers (type=inline).

    `known` has the records of each layer that the build used.
    """
    entries: dict[str, tuple[int, CacheEntry]] = {}
    used = [record for ref in snapshot.layers for record in known.get(ref.tree_id, ())]
    saved = max((record.created for record in used), default=0.0)  # no clock: equal builds make equal images
    for position, (ref, layer) in enumerate(zip(snapshot.layers, layers, strict=True)):
        for record in known.get(ref.tree_id, ()):
            entry = entry_of(record, layer, form.of(ref), records, saved)
            if entry is not None:
                entries[record.key] = (position, entry)
    return ((ANNOTATION, annotation_of(entries.values())),) if entries else ()
