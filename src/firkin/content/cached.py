"""Layers that caches elsewhere offer for steps of this build, and their replacement if not delivered. Does I/O.

The build relies on a cache's entry before it fetches the blob, which may be much later or never. If the blob cannot
be fetched then, there are two ways out. While steps still run, the step of the layer is executed after all
(`replace`). Once only the bytes themselves are needed, e.g. to be shipped, LostLayer asks for a new build without
that layer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from firkin.errors import FirkinError
from firkin.events import Emit, Warned
from firkin.oci.digest import Digest
from firkin.oci.image import Layer
from firkin.tasks.cancel import Cancel


class CachedLayer(msgspec.Struct, frozen=True):
    """A built layer's blob in a cache elsewhere: `variant` is its form, `origin` its place."""

    layer: Layer
    variant: str
    origin: str


class LostLayer(FirkinError):
    """A layer that a cache promised cannot be fetched to be shipped; a build without that cached layer is possible."""

    def __init__(self, layer: str, error: FirkinError) -> None:
        super().__init__(error.message, code=error.code, exit_code=error.exit_code, hints=error.hints)
        self.layer = layer


class _Offer(NamedTuple):
    cached: CachedLayer
    make: Callable[[], None]


class CachedLayers:
    """The layers that caches offer to one build. Thread-safe."""

    def __init__(self, emit: Emit, cancel: Cancel, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._cancel = cancel
        self._clock = clock
        self._lock = threading.Lock()
        self._offers: dict[str, _Offer] = {}
        self._promised: dict[Digest, str] = {}  # layers by blob, including offers that were withdrawn
        self._origins: dict[Digest, str] = {}
        self._replacing = threading.RLock()
        self._replaced: set[str] = set()

    def offer(self, tree_id: str, cached: CachedLayer, make: Callable[[], None]) -> None:
        """Note that a cache has a layer's blob; `make` executes the layer's step if the cache does not deliver it."""
        with self._lock:
            self._offers[tree_id] = _Offer(cached, make)
            self._promised[cached.layer.descriptor.digest] = tree_id
            self._origins[cached.layer.descriptor.digest] = cached.origin

    def get(self, tree_id: str) -> CachedLayer | None:
        """Return the blob that a cache offers for a layer."""
        offer = self._offers.get(tree_id)
        return None if offer is None else offer.cached

    def promised(self, digest: Digest) -> str | None:
        """Return the layer that a cache offered as this blob."""
        return self._promised.get(digest)

    def origin(self, digest: Digest) -> str:
        """Return a place besides the store that has the blob of a built layer, "" if there is none."""
        return self._origins.get(digest, "")

    def add_origin(self, digest: Digest, origin: str) -> None:
        """Note a place of a built layer's blob, unless one is known."""
        with self._lock:
            self._origins.setdefault(digest, origin)

    def replaced(self, tree_id: str) -> bool:
        """Tell whether the layer was made after all: then facts about the cache's blob no longer apply."""
        return tree_id in self._replaced

    def replace(self, tree_id: str, error: FirkinError) -> bool:
        """Make a layer that its cache does not deliver, for the reason `error`; say whether that was possible."""
        with self._replacing:
            if tree_id in self._replaced:
                return True  # another step was here first
            with self._lock:
                offer = self._offers.pop(tree_id, None)
                if offer is None or self._cancel():
                    return False
                self._replaced.add(tree_id)
                self._origins.pop(offer.cached.layer.descriptor.digest, None)
            self._emit(
                Warned(self._clock(), "cache-refused", f"a cached layer is of no use and is made anew: {error.message}")
            )
            offer.make()
            return True
