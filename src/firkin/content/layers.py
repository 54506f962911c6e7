"""The layers of one build in all their forms, over one store. Does I/O.

A pulled layer starts as a blob in a registry, a built one as a tree; each form is made when it is needed, once, by
one task, and kept in the store.

    trees     diff directories: `ensure`, `view`, `names_view`, `stack`, `has_base`, `write`
    blobs     what is shipped: `start`, `write`, `listen`
    indexes   names without files: `keep`
    sources   bytes from wherever they are: `available`, `ensure_blob`
    cached    what caches elsewhere offer: `offer`, `origin`, `add_origin`
    progress  the lines of base images that are being fetched: `belongs`

Builds use no other methods. The parts use each other only as the arguments in `open_layers` show.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firkin.content.blobs import LayerBlobs
from firkin.content.cached import CachedLayers
from firkin.content.fetch import BlobFetcher
from firkin.content.indexes import LayerIndexes
from firkin.content.progress import FetchProgress
from firkin.content.sources import LayerSources
from firkin.content.trees import LayerTrees
from firkin.events import Emit
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools


class Layers(msgspec.Struct, frozen=True):
    """The layers of one build, by form.

    `owner_free`: files cannot get owners here, so indexes hold these. `limits` are those of unpacking.
    """

    trees: LayerTrees
    blobs: LayerBlobs
    indexes: LayerIndexes
    sources: LayerSources
    cached: CachedLayers
    progress: FetchProgress
    owner_free: bool
    limits: UnpackLimits


def open_layers(
    store: Store,
    pools: Pools,
    fetcher: BlobFetcher,
    emit: Emit,
    cancel: Cancel,
    clock: Callable[[], float],
    *,
    owner_free: bool = False,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> Layers:
    """Begin to work on the layers of one build."""
    progress = FetchProgress(emit, clock)
    cached = CachedLayers(emit, cancel, clock)
    sources = LayerSources(store, fetcher, cached, progress, emit, cancel, clock)
    indexes = LayerIndexes(store, sources, owner_free=owner_free, limits=limits)
    trees = LayerTrees(
        store, sources, cached, indexes, progress, pools.transfers, cancel, owner_free=owner_free, limits=limits
    )
    blobs = LayerBlobs(store, sources, cached, indexes, trees, pools.cpu, cancel)
    return Layers(trees, blobs, indexes, sources, cached, progress, owner_free, limits)
