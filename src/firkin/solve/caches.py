"""From `--cache-from` and `--cache-to` to the places that they mean. Does I/O only by what it makes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firkin.cache import Lookup
from firkin.cache.directory import DirectoryCache
from firkin.cache.repository import ImageCache, RepositoryCache
from firkin.request import CacheRef
from firkin.solve.remote_cache import RemoteCache, Source, Target

if TYPE_CHECKING:
    from firkin.solve.bench import Bench


def open_caches(bench: Bench) -> RemoteCache:
    """Return the caches of a build; raises UsageError."""
    sources = []
    for ref in bench.request.cache_from:
        match ref.type:
            case "registry":
                # A repository of entries, and (as for buildx) an image that was made with an inline cache.
                images: tuple[Lookup, ...] = (ImageCache(ref.ref, bench.client),)
                sources.append(Source(ref, (*images, _repository(bench, ref))))
            case "local":
                sources.append(Source(ref, (_directory(bench, ref),)))
            case "inline":
                if ref.ref:
                    sources.append(Source(ref, (ImageCache(ref.ref, bench.client),)))
    targets = []
    for ref in bench.request.cache_to:
        if ref.type == "registry":
            targets.append(Target(ref, _repository(bench, ref)))
        elif ref.type == "local":
            targets.append(Target(ref, _directory(bench, ref)))
    return RemoteCache(
        tuple(sources),
        tuple(targets),
        bench.store,
        bench.layers,
        bench.pools.transfers,
        bench.emit,
        bench.stop,
        bench.clock,
    )


def _repository(bench: Bench, ref: CacheRef) -> RepositoryCache:
    return RepositoryCache(ref.ref, bench.client, bench.host)


def _directory(bench: Bench, ref: CacheRef) -> DirectoryCache:
    path = os.path.normpath(os.path.join(bench.request.cwd, ref.ref))
    place = DirectoryCache(path, bench.host)
    bench.contexts.layouts[path] = place
    return place
