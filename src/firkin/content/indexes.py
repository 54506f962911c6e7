"""Indexes of layers: the metadata of their files, without the contents. Does I/O.

A tree has its index beside it where files cannot have their owners (`of_tree`). A layer that is not unpacked
gets one of its own in the store (`ensure`), made while its blob is read.
"""

from __future__ import annotations

import os

from firkin.content.failures import damaged
from firkin.content.snapshot import LayerRef
from firkin.content.sources import LayerSources
from firkin.layer.blob import index_blob
from firkin.layer.index import IndexWriter, LayerIndex, open_index
from firkin.layer.limits import UnpackLimits
from firkin.layer.scan import OwnerOf
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
        descriptor = known.descriptor
        if keep_blob:
            self._sources.ensure_blob(known, origin, vertex)
        index = IndexWriter()
        try:
            chunks = self._sources.read(descriptor, origin, vertex, local=self._store.keeps(descriptor))
            index_blob(chunks, descriptor, known.diff_id, index, self._limits)
        except ValueError as error:
            raise damaged(descriptor, origin, error) from error
        self.keep(ref.tree_id, index)
        return open_index(path)

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
