"""Keeps base images in an OCI layout that executors read. Does I/O.

The layout lists an image for each name; blobs are shared. An executor still asks the registry what a name means now,
and takes the blobs from here (`BuildRequest.image_dir`), so a layout that is out of date does no harm.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from firkin.content.fetch import copy_chunks
from firkin.errors import ContextError, RegistryError, UsageError
from firkin.images.archive import output_file
from firkin.images.oci_layout import write_directory
from firkin.images.pack import pack_images
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, choose_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.tasks.cancel import Cancel


def warm_image(
    client: RegistryClient, place: str, name: Reference, platform: Platform, oldest_s: float, cancel: Cancel
) -> None:
    """Bring every blob of an image into the layout `place`; keep those that are there and not older than `oldest_s`.

    Raises UsageError when the place cannot be written to, ContextError for an image that lacks the platform.
    """
    image = _describe(client, name, platform)
    try:
        os.makedirs(f"{place}/blobs/sha256", exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {(error.strerror or '').lower()}") from error
    for layer in image.layers:
        path = f"{place}/{_path(layer.descriptor.digest)}"
        if not _is_there(path, layer.descriptor, oldest_s):
            with output_file(path, None) as target, client.open_blob(name, layer.descriptor) as chunks:
                copy_chunks(chunks, target, cancel)
    write_directory((pack_images((image,), None, (name,)),), _Layout(place), place)


class _Layout:
    """The blobs of the layout that is being filled."""

    def __init__(self, place: str) -> None:
        self._place = place

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob from its start."""
        return open(f"{self._place}/{_path(digest)}", "rb")


def _describe(client: RegistryClient, name: Reference, platform: Platform) -> Image:
    document = client.get_manifest(name)
    if isinstance(document, Index):
        chosen = choose_manifest(document, platform)
        if chosen is None:
            raise ContextError(f"{name} is not there for {platform}", code="platform-missing")
        document = client.get_manifest(Reference(name.registry, name.repository, "", chosen.digest))
    if isinstance(document, Index):
        raise ContextError(f"{name} is an index of indexes", code="platform-missing")
    try:
        return image_of(client.get_config(name, document), document)
    except ValueError as error:
        raise RegistryError(f"{name}: {error}", code="image-invalid") from error


def _is_there(path: str, blob: Descriptor, oldest_s: float) -> bool:
    try:
        known = os.stat(path)
    except FileNotFoundError:
        return False
    return known.st_size == blob.size and known.st_mtime >= oldest_s


def _path(digest: Digest) -> str:
    return f"blobs/{digest.replace(':', '/')}"
