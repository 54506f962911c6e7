"""Where the blobs of base images come from: a registry or an OCI layout on this machine. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, Protocol

from firkin.errors import StoreError
from firkin.linux.files import open_named
from firkin.oci.descriptor import Descriptor
from firkin.oci.reference import parse_reference

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

_CHUNK = 1 << 20


class LayoutReader(Protocol):
    """An OCI layout that can be read; see builder/context/oci_layout.py."""

    def open_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield the blob's bytes."""


class OriginFetcher:
    """Reads blobs by the origin that a Pull op states."""

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
            hints=("build again with `--no-cache`",),
        )

    def _near(self, descriptor: Descriptor) -> BinaryIO | None:
        """Open a blob of the directory of images that a warmer filled; whoever reads it verifies it."""
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
