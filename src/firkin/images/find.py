"""Finds the image that a name, an id or a digest means: one rule for every command. Does I/O.

What an image is: its **id** is the digest of its configuration, as in docker with its classic store. Two manifests with
one configuration (the same layers in two compressions) are one image with the names of both. A name may point to an
index of several platforms, of which often only one is here. It then shows this machine's image, or the first that is
here; the others have ids of their own.

The first of these that fits decides, in this order (as in `docker`, moby daemon/images GetImage):

1. a whole digest, `sha256:` and 64 hex digits, or the 64 digits alone
2. a name in the store; `NAME@DIGEST` means the digest, which an image of that repository must have
3. the beginning of an id, with or without `sha256:`; then that of another digest

A digest is that of an index, of a manifest, or of a configuration. Several entries can share one. An image whose own
digest it is then comes before one that only contains it, and the image that was named last comes before older ones. So
a whole digest is never ambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.hints import Hint
from firkin.images.names import familiar
from firkin.linux.machine import this_platform
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, whole_digest
from firkin.oci.image import Image, image_of, stored_bytes
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference, parse_reference
from firkin.store.facts import Documents, damaged_image
from firkin.store.images import StoredImage
from firkin.store.store import Store

_HEX = frozenset("0123456789abcdef")
_SHOWN = 5


class Found(msgspec.Struct, frozen=True):
    """An image of the store, as something that was asked for.

    `root` is what the name or digest means: a manifest, or an index (`index`); `images` are all images in it that are
    here, and `image` is the one of them that it shows: this machine's platform, or the one that was asked for.

    `names` are all tags (NAME:TAG) of this image, `digests` its digest names (NAME@DIGEST), in canonical spelling.
    `removes` are the names (or, of images without one, the digests) to remove when the user asks to remove this.
    `by_name`: the user gave a name, not an id or a digest.
    """

    names: tuple[str, ...]
    root: Descriptor
    images: tuple[Image, ...]
    index: Index | None
    image: Image
    digests: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    by_name: bool = False

    @property
    def id(self) -> Digest:
        """The image id: the digest of the configuration."""
        return self.image.config.digest

    @property
    def created(self) -> str:
        """When the image was made, as its configuration says: a time of RFC 3339, or ""."""
        return self.image.config.created

    @property
    def size_bytes(self) -> int:
        """The bytes that a registry holds for all that is here of it."""
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

    @property
    def is_id(self) -> bool:
        return self.rank in (1, 3)


def find_image(store: Store, text: str, platform: Platform | None = None) -> Found:
    """Return the image that a name, an id or a digest means; of several platforms, this machine's (or `platform`).

    An id or a digest removes all names of the images that have it. The digest of a single platform removes the names of
    the images that contain it, unless a name points to it alone. `NAME@DIGEST` removes only names of that repository.

    Raises UsageError: `no-image` if there is none, `ambiguous-id` if a short id fits several, `platform-absent` if the
    image is not there for `platform`, `reference` for what can be no name. StoreError when the image is damaged.
    """
    entries, documents = store.images.entries(), Documents(store)
    try:
        return _found(store, documents, entries, text, platform)
    finally:
        documents.remember()


def _found(
    store: Store, documents: Documents, entries: Sequence[StoredImage], text: str, platform: Platform | None
) -> Found:
    reference = None if whole_digest(text) else _reference(text)
    if reference is not None and reference.digest is None:
        named = next((entry for entry in entries if entry.name == str(reference)), None)
        if named is not None:
            found = _described(store, documents, entries, named.descriptor, text, platform)
            return msgspec.structs.replace(found, removes=(named.name,), by_name=True)
    best = _meant(_holdings(documents, entries), text, reference)
    if not best:
        _check(text)
        raise UsageError(f"No such image: {_asked(text, reference)}", code="no-image", hints=(Hint.of("images"),))
    removes = dict.fromkeys(holding.entry.name or holding.entry.descriptor.digest for holding in best)
    found = _described(store, documents, entries, best[-1].image, text, platform)
    return msgspec.structs.replace(found, removes=tuple(removes))


def _meant(held: list[_Holding], text: str, reference: Reference | None) -> list[_Holding]:
    """Return what a digest, a name with a digest or the beginning of a digest means."""
    if reference is not None and reference.digest is not None:
        return _best(_of_repository(held, reference), reference.digest)
    return _best(held, whole_digest(text) or _completed(text, held))


def nearest_name(store: Store, text: str) -> str | None:
    """Return the name in the store that is nearest to the text, in its short spelling."""
    from firkin.text import nearest

    return nearest(text, [familiar(entry.name) for entry in store.images.entries() if entry.is_tag])


def _reference(text: str) -> Reference | None:
    """Return the text as a name; None if it is invalid. `sha256:...` never is a name (as in docker)."""
    try:
        return None if text.startswith("sha256:") else parse_reference(text)
    except ValueError:
        return None


def _asked(text: str, reference: Reference | None) -> str:
    """Return what was looked for, as docker says it: a name with its tag in the short spelling, a digest as it is."""
    return text if reference is None or reference.digest is not None else reference.familiar


def _check(text: str) -> None:
    """Raise UsageError for a text that can be neither a name nor a digest."""
    if text.startswith("sha256:") or whole_digest(text) is not None:
        return
    try:
        parse_reference(text)
    except ValueError as error:
        raise UsageError(str(error), code="reference-format") from None


def _of_repository(held: Sequence[_Holding], reference: Reference) -> list[_Holding]:
    beginnings = (f"{reference.name}:", f"{reference.name}@")
    return [holding for holding in held if holding.entry.name.startswith(beginnings)]


def _best(held: Sequence[_Holding], digest: Digest | None) -> list[_Holding]:
    """Return the holdings of the lowest rank that have the digest: own digests before those of contained images."""
    meant = [holding for holding in held if holding.digest == digest]
    rank = min((holding.rank for holding in meant), default=0)
    return [holding for holding in meant if holding.rank == rank]


def _holdings(documents: Documents, entries: Sequence[StoredImage]) -> list[_Holding]:
    held: list[_Holding] = []
    for entry in entries:
        root = entry.descriptor
        held.append(_Holding(root.digest, 0, root, entry))
        try:
            for shown in documents.here(root):
                part = shown.manifest
                own = part.digest == root.digest
                if not own:
                    held.append(_Holding(part.digest, 2, part, entry))
                held.append(_Holding(shown.facts.id, 1 if own else 3, part, entry))
        except StoreError:
            continue  # a damaged image must not keep others from being found
    return held


def _completed(text: str, held: Sequence[_Holding]) -> Digest | None:
    """Return the digest that begins with the text, an id before others; raises UsageError if there are several."""
    start = text.removeprefix("sha256:")
    if not 0 < len(start) < 64 or not _HEX.issuperset(start):
        return None

    def beginning(wanted: Callable[[_Holding], bool]) -> tuple[Digest, ...]:
        whole = (item.digest for item in held if wanted(item) and item.digest.partition(":")[2].startswith(start))
        return tuple(dict.fromkeys(whole))

    matches = beginning(lambda item: item.is_id) or beginning(lambda item: True)
    if len(matches) > 1:
        listed = ", ".join(matches[:_SHOWN]) + (", …" if len(matches) > _SHOWN else "")
        raise UsageError(
            f"ambiguous reference: `{text}` is the beginning of {len(matches)} ids", code="ambiguous-id",
            hints=(f"write more of the one that you mean: {listed}",),
        )  # fmt: skip
    return matches[0] if matches else None


def _described(
    store: Store, documents: Documents, entries: Sequence[StoredImage], root: Descriptor, text: str,
    platform: Platform | None,
) -> Found:  # fmt: skip
    host = this_platform()
    shown = documents.shown(root, platform or host, strict=platform is not None)
    if shown is None:
        here = ", ".join(str(part.facts.runs_on) for part in documents.here(root))
        raise UsageError(
            f"image with reference {text} was found but does not provide the specified platform ({platform})",
            code="platform-absent", hints=(f"what is here of it is for {here}",),
        )  # fmt: skip
    images = {part.manifest.digest: read_image(store, part.manifest) for part in documents.here(root)}
    same = [entry for entry in entries if _shows(documents, entry, host, shown.facts.id)]
    return Found(
        tuple(entry.name for entry in same if entry.is_tag), root, tuple(images.values()), _read_index(store, root),
        images[shown.manifest.digest], tuple(entry.name for entry in same if entry.is_digest_name),
    )  # fmt: skip


def _read_index(store: Store, root: Descriptor) -> Index | None:
    document = parse_manifest(store.blobs.read(root.digest), root.media_type)
    return document if isinstance(document, Index) else None


def _shows(documents: Documents, entry: StoredImage, host: Platform, id: str) -> bool:
    """Say whether an entry stands for the image with this id."""
    try:
        shown = documents.shown(entry.descriptor, host)
    except StoreError:
        return False
    return shown is not None and shown.facts.id == id


def read_image(store: Store, manifest: Descriptor) -> Image:
    """Read and verify a manifest of the store and its configuration; raises StoreError."""
    try:
        document = parse_manifest(store.blobs.read(manifest.digest), manifest.media_type)
        if not isinstance(document, Manifest):
            raise ValueError("an index stands where a manifest was")
        return image_of(parse_config(store.blobs.read(document.config.digest)), document)
    except ValueError as error:
        raise damaged_image(manifest.digest, error) from error
