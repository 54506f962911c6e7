"""Finds the image that a name, an id or a digest means: one rule for every command. Does I/O.

The first of these that fits decides, in this order (as in `docker`, moby daemon/images GetImage):

1. a whole digest, `sha256:` and 64 hex digits, or the 64 digits alone
2. a name in the store; `NAME@DIGEST` means the digest, which an image of that repository must have
3. the beginning of a digest, at least four hex digits, with or without `sha256:`

A digest is that of an index, of a manifest, or of a configuration (what docker calls the image id). Several
images can share one. An image whose own digest it is then comes before one that only contains it, and the
image that was named last comes before older ones. So a whole digest is never ambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.hints import Hint
from firkin.images.names import familiar
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, whole_digest
from firkin.oci.image import Image, image_of, stored_bytes
from firkin.oci.manifest import Index, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.store.images import StoredImage
from firkin.store.store import Store

SHORTEST_ID = 4
_HEX = frozenset("0123456789abcdef")
_SHOWN = 5


class Found(msgspec.Struct, frozen=True):
    """An image of the store: what was asked for, the images in it, their index if there is one.

    `names` are all names of `root`. `removes` are the names (or, of images without one, the digests) to remove when the
    user asks to remove this. `by_name`: the user gave a name, not an id or a digest.
    """

    names: tuple[str, ...]
    root: Descriptor
    images: tuple[Image, ...]
    index: Index | None
    created: str = ""
    removes: tuple[str, ...] = ()
    by_name: bool = False

    @property
    def size_bytes(self) -> int:
        """The bytes that a registry holds for it."""
        return stored_bytes(self.images, self.index)


class _Holding(NamedTuple):
    """One digest by which an image can be asked for.

    `rank` is 0 for an entry's own digest, 1 for that of its configuration, 2 and 3 for those of an image in its index.
    `image` is what the digest means, `entry` is the entry that holds it.
    """

    digest: Digest
    rank: int
    image: Descriptor
    entry: StoredImage


def find_image(store: Store, text: str) -> Found:
    """Return the image that a name, an id or a digest means.

    An id or a digest removes all names of the images that have it. The digest of a single platform removes the names of
    the images that contain it, unless a name points to it alone. `NAME@DIGEST` removes only names of that repository.

    Raises UsageError: `no-image` if there is none, `ambiguous-id` if a short id fits several. StoreError when
    the image is damaged.
    """
    entries = store.images.entries()
    digest, reference = whole_digest(text), _reference(text)
    if digest is None and reference is not None and reference.digest is None:
        found = _named(store, entries, reference)
        if found is not None:
            return found
    held = _holdings(store, entries)
    if reference is not None and reference.digest is not None:
        digest = digest or reference.digest
        held = _of_repository(held, reference)
    best = _best(held, digest or _completed(text, held))
    if not best:
        raise UsageError(
            f"no image `{text}` in the store {store.layout.root}", code="no-image",
            hints=(Hint.of("images"),),
        )  # fmt: skip
    removes = dict.fromkeys(holding.entry.name or holding.entry.descriptor.digest for holding in best)
    return msgspec.structs.replace(_described(store, entries, best[-1].image), removes=tuple(removes))


def nearest_name(store: Store, text: str) -> str | None:
    """Return the name in the store that is nearest to the text, in its short spelling."""
    from firkin.text import nearest

    return nearest(text, [familiar(entry.name) for entry in store.images.entries() if entry.name])


def describe(store: Store, entries: Sequence[StoredImage]) -> Found:
    """Return everything about an image of the store; `entries` are all entries with its digest, at least one."""
    return _described(store, entries, entries[0].descriptor)


def _reference(text: str) -> Reference | None:
    """Return the text as a name; None if it is invalid. `sha256:...` never is a name (as in docker)."""
    try:
        return None if text.startswith("sha256:") else parse_reference(text)
    except ValueError:
        return None


def _named(store: Store, entries: Sequence[StoredImage], name: Reference) -> Found | None:
    for entry in entries:
        if entry.name == str(name):
            found = _described(store, entries, entry.descriptor)
            return msgspec.structs.replace(found, removes=(entry.name,), by_name=True)
    return None


def _of_repository(held: Sequence[_Holding], reference: Reference) -> list[_Holding]:
    beginnings = (f"{reference.name}:", f"{reference.name}@")
    return [holding for holding in held if holding.entry.name.startswith(beginnings)]


def _best(held: Sequence[_Holding], digest: Digest | None) -> list[_Holding]:
    """Return the holdings of the lowest rank that have the digest: own digests before those of contained images."""
    meant = [holding for holding in held if holding.digest == digest]
    rank = min((holding.rank for holding in meant), default=0)
    return [holding for holding in meant if holding.rank == rank]


def _holdings(store: Store, entries: Sequence[StoredImage]) -> list[_Holding]:
    held: list[_Holding] = []
    for entry in entries:
        root = entry.descriptor
        held.append(_Holding(root.digest, 0, root, entry))
        try:
            images, index = _images(store, root)
        except (StoreError, ValueError):
            continue  # a damaged image must not keep others from being found
        for image in images:
            part = root if index is None else image.manifest.descriptor
            held.append(_Holding(part.digest, 0 if index is None else 2, part, entry))
            held.append(_Holding(image.config.digest, 1 if index is None else 3, part, entry))
    return held


def _completed(text: str, held: Sequence[_Holding]) -> Digest | None:
    """Return the digest that begins with the text; raises UsageError (`ambiguous-id`) when there are several."""
    start = text.removeprefix("sha256:")
    if not SHORTEST_ID <= len(start) < 64 or not _HEX.issuperset(start):
        return None
    matches = tuple(dict.fromkeys(item.digest for item in held if item.digest.partition(":")[2].startswith(start)))
    if len(matches) > 1:
        listed = ", ".join(matches[:_SHOWN]) + (", …" if len(matches) > _SHOWN else "")
        raise UsageError(
            f"`{text}` is the beginning of {len(matches)} digests", code="ambiguous-id",
            hints=(f"write more of the one that you mean: {listed}",),
        )  # fmt: skip
    return matches[0] if matches else None


def _described(store: Store, entries: Sequence[StoredImage], root: Descriptor) -> Found:
    same = [entry for entry in entries if entry.descriptor.digest == root.digest]
    images, index = _images(store, root)
    created = next((entry.created for entry in same if entry.created), images[0].config.created if images else "")
    return Found(tuple(entry.name for entry in same if entry.name), root, images, index, created)


def _images(store: Store, descriptor: Descriptor) -> tuple[tuple[Image, ...], Index | None]:
    document = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(document, Index):
        # A pulled index may name platforms that were not pulled with it.
        here = [item for item in document.manifests if store.blobs.size(item.digest) is not None]
        return tuple(image for item in here for image in _images(store, item)[0]), document
    try:
        return (image_of(parse_config(store.blobs.read(document.config.digest)), document),), None
    except ValueError as error:
        raise StoreError(f"image {descriptor.digest} in the store is damaged: {error}", code="image-damaged") from error
