"""Layers as blobs: chooses the blob that a layer is shipped as, and writes or recompresses it. Does I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from firkin.content.cached import CachedLayers
from firkin.content.failures import damaged, unfit
from firkin.content.format import LayerFormat
from firkin.content.indexes import LayerIndexes, owners_of
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.content.sources import LayerSources
from firkin.content.trees import LayerTrees
from firkin.layer.change import Change
from firkin.layer.index import IndexWriter
from firkin.layer.scan import iter_upper_changes
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.image import Layer
from firkin.store.records import LayerBlob
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pool, Task, finished

if TYPE_CHECKING:
    from firkin.layer.stream import LayerDigests

Listener = Callable[[LayerFormat, Layer], None]


class LayerBlobs:
    """The blobs of one build's layers. Thread-safe."""

    def __init__(
        self,
        store: Store,
        sources: LayerSources,
        cached: CachedLayers,
        indexes: LayerIndexes,
        trees: LayerTrees,
        cpu: Pool,
        cancel: Cancel,
    ) -> None:
        self._store = store
        self._sources = sources
        self._cached = cached
        self._indexes = indexes
        self._trees = trees
        self._cpu = cpu
        self._cancel = cancel
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str, bool], Task[Layer]] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call the listener for each new blob in the store, in the thread that wrote it."""
        self._listeners.append(listener)

    def start(self, ref: LayerRef, form: LayerFormat) -> Task[Layer]:
        """Start making the layer's blob in the given form (or find it); the result describes it.

        Pulled layers keep the form they came in, unless `form.force`; they are not fetched for this.
        """
        form = form.of(ref)
        with self._lock:
            key = (ref.tree_id, form.variant, self._cached.replaced(ref.tree_id))
            task = self._tasks.get(key)
            if task is None:
                found = self._known(ref, form)
                task = finished(found) if found else self._cpu.submit(lambda: self._make(ref, form))
                self._tasks[key] = task
            return task

    def _known(self, ref: LayerRef, form: LayerFormat) -> Layer | None:
        if ref.pulled is not None:
            same = media.layer_compression(ref.pulled.descriptor.media_type) == form.compression
            if same or not form.force:
                return ref.pulled
        known = self._store.records.layer_blob(ref.tree_id, form.variant)
        if known is not None and self._store.blobs.size(known.descriptor.digest) == known.descriptor.size:
            return Layer(known.diff_id, known.descriptor)
        cached = self._cached.get(ref.tree_id)
        return cached.layer if cached is not None and form.accepts(cached.variant) else None

    def _make(self, ref: LayerRef, form: LayerFormat) -> Layer:
        self._cancel.check()
        if ref.pulled is not None:
            return self._recompress(ref, form)
        (tree,) = self._trees.ensure(Snapshot((ref,), ""), "")
        index = self._indexes.of_tree(tree)
        changes = iter_upper_changes(
            tree,
            include_root=self._store.trees.root_changed(tree),
            owner_of=None if index is None else owners_of(index),
        )
        return self.write(ref.tree_id, changes, form)

    def _recompress(self, ref: LayerRef, form: LayerFormat) -> Layer:
        """Give a layer of a base another compression; its tar stays the same."""
        from firkin.layer.blob import recompress_blob

        known, origin = self._sources.find(ref)
        descriptor = known.descriptor
        writer = self._store.blobs.new()
        try:
            chunks = self._sources.read(descriptor, origin, "", local=self._store.keeps(descriptor))
            written = recompress_blob(
                chunks, descriptor, known.diff_id, writer, compression=form.compression, level=form.level
            )
            writer.commit(written.digest)
        except ValueError as error:
            raise damaged(descriptor, origin, error) from error
        finally:
            writer.abort()
        return self._record(ref.tree_id, form, written)

    def write(
        self, tree_id: str, changes: Iterable[Change], form: LayerFormat, index: IndexWriter | None = None
    ) -> Layer:
        """Write changes as the layer's blob into the store and record it; `index` gets every change.

        Raises StepFailed for a file that no layer can hold.
        """
        from firkin.layer.stream import write_layer  # a cached build writes no layer

        writer = self._store.blobs.new()
        try:
            written = write_layer(
                self._checked(changes, form.ignore),
                writer,
                compression=form.compression,
                level=form.level,
                clamp_mtime_s=form.clamp_s,
                observe=None if index is None else index.add,
            )
            writer.commit(written.digest)
        except ValueError as error:
            raise unfit(error) from error
        finally:
            writer.abort()
        return self._record(tree_id, form, written, written.unpacked_bytes)

    def _checked(self, changes: Iterable[Change], ignore: tuple[str, ...]) -> Iterator[Change]:
        for change in changes:
            self._cancel.check()
            if not ignore or not any(change.path == path or change.path.startswith(path + "/") for path in ignore):
                yield change

    def _record(
        self, tree_id: str, form: LayerFormat, written: LayerDigests, unpacked_bytes: int | None = None
    ) -> Layer:
        media_type = media.layer_media_type("oci", form.compression)
        layer = Layer(DiffID(written.diff_id), Descriptor(media_type, written.digest, written.size))
        self._store.records.add_blob(written.digest, written.size)
        self._store.records.add_layer_blob(tree_id, form.variant, LayerBlob(layer.diff_id, layer.descriptor))
        if unpacked_bytes is not None:
            self._store.records.add_layer_sizes({layer.diff_id: unpacked_bytes})
        for listener in self._listeners:
            listener(form, layer)
        return layer
