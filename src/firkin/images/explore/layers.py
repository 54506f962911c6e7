"""One layer of an image: its index and its tar, each fetched on first use. Does I/O. Only `images` may import it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec

from firkin.content import failures
from firkin.content.indexes import LayerIndexes
from firkin.content.snapshot import LayerRef
from firkin.content.sources import LayerSources
from firkin.errors import FirkinError
from firkin.layer.compress import iter_decompressed
from firkin.layer.index import IndexRecord, LayerIndex
from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import TarReader
from firkin.oci.digest import framed_hash
from firkin.oci.image import Layer
from firkin.store.store import Store

_MAX_LINKS = 40


class ImageLayer:
    """One layer, as MergedView wants it. Thread-safe.

    The index is kept under a name made of `diff_id` and blob digest, so it also is the proof that the one is in the
    other: a blob of that digest need not be read to its end again. Every method raises RegistryError or StoreError
    for a blob that cannot be read, or is not what the image says.
    """

    def __init__(
        self, store: Store, indexes: LayerIndexes, sources: LayerSources, layer: Layer, origin: str, vertex: str,
        limits: UnpackLimits,
    ) -> None:  # fmt: skip
        self.layer = layer
        self._store = store
        self._indexes = indexes
        self._sources = sources
        self._ref = LayerRef(index_name(layer), layer, origin)
        self._vertex = vertex
        self._limits = limits
        self._lock = threading.Lock()
        self._index: LayerIndex | None = None

    @property
    def origin(self) -> str:
        """Where the blob comes from when the store does not have it."""
        return self._ref.origin

    def index(self) -> LayerIndex:
        """Return the names and attributes of the layer; reads the blob (and keeps it) if nobody has done so."""
        known = self._index
        if known is not None:
            return known
        with self._lock:
            if self._index is None:
                self._index = self._indexes.ensure(self._ref, self._vertex, keep_blob=True)
            return self._index

    def ensure_blob(self) -> None:
        """See to it that the store has the blob, and that it holds the layer."""
        self.index()
        self._sources.ensure_blob(self.layer, self._ref.origin, self._vertex)

    def open_tar(self) -> TarReader:
        """Return the members of the layer, from the start. Their reader raises ValueError."""
        self.ensure_blob()
        chunks = self._sources.read(self.layer.descriptor, self._ref.origin, self._vertex, local=True)
        return TarReader(iter_decompressed(chunks), self._limits)

    def damaged(self, error: ValueError) -> FirkinError:
        """Return the error for a layer that cannot be read."""
        return failures.damaged(self.layer.descriptor, self._ref.origin, error)

    def lookup(self, path: str) -> IndexRecord | None:
        """Return the layer's own record of a path. A hard link has the attributes of the file that it links to."""
        record = self.index().lookup(path)
        if record is None or not record.link or record.entry is None:
            return record
        file = self.index().lookup(self.link_target(path))
        if file is None or file.entry is None or file.entry.kind == "dir":
            return record
        return record._replace(entry=msgspec.structs.replace(file.entry, inode=record.entry.inode))

    def link_target(self, path: str) -> str:
        """Return the path of the file that a path of this layer is a hard link to, or itself."""
        return self.link_chain(path)[-1]

    def link_chain(self, path: str) -> list[str]:
        """Return a path of this layer, and those that it is a hard link to by way of others; the file's own is last."""
        chain = [path]
        while len(chain) < _MAX_LINKS:
            record = self.index().lookup(chain[-1])
            if record is None or not record.link:
                break
            chain.append(record.link)
        return chain

    def is_plain(self, path: str) -> bool:
        """Say whether the content of a path is that of the only member that its file has."""
        index = self.index()
        return all(map(index.is_once, self.link_chain(path)))

    def children(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the names that it has or removes in a directory; True: removed."""
        return self.index().children(path)

    def close(self) -> None:
        """Unmap the index."""
        with self._lock:
            if self._index is not None:
                self._index.close()
                self._index = None


def index_name(layer: Layer) -> str:
    """Return the name of the index of a blob that was found to hold a layer (64 hex digits)."""
    return framed_hash((b"explored layer", layer.diff_id.encode(), layer.descriptor.digest.encode()))
