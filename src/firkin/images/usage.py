"""How much space images take, as docker counts it: unpacked layers, each once. Does I/O.

Mirrors: moby daemon/images ImageDiskUsage. A layer is shared if another image has it on the same layers below.
"""

from __future__ import annotations

import msgspec

from firkin.images.list import Damaged, Listed, list_images
from firkin.images.remove import CONTAINER
from firkin.oci.digest import chain_ids
from firkin.store.references import registered
from firkin.store.store import Store


class ImageUse(msgspec.Struct, frozen=True):
    """One image: bytes of its layers that other images have, of those that they have not, and who uses it."""

    image: Listed
    shared_bytes: int
    unique_bytes: int
    containers: int


class ImagesUse(msgspec.Struct, frozen=True):
    """All images, newest first. `size_bytes` counts shared layers once."""

    images: tuple[ImageUse, ...]
    size_bytes: int

    @property
    def active(self) -> int:
        """How many images containers use."""
        return sum(use.containers > 0 for use in self.images)

    @property
    def reclaimable_bytes(self) -> int:
        """What only unused images have."""
        return sum(use.unique_bytes for use in self.images if not use.containers)


def images_use(store: Store, damaged: Damaged) -> ImagesUse:
    """Measure all images; `damaged` takes digest and error of each that cannot be read. Raises StoreError."""
    images = list_images(store, damaged)
    known = store.records.layer_sizes()
    chains = {image.id: chain_ids(image.diff_ids) for image in images}
    count: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for image in images:
        for chain, diff_id in zip(chains[image.id], image.diff_ids):
            count[chain] = count.get(chain, 0) + 1
            sizes[chain] = known.get(diff_id, 0)
    used = [reference.blobs for reference in registered(store) if reference.kind == CONTAINER]
    rows = []
    for image in sorted(images, key=lambda image: image.created, reverse=True):
        shared = sum(sizes[chain] for chain in chains[image.id] if count[chain] > 1)
        unique = sum(sizes[chain] for chain in chains[image.id] if count[chain] == 1)
        users = sum(not {image.id, image.root.digest}.isdisjoint(blobs) for blobs in used)
        rows.append(ImageUse(image, shared, unique, users))
    return ImagesUse(tuple(rows), sum(sizes.values()))
