"""Where the blobs of base images come from: a registry or an OCI layout on this machine. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from firkin.errors import StoreError
from firkin.oci.descriptor import Descriptor
from firkin.oci.reference import parse_reference

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient


class LayoutReader(Protocol):
    """An OCI layout that can be read; see context/oci_layout.py."""

    def open_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes."""


class OriginFetcher:
    """Reads blobs by the origin that a Pull op states."""

    def __init__(self, client: Callable[[], RegistryClient], layouts: Mapping[str, LayoutReader]) -> None:
        self._client = client
        self._layouts = layouts

    def fetch(self, origin: str, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes; raises RegistryError, ContextError or StoreError."""
        scheme, _, rest = origin.partition("://")
        place, _, _ = rest.rpartition("@")
        if scheme == "docker-image":
            with self._client().open_blob(parse_reference(place), descriptor) as stream:
                yield from stream
            return
        if scheme == "oci-layout" and place in self._layouts:
            yield from self._layouts[place].open_blob(descriptor)
            return
        raise StoreError(
            f"blob {descriptor.digest} is missing from the store, and nothing says where it came from",
            code="blob-missing",
            hints=("build again with `--no-cache`",),
        )
