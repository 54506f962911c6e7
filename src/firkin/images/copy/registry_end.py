"""Images in registries, as source and as target. Does I/O."""

from __future__ import annotations

from types import TracebackType

import msgspec

from firkin.images.copy.blobs import BlobReader
from firkin.images.copy.ends import Chunks, Document, Outcome, Wanted
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Manifest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.cancel import Cancel


class RegistrySource:
    """An image of a registry; mirrors are asked first, as in a pull."""

    whole = True

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self._client = client
        self.reference: Reference | None = reference
        self._name = reference

    def __enter__(self) -> RegistrySource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to release: the client belongs to the caller."""

    def root(self) -> Document:
        """Return what the name means now."""
        return self._client.get_manifest(self._name)

    def document(self, item: Descriptor) -> Document | None:
        """Return what an index lists; a registry that lacks it is an error."""
        return self._client.get_manifest(exact(self._name, item))

    def has(self, blob: Descriptor) -> bool:
        """Say whether the registry, or a mirror, has a blob: one HEAD for each."""
        return self._client.may_be_pulled(self._name, blob.digest)

    def open(self, blob: Descriptor) -> Chunks:
        """Open a blob; a broken connection is resumed."""
        return self._client.open_blob(self._name, blob)


class RegistryTarget:
    """A name in a registry. What its repository has is not sent again."""

    parallel = True
    checks_layers = False
    keeps_digest_names = False

    def __init__(self, client: RegistryClient, reference: Reference, cancel: Cancel) -> None:
        self._client = client
        self._name = reference
        self._cancel = cancel

    def __enter__(self) -> RegistryTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Blobs that arrived stay, and are found when the copy is tried again."""

    def complete(self, document: Document) -> bool:
        """Say whether the repository has a manifest: one HEAD. Registries take none without its blobs."""
        return isinstance(document, Manifest) and self._has(exact(self._name, document.descriptor), document)

    def put_blob(self, wanted: Wanted) -> Outcome:
        """Mount a blob, find it there, or stream it."""
        source = self._client.mount_source(self._name, wanted.origin) if wanted.origin is not None else ""
        return self._client.push_blob(
            self._name, wanted.blob, lambda: BlobReader(wanted.open, wanted.blob.size, self._cancel),
            mount_from=source, progress=wanted.moved,
        )  # fmt: skip

    def put_document(self, document: Document) -> None:
        """Put a manifest under its digest."""
        self._client.push_manifest(exact(self._name, document.descriptor), document.raw, document.media_type)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Put the root under each name that does not mean it yet."""
        for name in (self._name, *tags):
            if not self._has(name, root):
                self._client.push_manifest(name, root.raw, root.media_type)

    def _has(self, name: Reference, document: Document) -> bool:
        return self._client.manifest_digest(name) == document.digest


def exact(name: Reference, item: Descriptor) -> Reference:
    """Return the name of a manifest by its digest, in the repository of `name`."""
    return msgspec.structs.replace(name, tag="", digest=item.digest)
