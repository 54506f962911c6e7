"""The steps that an image was made of: `docker history`. Does I/O. Mirrors: moby daemon/images ImageHistory."""

from __future__ import annotations

from typing import NamedTuple

from firkin.content.sizes import layer_sizes
from firkin.errors import StoreError
from firkin.oci.config import History
from firkin.oci.image import Image
from firkin.store.store import Store


class Step(NamedTuple):
    """One line of an image's history. `size_bytes` is what its layer unpacks to, 0 if it made none."""

    line: History
    size_bytes: int


def image_history(store: Store, image: Image) -> tuple[Step, ...]:
    """Return the steps of an image of the store, the last first. Raises StoreError.

    Layers that nobody has measured are measured. An image whose configuration has no history has no steps.
    """
    sizes = layer_sizes(store, image.layers)
    layers = iter(image.config.diff_ids)
    steps = []
    for line in image.config.history:
        diff_id = None if line.empty_layer else next(layers, None)
        if diff_id is None and not line.empty_layer:
            raise StoreError(
                f"image {image.manifest.digest} is damaged: its history has more steps with a layer than layers",
                code="image-damaged",
            )
        steps.append(Step(line, sizes[diff_id] if diff_id is not None else 0))
    return tuple(reversed(steps))
