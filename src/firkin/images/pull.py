"""Pulls images into the store: manifest and configuration first, then layers side by side, the name last. Does I/O."""

from __future__ import annotations

import time

from firkin.content.fetch import keep_blob
from firkin.content.resolve import ImageResolver
from firkin.events import Emit
from firkin.images.progress import Listener, Transfer
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Image
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference


def look_up(transfer: Transfer, reference: Reference, platform: Platform, emit: Emit) -> Image:
    """Return the image that a name means now, for one platform; does not fetch its layers.

    An image without an index is returned for any platform. `emit` gets a warning when a registry cannot be asked.
    """
    resolver = ImageResolver(transfer.store, lambda: transfer.client, emit, time.time, pull=True)
    return resolver.resolve(str(reference), platform).image


def pull_image(transfer: Transfer, reference: Reference, image: Image, listener: Listener) -> None:
    """Fetch the layers that are not in the store, and give the image its name when all of them are there."""
    store = transfer.store

    def fetch(blob: Descriptor) -> None:
        if store.keeps(blob):
            listener.kept(blob, "exists")
        else:
            with transfer.client.open_blob(reference, blob) as chunks:
                keep_blob(store, blob, chunks, transfer.cancel, listener.meter(blob.digest, blob.size))
        store.records.add_place(blob.digest, reference.registry, reference.repository)

    blobs = {layer.descriptor.digest: layer.descriptor for layer in image.layers}
    transfer.side_by_side(fetch, blobs.values())
    store.images.tag(image.manifest.descriptor, (reference,), image.config.created)
