"""Finds the bytes of layers: in the store, a base image's registry or layout, a cache. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from firkin.content.cached import CachedLayers, LostLayer
from firkin.content.failures import damaged
from firkin.content.fetch import BlobFetcher, keep_blob, verified
from firkin.content.progress import FetchProgress
from firkin.content.snapshot import LayerRef
from firkin.errors import Cancelled, FirkinError, RegistryError, StoreError
from firkin.events import Emit, Finished, Planned, Progress, Started, Vertex
from firkin.hints import Hint
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Layer
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

_CHUNK = 1 << 20
_PROGRESS_S = 0.2


class LayerSources:
    """The bytes of layers of one build, wherever they are. Thread-safe."""

    def __init__(
        self,
        store: Store,
        fetcher: BlobFetcher,
        cached: CachedLayers,
        progress: FetchProgress,
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._cached = cached
        self._progress = progress
        self._emit = emit
        self._cancel = cancel
        self._clock = clock

    def available(self, tree_id: str) -> bool:
        """Say whether a built layer is in the store in any form, or offered by a cache."""
        if self._cached.get(tree_id) is not None or self._store.trees.has(tree_id):
            return True
        blobs = self._store.records.layer_blobs(tree_id)
        return any(self._store.blobs.size(blob.descriptor.digest) is not None for blob in blobs)

    def find(self, ref: LayerRef) -> tuple[Layer, str]:
        """Return a blob that a layer can be unpacked from, and its origin; raises StoreError where there is none."""
        if ref.pulled is not None:
            return ref.pulled, ref.origin
        for blob in self._store.records.layer_blobs(ref.tree_id):
            if self._store.blobs.size(blob.descriptor.digest) is not None:
                return Layer(blob.diff_id, blob.descriptor), ""
        cached = self._cached.get(ref.tree_id)
        if cached is not None:
            return cached.layer, cached.origin
        raise StoreError(
            f"layer {ref.tree_id} is missing from the store",
            code="layer-missing",
            hints=(Hint.of("no-cache"),),
        )

    def read(self, descriptor: Descriptor, origin: str, vertex: str, *, local: bool) -> Iterator[bytes]:
        """Yield a blob's bytes, not yet verified, from the store (`local`) or from its origin.

        The progress of a download is that of its base image, else of `vertex`, the step that waits for it.
        """
        return self._stored(descriptor) if local else self._fetched(descriptor, origin, vertex)

    def _stored(self, descriptor: Descriptor) -> Iterator[bytes]:
        with self._store.blobs.open(descriptor.digest) as file:
            while chunk := file.read(_CHUNK):
                self._cancel.check()
                yield chunk

    def _fetched(self, descriptor: Descriptor, origin: str, vertex: str) -> Iterator[bytes]:
        what = f"sha256:{descriptor.digest.partition(':')[2][:12]}"
        vertex = self._progress.vertex(descriptor.digest, vertex)
        done, told = 0, 0.0
        with self._progress.shown((descriptor.digest,)):
            for chunk in self._fetcher.fetch(origin, descriptor):
                self._cancel.check()
                done += len(chunk)
                now = self._clock()
                if now - told > _PROGRESS_S or done == descriptor.size:
                    told = now
                    self._emit(Progress(now, vertex, what, done, descriptor.size))
                yield chunk

    def ensure_blob(self, layer: Layer, origin: str, vertex: str = "") -> None:
        """Ensure that the store has the bytes of a described layer; fetches them if missing.

        `vertex` is the step that waits for them; without one the download gets a line of its own. Raises LostLayer
        for a layer that only a cache had.
        """
        descriptor = layer.descriptor
        if self._store.keeps(descriptor):
            return
        origin = origin or self._cached.origin(descriptor.digest)
        vertex = self._progress.vertex(descriptor.digest, vertex)
        if vertex:
            self._fetch(descriptor, origin, vertex)
            return
        own = f"fetch {descriptor.digest}"
        title = f"fetching {descriptor.digest[:19]}" + f" from {origin.partition('://')[2]}" * bool(origin)
        self._emit(Planned(self._clock(), (Vertex(own, title),)))
        self._emit(Started(self._clock(), own))
        try:
            self._fetch(descriptor, origin, own)
        except BaseException as error:
            stopped = isinstance(error, Cancelled)
            self._emit(Finished(self._clock(), own, "cancelled" if stopped else "failed", str(error)))
            raise
        self._emit(Finished(self._clock(), own, "done"))

    def _fetch(self, descriptor: Descriptor, origin: str, vertex: str) -> None:
        try:
            try:
                chunks = verified(self._fetched(descriptor, origin, vertex), descriptor)
                keep_blob(self._store, descriptor, chunks, self._cancel)
            except ValueError as error:
                raise damaged(descriptor, origin, error) from error
        except RegistryError as error:
            self._tell_lost(descriptor.digest, error)
            raise

    def _tell_lost(self, digest: Digest, error: FirkinError) -> None:
        """Raise LostLayer if only a cache has the blob, and forget what the cache said of the layer."""
        tree_id = self._cached.promised(digest)
        if tree_id is not None:
            self._store.records.forget_layer(tree_id)
            raise LostLayer(tree_id, error) from error
