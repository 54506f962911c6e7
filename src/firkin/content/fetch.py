"""Fetches the blobs of base images (from a registry, or a layout on this machine) and keeps them. Does I/O.

    chunks = fetcher.fetch(origin, descriptor)         or: with client.open_blob(name, descriptor) as chunks
    keep_blob(store, descriptor, verified(chunks, descriptor), cancel)

`copy_chunks` is the one loop that moves a blob from its source to its target.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, Protocol

from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.linux.files import open_named
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import finish, new_hasher
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

_CHUNK = 1 << 20


class Target(Protocol):
    """A place to write a blob to: a writer of the store, a file."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


def copy_chunks(
    chunks: Iterable[bytes], target: Target, cancel: Cancel, moved: Callable[[int], None] | None = None
) -> None:
    """Write a blob's bytes to a target; `moved` is called with their number so far.

    `chunks` verify themselves in the end, as those of `RegistryClient.open_blob` and of `verified` do. Raises
    Cancelled when `cancel` is set.
    """
    done = 0
    for chunk in chunks:
        cancel.check()
        target.write(chunk)
        if moved is not None:
            done += len(chunk)
            moved(done)


def keep_blob(
    store: Store,
    descriptor: Descriptor,
    chunks: Iterable[bytes],
    cancel: Cancel,
    moved: Callable[[int], None] | None = None,
) -> None:
    """Put a blob into the store under its digest, or nothing; see `copy_chunks`."""
    writer = store.blobs.new()
    try:
        copy_chunks(chunks, writer, cancel, moved)
        writer.commit(descriptor.digest)
    finally:
        writer.abort()
    store.records.add_blob(descriptor.digest, descriptor.size)


def verified(chunks: Iterable[bytes], descriptor: Descriptor) -> Iterator[bytes]:
    """Pass a blob's bytes on; raises ValueError in the end if they do not match the descriptor."""
    hasher = new_hasher(descriptor.digest.partition(":")[0])
    size = 0
    for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
        yield chunk
    if finish(hasher) != descriptor.digest or size != descriptor.size:
        raise ValueError(f"got {finish(hasher)}, {size} bytes")


class BlobFetcher(Protocol):
    """Fetches blobs that are not in the store."""

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes, not yet verified; raises FirkinError."""


class LayoutReader(Protocol):
    """An OCI layout that can be read; see builder/context/oci_layout.py."""

    def open_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes."""


class OriginFetcher:
    """Reads blobs by the origin in a Pull op."""

    def __init__(
        self, client: Callable[[], RegistryClient], layouts: Mapping[str, LayoutReader], image_dir: str = ""
    ) -> None:
        self._client = client
        self._layouts = layouts
        self._image_dir = image_dir

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes; raises RegistryError, ContextError or StoreError."""
        scheme, _, rest = origin.partition("://")
        place, _, _ = rest.rpartition("@")
        if scheme == "docker-image":
            near = self._near(descriptor)
            if near is not None:
                with near:
                    while chunk := near.read(_CHUNK):
                        yield chunk
                return
            with self._client().open_blob(parse_reference(place), descriptor) as stream:
                yield from stream
            return
        if scheme == "oci-layout" and place in self._layouts:
            yield from self._layouts[place].open_blob(descriptor)
            return
        raise StoreError(
            f"blob {descriptor.digest} is missing from the store, and nothing says where it came from",
            code="blob-missing",
            hints=(Hint.of("no-cache"),),
        )

    def _near(self, descriptor: Descriptor) -> BinaryIO | None:
        """Open a blob in the directory of images that a warmer filled; the reader verifies it."""
        if not self._image_dir:
            return None
        try:
            file = open(open_named(f"{self._image_dir}/blobs/{descriptor.digest.replace(':', '/')}"), "rb")
        except OSError:
            return None
        if os.fstat(file.fileno()).st_size == descriptor.size:
            return file
        file.close()
        return None
