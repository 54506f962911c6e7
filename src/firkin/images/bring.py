"""Brings blobs to a repository from another one, or from the store: mounted where that works. Does I/O."""

from __future__ import annotations

from collections.abc import Iterable

from firkin.images.copy.blobs import BlobReader
from firkin.images.progress import Transfer
from firkin.oci.descriptor import Descriptor
from firkin.oci.reference import Reference
from firkin.registry.transport import Reader


def bring_blobs(
    transfer: Transfer, blobs: Iterable[Descriptor], source: Reference | None, target: Reference
) -> None:
    """Bring blobs from the repository of `source` (None: the store) to that of `target`, several at a time.

    Nothing moves within a repository. Between repositories of a registry they are mounted, and sent when the registry
    refuses that; between registries their bytes pass through, verified. Raises RegistryError, StoreError.
    """
    if source is not None and source.name == target.name:
        return
    client, store = transfer.client, transfer.store
    near = client.mount_source(target, source) if source is not None else ""

    def open_blob(blob: Descriptor) -> Reader:
        if source is None:
            return store.blobs.open(blob.digest)
        return BlobReader(lambda: client.open_blob(source, blob), blob.size, transfer.cancel)

    def one(blob: Descriptor) -> None:
        if blob.urls and source is not None and not client.has_blob(source, blob.digest):
            return  # a layer that registries need not have
        client.push_blob(target, blob, lambda: open_blob(blob), mount_from=near)

    unique = {blob.digest: blob for blob in blobs}
    transfer.side_by_side(one, unique.values())
