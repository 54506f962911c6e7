"""Pulls images into the store: manifest and configuration first, then layers side by side, the name last. Does I/O.

A pull always asks the registry: when it is away the pull fails, whatever is in the store. The name points to what the
registry's name points to. If that is an index, the image of one platform is pulled, beside those of other platforms
that were pulled before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from firkin.content.documents import ImageDocuments
from firkin.content.download import fetch_layer
from firkin.errors import RegistryError
from firkin.images.names import repository_and_tag
from firkin.images.progress import Listener, Transfer
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Image, Layer
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.store.journal import image_event
from firkin.store.partial import tidy_partials


class Lookup(msgspec.Struct, frozen=True):
    """What a name means in its registry: `root` is what it points to, `image` is the one for the wanted platform.

    `reference` is the name to pull: with a digest, without its tag. `known`: the name pointed there in the store.
    """

    reference: Reference
    root: Descriptor
    image: Image
    wanted: Platform
    known: bool = False

    @property
    def fits(self) -> bool:
        """Whether the image is for the wanted system and architecture; one without an index may be for another."""
        have = self.image.config.platform
        return (have.os, have.architecture) == (self.wanted.os, self.wanted.architecture)


class Pulled(msgspec.Struct, frozen=True):
    """An image that was pulled. `digest` is that of what the name points to, an index or a manifest.

    `newer`: the store has got something that it did not have, a layer or another meaning of the name.
    """

    reference: Reference
    digest: Digest
    image: Image
    newer: bool


def look_up(transfer: Transfer, reference: Reference, platform: Platform) -> Lookup:
    """Return the image that a name means now, for one platform; does not fetch its layers.

    An image without an index is returned for any platform. Raises RegistryError, also when the registry cannot be
    asked, with the code `image-platform` if an index has no image for the platform.
    """
    if reference.digest is not None:
        reference = msgspec.structs.replace(reference, tag="")
    documents = ImageDocuments(transfer.store, lambda: transfer.client)
    found = transfer.client.resolve(reference)
    root = documents.get(reference, found.digest, found.media_type).descriptor
    image = documents.image(reference, root.digest, platform, root.media_type)
    transfer.store.records.add_resolved(str(reference), str(platform), root.digest, image.manifest.digest)
    before = transfer.store.images.find(reference)
    return Lookup(reference, root, image, platform, before is not None and before.digest == root.digest)


def pull_image(transfer: Transfer, found: Lookup, listener: Listener) -> Pulled:
    """Fetch the layers that are not in the store, and give the image its name when all of them are there.

    Raises RegistryError, StoreError, Cancelled; then no name is changed, and what came stays for the next pull.
    """
    store, reference, image = transfer.store, found.reference, found.image
    layers = _by_digest(image, reference)
    missing = [digest for digest, layer in layers.items() if not store.keeps(layer.descriptor)]
    tidy_partials(store.layout, time.time())

    def fetch(blob: Descriptor) -> None:
        if blob.digest not in missing:
            if missing or not found.known:  # an image that is up to date has nothing to tell; as in docker
                listener.kept(blob, "exists")
        else:
            meter = listener.meter(blob.digest, blob.size)
            fetch_layer(store, transfer.client, reference, layers[blob.digest], transfer.cancel, meter)
            listener.kept(blob, "moved")
        store.records.add_place(blob.digest, reference.registry, reference.repository)

    transfer.side_by_side(fetch, [layer.descriptor for layer in layers.values()])
    store.images.tag(found.root, (reference,), image.config.created, pinned=True)
    labels = image.config.runtime.labels
    image_event(store.layout.root, "pull", reference.familiar, repository_and_tag(str(reference))[0], labels)
    return Pulled(reference, found.root.digest, image, bool(missing) or not found.known)


def all_tags(transfer: Transfer, repository: Reference) -> Iterator[Reference]:
    """Yield every tag of a repository, in the registry's order. Raises RegistryError."""
    for tag in transfer.client.list_tags(repository, mirrors=True):
        yield Reference(repository.registry, repository.repository, tag)


def _by_digest(image: Image, reference: Reference) -> dict[Digest, Layer]:
    layers: dict[Digest, Layer] = {}
    for layer in image.layers:
        if layers.setdefault(layer.descriptor.digest, layer).diff_id != layer.diff_id:
            raise RegistryError(
                f"cannot pull `{reference.familiar}`: one layer cannot unpack to two digests", code="image-invalid"
            )
    return layers
