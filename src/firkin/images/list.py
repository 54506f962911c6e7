"""Lists the images of a store. Does I/O."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.images.find import Found, describe, find_image
from firkin.images.names import repository_and_tag
from firkin.oci.reference import parse_reference
from firkin.store.images import StoredImage
from firkin.store.store import Store


def list_images(store: Store, damaged: Callable[[str, StoreError], None], only: str | None = None) -> tuple[Found, ...]:
    """Return every image of the store once, the newest last; `damaged` takes digest and error of each damaged one.

    `only` is a repository, a name, an id or a digest; it selects the images that it means, and of their names those
    that it means. Raises UsageError (`ambiguous-id`) for a short id that several images have.
    """
    by_digest: dict[str, list[StoredImage]] = {}
    for entry in store.images.entries():
        by_digest.setdefault(entry.descriptor.digest, []).append(entry)
    images = []
    for digest, entries in by_digest.items():
        try:
            images.append(describe(store, entries))
        except StoreError as error:
            damaged(digest, error)
    return _chosen(store, tuple(images), only) if only is not None else tuple(images)


def _chosen(store: Store, images: tuple[Found, ...], text: str) -> tuple[Found, ...]:
    """Return the images of a repository or a name; if there are none, the image that an id or a digest means."""
    wanted = _as_listed(text)

    def is_wanted(name: str) -> bool:
        repository, tag = repository_and_tag(name)
        return wanted in (repository, f"{repository}:{tag}")

    named = _narrowed(images, lambda found, name: is_wanted(name))
    if named:
        return named
    try:
        meant = set(find_image(store, text).removes)
    except UsageError as error:
        if error.code == "no-image":
            return ()
        raise
    return _narrowed(images, lambda found, name: not meant.isdisjoint((name, found.root.digest)))


def _narrowed(images: tuple[Found, ...], is_wanted: Callable[[Found, str], bool]) -> tuple[Found, ...]:
    """Return the images that have a wanted name ("" for those without one), each with its wanted names only."""
    chosen = []
    for found in images:
        names = [name for name in found.names or ("",) if is_wanted(found, name)]
        if names:
            chosen.append(msgspec.structs.replace(found, names=tuple(filter(None, names))))
    return tuple(chosen)


def _as_listed(text: str) -> str:
    """Return the short spelling of a repository or name, with a tag only if it has one."""
    try:
        reference = parse_reference(text)
    except ValueError:
        return text
    tagged = text.endswith(f":{reference.tag}")
    return reference.familiar if tagged else reference.familiar.removesuffix(f":{reference.tag}")
