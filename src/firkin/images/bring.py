"""Brings blobs to a repository from another one, or from the store: mounted where that works. Does I/O."""

from __future__ import annotations

from collections.abc import Iterable

from firkin.images.progress import Transfer
from firkin.oci.descriptor import Descriptor
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.registry.download import BlobStream
from firkin.registry.transport import Reader

_CHUNK = 1 << 20


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
        return store.blobs.open(blob.digest) if source is None else _Passing(client, source, blob)

    def one(blob: Descriptor) -> None:
        if blob.urls and source is not None and not client.has_blob(source, blob.digest):
            return  # a layer that registries need not have
        client.push_blob(target, blob, lambda: open_blob(blob), mount_from=near)

    unique = {blob.digest: blob for blob in blobs}
    transfer.side_by_side(one, unique.values())


class _Passing:
    """A blob of one registry, read while it is sent to another; going back opens it again."""

    def __init__(self, client: RegistryClient, source: Reference, blob: Descriptor) -> None:
        self._client = client
        self._source = source
        self._blob = blob
        self._at = 0
        self._stream: BlobStream = client.open_blob(source, blob)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end; raises RegistryError for wrong ones."""
        data = self._stream.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start; what is before it is read again."""
        if offset < self._at:
            self._stream.close()
            self._stream = self._client.open_blob(self._source, self._blob)
            self._at = 0
        while self._at < offset and self.read(min(_CHUNK, offset - self._at)):
            pass
        return self._at

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()
