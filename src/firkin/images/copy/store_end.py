"""Images of the store, as source and as target. Does I/O."""

from __future__ import annotations

from types import TracebackType

from firkin.content.fetch import keep_blob
from firkin.content.sizes import keep_layer
from firkin.errors import ContextError, StoreError
from firkin.images.copy.blobs import FileChunks
from firkin.images.copy.ends import Chunks, Document, Outcome, Wanted
from firkin.images.find import Found
from firkin.oci import codec
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Layer
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.reference import Reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel


class StoreSource:
    """An image of the store; not every platform of an index has to be there."""

    reference: Reference | None = None
    whole = False

    def __init__(self, store: Store, found: Found) -> None:
        self._store = store
        self._found = found

    def __enter__(self) -> StoreSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The store belongs to the caller."""

    def root(self) -> Document:
        """Return what was found by its name, id or digest. Raises StoreError when it is damaged."""
        document = self.document(self._found.root)
        if document is None:
            raise StoreError(f"the manifest {self._found.root.digest} is missing from the store", code="blob-missing")
        return document

    def document(self, item: Descriptor) -> Document | None:
        """Return what an index lists, None if it is absent. Raises StoreError when it is damaged."""
        return _document(self._store, item)

    def has(self, blob: Descriptor) -> bool:
        """Say whether the store has a blob."""
        return self._store.blobs.size(blob.digest) == blob.size

    def open(self, blob: Descriptor) -> Chunks:
        """Open a blob. Raises StoreError if it is missing."""
        return FileChunks(self._store.blobs.open(blob.digest), blob, "the store")


def _document(store: Store, item: Descriptor) -> Document | None:
    if store.blobs.size(item.digest) is None:
        return None
    try:
        return parse_manifest(store.blobs.read(item.digest), item.media_type, f"manifest {item.digest}")
    except ValueError as error:
        raise StoreError(str(error), code="blob-damaged") from error


class StoreTarget:
    """A name in the store."""

    parallel = True
    checks_layers = True
    keeps_digest_names = True

    def __init__(self, store: Store, name: Reference, cancel: Cancel) -> None:
        self._store = store
        self._name = name
        self._cancel = cancel
        self._created = ""

    def __enter__(self) -> StoreTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Blobs without a name are the cache's, which frees them."""

    def complete(self, document: Document) -> bool:
        """Blobs are looked for one by one, which costs little here."""
        return False

    def put_blob(self, wanted: Wanted) -> Outcome:
        """Keep a blob. Raises ContextError for a layer that unpacks to something else than its image says."""
        blob, store = wanted.blob, self._store
        if store.keeps(blob):
            outcome: Outcome = "exists"
        else:
            self._keep(wanted)
            outcome = "pushed"
        if wanted.origin is not None:
            store.records.add_place(blob.digest, wanted.origin.registry, wanted.origin.repository)
        return outcome

    def _keep(self, wanted: Wanted) -> None:
        chunks = wanted.open()
        try:
            if wanted.diff_id is None:
                keep_blob(self._store, wanted.blob, chunks, self._cancel, wanted.moved)
            else:
                layer = Layer(wanted.diff_id, wanted.blob)
                keep_layer(self._store, layer, chunks, self._cancel, wanted.moved)
        except ValueError as error:
            raise ContextError(str(error), code="copy-damaged") from error
        finally:
            chunks.close()

    def put_document(self, document: Document) -> None:
        """Keep a manifest."""
        self._store.blobs.put(document.raw)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Keep the root, and let the names mean it."""
        self.put_document(root)
        self._store.images.tag(root.descriptor, (self._name, *tags), self._time_of(root))

    def _time_of(self, root: Document) -> str:
        """Return when the image was made, "" if its configuration does not say."""
        from firkin.oci.config import parse_config

        document: Document | None = root
        while isinstance(document, Index):
            listed = document.manifests[:1]
            document = _document(self._store, listed[0]) if listed else None
        if not isinstance(document, Manifest) or document.config.size > codec.MAX_DOCUMENT_BYTES:
            return ""
        try:
            return parse_config(self._store.blobs.read(document.config.digest)).created
        except (ValueError, StoreError):
            return ""
