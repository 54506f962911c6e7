"""Gives an image of the store further names. Does I/O."""

from __future__ import annotations

from firkin.images.find import Found
from firkin.oci.reference import Reference
from firkin.store.store import Store


def tag_image(store: Store, found: Found, names: tuple[Reference, ...]) -> None:
    """Let the names point to the image; an image that loses a name stays in the store."""
    store.images.tag(found.root, names, found.created)
