"""Removes images that have no name, or that no container uses. Does I/O. Mirrors: moby daemon/images ImagesPrune.

An image is *dangling* if it has no tag; a digest name alone does not save it. Nobody changes names while it is decided
which images go.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.images.list import Listed, list_images
from firkin.images.remove import Going, Removal, Remover, digests_in_use, gone_with, ids_of, shown_id
from firkin.linux.machine import this_platform
from firkin.store.facts import Documents
from firkin.store.images import StoredImage
from firkin.store.journal import append
from firkin.store.store import Store

Fits = Callable[[Listed, float], bool]
"""Takes an image and the Unix time when it came into the store; says whether it may go."""


class PrunedImages(msgspec.Struct, frozen=True):
    """What a prune of dangling images removed, and how many images fitted as well but have a tag (`kept_tagged`)."""

    removal: Removal
    kept_tagged: int = 0


def prune_images(store: Store, fits: Fits, *, dangling_only: bool = True) -> PrunedImages:
    """Remove the dangling images, or all that no container uses, of those that fit.

    Raises UsageError (`prune-running`) beside another prune, StoreError.
    """
    kept: list[Listed] = []
    remover = Remover(store)

    def choose() -> tuple[Going, ...]:
        fitting = [image for image in list_images(store, _ignore, sizes=False) if fits(image, _arrived(store, image))]
        used = digests_in_use(store)
        unused = [image for image in fitting if used.isdisjoint((image.id, image.root.digest))]
        kept.extend(image for image in unused if dangling_only and image.names)
        return _going(store, [image.id for image in unused if not (dangling_only and image.names)])

    with only_prune(store):
        removal = remover.apply(choose)
        append(store.layout.root, "image", "prune", "", {"reclaimed": str(removal.freed_bytes)})
    return PrunedImages(removal, len(kept))


def _going(store: Store, ids: list[str]) -> tuple[Going, ...]:
    documents, host = Documents(store), this_platform()
    of_image: dict[str, list[StoredImage]] = {id: [] for id in ids}
    others: list[StoredImage] = []
    for entry in store.images.entries():
        of_image.get(shown_id(documents, entry, host), others).append(entry)
    kept = ids_of(documents, others)
    return tuple(gone_with(documents, tuple(of_image[id]), kept) for id in ids)


def _ignore(digest: str, error: StoreError) -> None:
    """A damaged image is left alone: nobody knows whether it fits."""


def _arrived(store: Store, image: Listed) -> float:
    try:
        return os.stat(store.layout.blob_path(image.root.digest)).st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def only_prune(store: Store) -> Iterator[None]:
    """Be the only prune of the store; raises UsageError when there is another."""
    descriptor = os.open(f"{store.layout.root}/prune.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError("a prune operation is already running", code="prune-running") from None
    try:
        yield
    finally:
        os.close(descriptor)
