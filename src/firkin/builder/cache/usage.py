"""What the build cache in the store consists of: layers of steps and bases, cache mounts, downloads. Does I/O.

Mirrors: BuildKit's client.UsageInfo, as far as there is something like it. Blobs of images that have an entry in the
store are the images', not the cache's; a layer that both have is *shared*.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import inf

import msgspec

from firkin.store.gc import candidates
from firkin.store.leftovers import remove_downloads, remove_mounts
from firkin.store.pruned import Tally
from firkin.store.references import IMAGE, Held, held, held_since
from firkin.store.store import Store
from firkin.store.usage import measure_trees

LAYER, MOUNT, DOWNLOAD = "regular", "exec.cachemount", "source.http"
"""Types of items, in BuildKit's words."""


class CacheItem(msgspec.Struct, frozen=True):
    """An item of the cache. Times are Unix seconds, 0 for unknown; `in_use`: a build or a container needs it."""

    id: str
    type: str
    size_bytes: int
    used_s: float
    created_s: float = 0.0
    in_use: bool = False
    shared: bool = False
    description: str = ""

    @property
    def mutable(self) -> bool:
        """Whether steps change it."""
        return self.type == MOUNT


def cache_items(store: Store) -> tuple[CacheItem, ...]:
    """Return what is in the cache, last used first. Measures trees, so call it where they can be read."""
    store.layout.ensure_directories()
    measure_trees(store)
    kept = held(store)
    since = held_since(store, inf)
    items = (*_layers(store, kept, since), *_others(store))
    return tuple(sorted(items, key=lambda item: (-item.used_s, item.id)))


def _layers(store: Store, kept: Held, since: float) -> Iterator[CacheItem]:
    recorded = store.records.query("SELECT layer, title, max(created) FROM records GROUP BY layer")
    titles = {str(layer): (str(title), float(str(created))) for layer, title, created in recorded}
    of_images = {blob for blob, kind in kept.blobs.items() if kind == IMAGE}
    shared = {
        str(layer)
        for layer, digest in store.records.query("SELECT layer, digest FROM layer_blobs")
        if str(digest) in of_images
    }
    for item in candidates(store, Held({}, kept.blobs)):
        title, created = titles.get(item.name, ("", 0.0))
        yield CacheItem(
            item.name.removeprefix("sha256:"), LAYER, item.with_bytes, item.last_used, created,
            item.name in kept.trees or item.last_used >= since, item.name in shared, title,
        )  # fmt: skip


def _others(store: Store) -> Iterator[CacheItem]:
    layout, tally = store.layout, Tally()
    for mount in remove_mounts(store, inf, True, tally):
        used = _time(f"{layout.mounts}/{mount.name}.lock")
        yield CacheItem(mount.name, MOUNT, mount.size_bytes, used, description="cache mount")
    for download in remove_downloads(store, inf, True):
        used = max(map(_time, (f"{layout.downloads}/{download.name}.json", f"{layout.downloads}/{download.name}.part")))
        yield CacheItem(download.name, DOWNLOAD, download.size_bytes, used, description="download")


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0
