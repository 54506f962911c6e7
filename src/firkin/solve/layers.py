"""Layers as trees and as blobs: fetches, unpacks and writes whichever is missing. Does I/O.

A pulled layer starts as a blob in a registry, a built one as a tree; each form is made once, by one
task, and kept in the store. Trees of a base are unpacked side by side; what depends on the layers
below (attributes of directories that a layer's tar only implies) is mended when those are there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from firkin.errors import FirkinError, RegistryError, StoreError
from firkin.events import Emit, Progress
from firkin.layer.change import Change, View
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import write_layer
from firkin.layer.unpack import Unpacked, unpack_blob
from firkin.layer.view import StackView
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, finish, new_hasher
from firkin.oci.image import Layer
from firkin.solve.cancel import Cancel
from firkin.solve.pools import Pools, Task
from firkin.solve.snapshot import LayerRef, Snapshot
from firkin.store.records import LayerBlob
from firkin.store.store import Store


class BlobFetcher(Protocol):
    """Where blobs that are not in the store come from."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes, not yet verified; raises FirkinError."""


class LayerFormat(msgspec.Struct, frozen=True):
    """What the bytes of a layer's blob depend on, besides its tree."""

    compression: media.Compression = "gzip"
    level: int | None = None
    clamp_s: int | None = None  # latest mtime, seconds since the epoch
    force: bool = False  # recompress pulled layers that are compressed otherwise

    @property
    def variant(self) -> str:
        """The name of this form in the store's records."""
        return f"{self.compression}:{'' if self.level is None else self.level}:" + (
            "" if self.clamp_s is None else str(self.clamp_s)
        )


class LayerWork:
    """Makes trees and blobs of layers for one build."""

    def __init__(
        self,
        store: Store,
        pools: Pools,
        fetcher: BlobFetcher,
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        owner_free: bool = False,
    ) -> None:
        self._store = store
        self._pools = pools
        self._fetcher = fetcher
        self._emit = emit
        self._cancel = cancel
        self._clock = clock
        self._owner_free = owner_free
        self._lock = threading.Lock()
        self._unpacking: dict[str, Task[tuple[str, Unpacked]]] = {}
        self._blobs: dict[tuple[str, str], Task[Layer]] = {}
        self._sealing = threading.Lock()

    # Trees

    def available(self, tree_id: str) -> bool:
        """Say whether a built layer is here in any form."""
        if self._store.trees.has(tree_id):
            return True
        blobs = self._store.records.layer_blobs(tree_id)
        return any(self._store.blobs.size(blob.descriptor.digest) is not None for blob in blobs)

    def ensure_trees(self, snapshot: Snapshot, vertex: str) -> tuple[str, ...]:
        """Return the diff directories of a snapshot, bottom first; makes what is missing.

        Downloads and unpacks all missing layers side by side; `vertex` gets the progress.
        """
        tasks: dict[str, Task[tuple[str, Unpacked]]] = {}
        with self._lock:
            for layer in snapshot.layers:
                if self._store.trees.has(layer.tree_id):
                    continue
                task = self._unpacking.get(layer.tree_id)
                if task is None:
                    task = self._pools.transfers.submit(lambda ref=layer: self._unpack(ref, vertex))  # type: ignore[misc]
                    self._unpacking[layer.tree_id] = task
                tasks[layer.tree_id] = task
        self._store.records.touch((), tuple(layer.tree_id for layer in snapshot.layers), ())
        paths: list[str] = []
        for layer in snapshot.layers:
            if layer.tree_id in tasks:
                staged, result = tasks[layer.tree_id].result()
                with self._sealing:
                    if not self._store.trees.has(layer.tree_id):
                        implied = result.implied if result.root is not None else ("", *result.implied)
                        _take_from_below(f"{staged}/fs", implied, StackView(tuple(paths)), self._owner_free)
                        self._store.trees.seal(staged, layer.tree_id)
                        self._store.records.add_tree(layer.tree_id)
            paths.append(self._store.trees.path(layer.tree_id))
        return tuple(paths)

    def _unpack(self, layer: LayerRef, vertex: str) -> tuple[str, Unpacked]:
        self._cancel.check()
        known, origin = self._source_of(layer)
        staged = self._store.trees.stage()
        try:
            result = self._unpack_into(staged, known, origin, vertex)
        except BaseException:
            self._store.trees.drop(staged)
            raise
        return staged, result

    def _unpack_into(self, staged: str, known: Layer, origin: str, vertex: str) -> Unpacked:
        descriptor = known.descriptor
        local = self._store.blobs.size(descriptor.digest) == descriptor.size
        writer = None if local else self._store.blobs.new()
        try:
            result, _ = unpack_blob(
                self._read(descriptor, origin, vertex, local),
                descriptor,
                known.diff_id,
                f"{staged}/fs",
                writer,
                chown=not self._owner_free,
            )
            if writer is not None:
                writer.commit(descriptor.digest)
                self._store.records.add_blob(descriptor.digest, descriptor.size)
        except ValueError as error:
            raise _damaged(descriptor, origin, error) from error
        finally:
            if writer is not None:
                writer.abort()
        return result

    def _source_of(self, layer: LayerRef) -> tuple[Layer, str]:
        if layer.pulled is not None:
            return layer.pulled, layer.origin
        for blob in self._store.records.layer_blobs(layer.tree_id):
            if self._store.blobs.size(blob.descriptor.digest) is not None:
                return Layer(blob.diff_id, blob.descriptor), ""
        raise StoreError(
            f"layer {layer.tree_id} is missing from the store",
            code="layer-missing",
            hints=("build again with `--no-cache`",),
        )

    def _read(self, descriptor: Descriptor, origin: str, vertex: str, local: bool) -> Iterator[bytes]:
        """Yield a blob's bytes from the store or its origin, telling how far it is."""
        if local:
            with self._store.blobs.open(descriptor.digest) as file:
                while chunk := file.read(1 << 20):
                    self._cancel.check()
                    yield chunk
            return
        what = f"sha256:{descriptor.digest.partition(':')[2][:12]}"
        done, told = 0, 0.0
        for chunk in self._fetcher.fetch(origin, descriptor):
            self._cancel.check()
            done += len(chunk)
            now = self._clock()
            if now - told > 0.2 or done == descriptor.size:
                told = now
                self._emit(Progress(now, vertex, what, done, descriptor.size))
            yield chunk

    # Blobs

    def layer_of(self, ref: LayerRef, form: LayerFormat) -> Task[Layer]:
        """Start making the layer's blob in the given form (or find it); the result describes it.

        Pulled layers keep the form they came in, unless `form.force`; they are not fetched for this.
        """
        with self._lock:
            task = self._blobs.get((ref.tree_id, form.variant))
            if task is None:
                task = self._pools.cpu.submit(lambda: self._make_blob(ref, form))
                self._blobs[ref.tree_id, form.variant] = task
            return task

    def _make_blob(self, ref: LayerRef, form: LayerFormat) -> Layer:
        self._cancel.check()
        if ref.pulled is not None:
            same = media.layer_compression(ref.pulled.descriptor.media_type) == form.compression
            if same or not form.force:
                return ref.pulled
        known = self._store.records.layer_blob(ref.tree_id, form.variant)
        if known is not None and self._store.blobs.size(known.descriptor.digest) == known.descriptor.size:
            return Layer(known.diff_id, known.descriptor)
        if not self._store.trees.has(ref.tree_id):
            staged, _ = self._unpack(ref, "")
            self._store.trees.seal(staged, ref.tree_id)
            self._store.records.add_tree(ref.tree_id)
        return self.write_blob(ref.tree_id, iter_upper_changes(self._store.trees.path(ref.tree_id)), form)

    def write_blob(self, tree_id: str, changes: Iterable[Change], form: LayerFormat) -> Layer:
        """Write changes as the layer's blob into the store and record it."""
        writer = self._store.blobs.new()
        try:
            written = write_layer(
                self._checked(changes),
                writer,
                compression=form.compression,
                level=form.level,
                clamp_mtime_s=form.clamp_s,
            )
            writer.commit(written.digest)
        finally:
            writer.abort()
        media_type = media.layer_media_type("oci", form.compression)
        blob = LayerBlob(DiffID(written.diff_id), Descriptor(media_type, written.digest, written.size))
        self._store.records.add_blob(written.digest, written.size)
        self._store.records.add_layer_blob(tree_id, form.variant, blob)
        return Layer(blob.diff_id, blob.descriptor)

    def _checked(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            self._cancel.check()
            yield change

    def ensure_blob(self, layer: Layer, origin: str, vertex: str = "") -> None:
        """Have the bytes of a described layer in the store; fetches them if they are not."""
        descriptor = layer.descriptor
        if self._store.blobs.size(descriptor.digest) == descriptor.size:
            return
        writer = self._store.blobs.new()
        hasher = new_hasher(descriptor.digest.partition(":")[0])
        try:
            for chunk in self._read(descriptor, origin, vertex, False):
                hasher.update(chunk)
                writer.write(chunk)
            if finish(hasher) != descriptor.digest or writer.size != descriptor.size:
                raise _damaged(descriptor, origin, ValueError(f"got {finish(hasher)}, {writer.size} bytes"))
            writer.commit(descriptor.digest)
        finally:
            writer.abort()
        self._store.records.add_blob(descriptor.digest, descriptor.size)


def _damaged(descriptor: Descriptor, origin: str, error: ValueError) -> FirkinError:
    what = f"layer {descriptor.digest} cannot be unpacked: {error}"
    if origin:
        return RegistryError(
            what, code="layer-damaged", hints=(f"it came from {origin.partition('://')[2]}; pull or push it again",)
        )
    return StoreError(what, code="layer-damaged", hints=("build again with `--no-cache`",))


def _take_from_below(root: str, paths: tuple[str, ...], below: View, owner_free: bool) -> None:
    """Give directories that a layer's tar only implies the attributes that they have in the layers below.

    Overlayfs shows those of the topmost layer, so without this a `usr/bin/tool` alone would hide the
    mode and owner of `/usr`.
    """
    for path in sorted(paths, reverse=True):
        entry = below.lstat(path)
        if entry is None or entry.kind != "dir":
            continue
        full = f"{root}/{path}" if path else root
        if not owner_free:
            os.chown(full, entry.uid, entry.gid)
        os.chmod(full, entry.mode)
        for name, value in entry.xattrs:
            os.setxattr(full, name, value)
        os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns))
