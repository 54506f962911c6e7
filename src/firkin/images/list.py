"""Lists the images of a store. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.images.find import find_image, read_image
from firkin.images.names import familiar, repository_of
from firkin.linux.machine import this_platform
from firkin.oci.config import PairMap
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.store.facts import UNKNOWN, Documents, Shown
from firkin.store.images import StoredImage
from firkin.store.store import Store
from firkin.text import match_path, seconds_of

Damaged = Callable[[str, StoreError], None]
"""Takes the digest and the error of something that is damaged."""


class Listed(msgspec.Struct, frozen=True):
    """An image of the store: everything with one id (digest of the configuration).

    `manifest` is the image's own, `root` what its name (the one given last) points to; `names` are its tags and
    `digests` its digest names, in canonical spelling. `created` is a time of RFC 3339, or "". `size_bytes` is what its
    layers unpack to (-1: not asked for, or not to be known); a layer that is there twice counts twice, as in docker.

    With `details`: `platforms` are those that are here under any of its names, and `compressed_bytes` is what a
    registry holds for these.
    """

    id: str
    manifest: Descriptor
    root: Descriptor
    names: tuple[str, ...]
    digests: tuple[str, ...]
    created: str
    size_bytes: int = UNKNOWN
    labels: PairMap = ()
    diff_ids: tuple[DiffID, ...] = ()
    platforms: tuple[str, ...] = ()
    compressed_bytes: int = UNKNOWN

    @property
    def created_s(self) -> float | None:
        """When it was made, in Unix seconds; None if nobody knows."""
        return seconds_of(self.created)

    @property
    def is_dangling(self) -> bool:
        """Whether it has no tag and no digest name."""
        return not self.names and not self.digests


def list_images(store: Store, damaged: Damaged, *, sizes: bool = True, details: bool = True) -> tuple[Listed, ...]:
    """Return every image of the store once, in the order in which their first entries were made.

    `damaged` takes digest and error of each damaged image; the others are listed all the same. With `sizes`, layers
    that nobody has measured are measured, which reads them once. Without `details` the last four fields are empty.
    """
    documents, host = Documents(store), this_platform()
    shown: dict[str, Shown] = {}
    entries: dict[str, list[StoredImage]] = {}
    found: dict[str, Shown | None] = {}
    for entry in store.images.entries():
        digest = entry.descriptor.digest
        if digest not in found:
            try:
                found[digest] = documents.shown(entry.descriptor, host)
            except StoreError as error:
                found[digest] = None
                damaged(digest, error)
        meant = found[digest]
        if meant is not None:
            shown[meant.facts.config] = meant
            entries.setdefault(meant.facts.config, []).append(entry)
    listed = [_listed(shown[id], entries[id]) for id in shown]
    if details:
        listed = [_detailed(documents, image, entries[image.id]) for image in listed]
    if sizes:
        listed = [_measured(store, documents, image, damaged) for image in listed]
    documents.remember()
    return tuple(listed)


def _listed(shown: Shown, entries: list[StoredImage]) -> Listed:
    return Listed(
        shown.facts.config, shown.manifest, entries[-1].descriptor,
        tuple([entry.name for entry in entries if entry.is_tag]),
        tuple([entry.name for entry in entries if entry.is_digest_name]),
        shown.facts.created,
    )  # fmt: skip


def _detailed(documents: Documents, image: Listed, entries: list[StoredImage]) -> Listed:
    own = documents.details(image.manifest)
    blobs, platforms = dict(own.layers), {str(documents.facts(image.manifest).runs_on): None}
    sizes = {image.manifest.digest: documents.facts(image.manifest).document_bytes}
    for root in {entry.descriptor.digest: entry.descriptor for entry in entries}.values():
        sizes[root.digest] = documents.facts(root).document_bytes
        for part in documents.here(root):
            platforms[str(part.facts.runs_on)] = None
            sizes[part.manifest.digest] = part.facts.document_bytes
            blobs |= documents.details(part.manifest).layers
    return msgspec.structs.replace(
        image, labels=own.labels, diff_ids=own.diff_ids, platforms=tuple(platforms),
        compressed_bytes=sum(sizes.values()) + sum(blobs.values()),
    )  # fmt: skip


def _measured(store: Store, documents: Documents, image: Listed, damaged: Damaged) -> Listed:
    size = documents.unpacked_bytes(image.manifest)
    if size == UNKNOWN:
        from firkin.images.sizes import image_size

        try:
            size = image_size(store, read_image(store, image.manifest))
            documents.note_unpacked(image.manifest, size)
        except StoreError as error:
            damaged(image.manifest.digest, error)
    return msgspec.structs.replace(image, size_bytes=size)


class Wanted(msgspec.Struct, frozen=True):
    """Which images a list is to have; what is empty or None does not matter.

    `references` are patterns of names (path.Match), any of which may fit. `dangling`: True for images without a tag,
    False for those with any name, as in docker.
    `before` and `since` name images of the store; strictly older or newer ones are wanted. `until_s` is a Unix time.
    """

    references: tuple[str, ...] = ()
    dangling: bool | None = None
    labels_fit: Callable[[Mapping[str, str]], bool] | None = None
    before: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    until_s: float | None = None


def choose_images(store: Store, images: Iterable[Listed], wanted: Wanted) -> tuple[Listed, ...]:
    """Return the images that are wanted, the newest first, each with the names that fit `references`.

    Raises UsageError for an image that is not there (`before`, `since`) and for a malformed pattern.
    """
    before = min((_made_s(store, text) for text in wanted.before), default=None)
    since = max((_made_s(store, text) for text in wanted.since), default=None)
    if wanted.until_s is not None:
        before = wanted.until_s if before is None else min(before, wanted.until_s)
    chosen = []
    for image in images:
        narrowed = _narrowed(image, wanted.references)
        if narrowed is not None and _fits(narrowed, wanted) and _is_between(image.created_s, since, before):
            chosen.append(narrowed)
    return tuple(sorted(chosen, key=lambda image: image.created_s or 0.0)[::-1])


def _made_s(store: Store, text: str) -> float:
    return seconds_of(find_image(store, text).created) or 0.0


def _is_between(created_s: float | None, since: float | None, before: float | None) -> bool:
    made = created_s or 0.0
    return (since is None or made > since) and (before is None or made < before)


def _fits(image: Listed, wanted: Wanted) -> bool:
    if wanted.dangling and image.names:
        return False
    if wanted.dangling is False and image.is_dangling:
        return False
    return wanted.labels_fit is None or wanted.labels_fit(dict(image.labels))


def _narrowed(image: Listed, patterns: tuple[str, ...]) -> Listed | None:
    """Return the image with the names that fit a pattern, and the digests of their repositories; None if none does."""
    if not patterns:
        return image
    try:
        names = tuple(name for name in image.names if _is_meant(name, patterns))
        tagged = {repository_of(name) for name in names}
        digests = tuple(name for name in image.digests if repository_of(name) in tagged or _is_meant(name, patterns))
    except ValueError as error:
        raise UsageError(f"invalid filter 'reference={', '.join(patterns)}': {error}") from error
    return msgspec.structs.replace(image, names=names, digests=digests) if names or digests else None


def _is_meant(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a pattern fits a name: short or canonical, with its tag or digest or without."""
    short, canonical = familiar(name), repository_of(name)
    spellings = {name, short, canonical, short.removesuffix(name.removeprefix(canonical))}
    return any(match_path(pattern, spelling) for pattern in patterns for spelling in spellings)
