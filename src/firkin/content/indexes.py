"""Indexes of layers: the metadata of their files, without the contents. Does I/O.

A tree has its index beside it where files cannot have their owners (`of_tree`). A layer that is not unpacked
gets one of its own in the store (`ensure`), made while its blob is read.
"""

from __future__ import annotations

import os

from firkin.content.failures import damaged
from firkin.content.snapshot import LayerRef
from firkin.content.sources import LayerSources
from firkin.layer.index import IndexWriter, LayerIndex, open_index
from firkin.layer.limits import UnpackLimits
from firkin.layer.scan import OwnerOf
from firkin.oci.image import Layer
from firkin.store.store import Store


class LayerIndexes:
    """The indexes of one build's layers. Thread-safe."""

    def __init__(self, store: Store, sources: LayerSources, *, owner_free: bool, limits: UnpackLimits) -> None:
        self._store = store
        self._sources = sources
        self._owner_free = owner_free
        self._limits = limits

    def of_tree(self, tree: str) -> LayerIndex | None:
        """Open the index beside a tree, which has the owners that files cannot have; None where it is not needed."""
        path = self._store.trees.index_beside(tree) if self._owner_free else None
        return None if path is None else open_index(path)

    def ensure(self, ref: LayerRef, vertex: str, *, keep_blob: bool) -> LayerIndex:
        """Open the index of a layer that is not unpacked; makes it if missing.

        `keep_blob`: the blob will be needed as well, so it is kept when it is read for the index. Raises StepFailed,
        RegistryError or StoreError for a blob that cannot be read.
        """
        path = self._path(ref.tree_id)
        try:
            os.utime(path)  # `prune` reads this time
            return open_index(path)
        except (FileNotFoundError, ValueError):
            pass  # it is missing, or of another version, or cut short by a power failure
        known, origin = self._sources.find(ref)
        if keep_blob and ref.pulled is None:
            self._sources.ensure_blob(known, origin, vertex)
        index = IndexWriter()
        self._read(known, origin, vertex, index, keep_blob=keep_blob)
        self.keep(ref.tree_id, index)
        return open_index(path)

    def _read(self, layer: Layer, origin: str, vertex: str, index: IndexWriter, *, keep_blob: bool) -> None:
        """Read a layer's blob once, for its index and, with `keep_blob`, for the store if it is not there."""
        from firkin.layer.blob import index_blob  # a cached build reads no layer

        descriptor = layer.descriptor
        local = self._store.keeps(descriptor)
        writer = self._store.blobs.new() if keep_blob and not local else None
        try:
            chunks = self._sources.read(descriptor, origin, vertex, local=local)
            index_blob(chunks, descriptor, layer.diff_id, index, self._limits, writer)
            if writer is not None:
                writer.commit(descriptor.digest)
                self._store.records.add_blob(descriptor.digest, descriptor.size)
        except ValueError as error:
            raise damaged(descriptor, origin, error) from error
        finally:
            if writer is not None:
                writer.abort()

    def keep(self, tree_id: str, index: IndexWriter) -> None:
        """Keep the index of a layer that is not unpacked."""
        staged = self._store.layout.scratch_path("index")
        with open(staged, "wb") as file:
            index.write(file)
        os.rename(staged, self._path(tree_id))

    def _path(self, tree_id: str) -> str:
        return f"{self._store.layout.indexes}/{tree_id}"


def owners_of(index: LayerIndex) -> OwnerOf:
    """Return a function that gives the files of a tree the owners that its index has."""

    def owner_of(path: str, uid: int, gid: int) -> tuple[int, int]:
        record = index.lookup(path)
        if record is None or record.entry is None:
            return uid, gid
        return record.entry.uid, record.entry.gid

    return owner_of
