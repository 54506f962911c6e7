"""Removes names of images from the store; `store/gc.py` then removes what no name needs. Does I/O."""

from __future__ import annotations

from collections.abc import Iterable

from firkin.images.find import Found
from firkin.store.images import StoredImage
from firkin.store.store import Store


def remove_images(store: Store, images: Iterable[Found]) -> tuple[StoredImage, ...]:
    """Remove what was asked for (`Found.removes`), all at once; return the removed names.

    A name removes itself only; an id or a digest removes all names of the images that have it.
    """
    gone = dict.fromkeys(name for found in images for name in found.removes)
    return store.images.untag(tuple(gone))
