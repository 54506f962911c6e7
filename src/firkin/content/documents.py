"""An image's manifests and configuration: from the store if they are there, else from the registry. Does I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.errors import RegistryError
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.digest import Digest
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, Manifest, choose_manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.store.store import Store

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

_MOST_INDEXES = 3
"""An index may list others, but not endlessly."""


class ImageDocuments:
    """Reads documents of images by digest, and keeps in the store those that had to be fetched."""

    def __init__(self, store: Store, client: Callable[[], RegistryClient]) -> None:
        self._store = store
        self._client = client

    def get(self, reference: Reference, digest: Digest, media_type: str = "") -> Manifest | Index:
        """Return a manifest or index of the repository that `reference` names. Raises RegistryError, StoreError."""
        if self._store.blobs.size(digest) is not None:
            raw = self._store.blobs.read(digest)
            try:
                document = parse_manifest(raw, media_type)
            except ValueError as error:
                raise RegistryError(f"{reference.familiar}: {error}", code="image-invalid") from error
        else:
            document = self._client().get_manifest(msgspec.structs.replace(reference, digest=digest))
        self._keep(document.raw)
        return document

    def image(self, reference: Reference, digest: Digest, platform: Platform, media_type: str = "") -> Image:
        """Return the image that a manifest describes, or the one of an index that serves the platform.

        Raises RegistryError, with the code `image-platform` if the index has none for the platform.
        """
        document = self.get(reference, digest, media_type)
        for _ in range(_MOST_INDEXES):
            if not isinstance(document, Index):
                break
            chosen = choose_manifest(document, platform)
            if chosen is None:
                raise _missing(reference, document, platform)
            document = self.get(reference, chosen.digest, chosen.media_type)
        if isinstance(document, Index):
            raise _missing(reference, document, platform)
        try:
            return image_of(self.config(reference, document), document)
        except ValueError as error:
            raise RegistryError(f"{reference.familiar}: {error}", code="image-invalid") from error

    def config(self, reference: Reference, manifest: Manifest) -> ImageConfig:
        """Return the configuration of an image. Raises RegistryError, StoreError; ValueError if it is invalid here."""
        if self._store.blobs.size(manifest.config.digest) == manifest.config.size:
            config = parse_config(self._store.blobs.read(manifest.config.digest))
        else:
            config = self._client().get_config(reference, manifest)
        self._keep(config.raw)
        return config

    def _keep(self, raw: bytes) -> None:
        digest = self._store.blobs.put(raw)
        self._store.records.add_blob(digest, len(raw))


def _missing(reference: Reference, index: Index, platform: Platform) -> RegistryError:
    offered = ", ".join(str(item.platform) for item in index.manifests if item.platform)
    return RegistryError(
        f"{reference.familiar}: no match for platform in manifest: {platform} not found",
        code="image-platform",
        exit_code=1,
        hints=(f"it is there for {offered}" if offered else "the index names no platforms",),
    )
