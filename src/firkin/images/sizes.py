"""What images unpack to. Does I/O."""

from __future__ import annotations

from firkin.content.sizes import layer_sizes
from firkin.oci.image import Image
from firkin.store.store import Store


def image_size(store: Store, image: Image) -> int:
    """Return what the layers of an image unpack to; one that is there twice counts twice, as in docker.

    Layers that nobody has measured are measured. Raises StoreError.
    """
    sizes = layer_sizes(store, image.layers)
    return sum(sizes[diff_id] for diff_id in image.config.diff_ids)
