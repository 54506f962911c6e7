"""Gives an image of the store further names. Does I/O."""

from __future__ import annotations

from firkin.images.find import Found
from firkin.oci.reference import Reference
from firkin.store.journal import image_event
from firkin.store.store import Store


def tag_image(store: Store, found: Found, names: tuple[Reference, ...]) -> None:
    """Let the names point to the image, or all platforms of it that it was found with.

    A name that is taken moves; the image that loses its last name stays in the store without one.
    """
    store.images.tag(found.root, names, found.created)
    for name in names:
        image_event(store.layout.root, "tag", found.id, name.familiar, found.image.config.runtime.labels)
