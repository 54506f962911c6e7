"""Lists the images of a store. Does I/O."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firkin.errors import StoreError
from firkin.images.find import read_image
from firkin.linux.machine import this_platform
from firkin.oci.config import PairMap
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID
from firkin.oci.platform import Platform
from firkin.store.facts import Documents, Shown
from firkin.store.images import StoredImage
from firkin.store.store import Store

Damaged = Callable[[str, StoreError], None]
"""Takes the digest and the error of something that is damaged."""


class Listed(msgspec.Struct, frozen=True):
    """An image of the store: everything with one id (digest of the configuration).

    `root` is what its name (the one given last) points to; `names` are its tags and `digests` its digest names, in
    canonical spelling. `platforms` are those that are here of all its names. `created` is a time of RFC 3339, or "".
    `size_bytes` is what its layers unpack to (-1: not asked for, or not to be known); a layer that is there twice
    counts twice, as in docker. `compressed_bytes` is what a registry holds for it.
    """

    id: str
    root: Descriptor
    names: tuple[str, ...]
    digests: tuple[str, ...]
    created: str
    platform: Platform
    platforms: tuple[str, ...]
    labels: PairMap
    diff_ids: tuple[DiffID, ...]
    compressed_bytes: int
    size_bytes: int = -1

    @property
    def is_dangling(self) -> bool:
        """Whether it has no tag and no digest name."""
        return not self.names and not self.digests


def list_images(store: Store, damaged: Damaged, *, sizes: bool = True) -> tuple[Listed, ...]:
    """Return every image of the store once, in the order in which their first entries were made.

    `damaged` takes digest and error of each damaged image; the others are listed all the same. With `sizes`, layers
    that nobody has measured are measured, which reads them once.
    """
    documents, host = Documents(store), this_platform()
    shown: dict[str, Shown] = {}
    entries: dict[str, list[StoredImage]] = {}
    told = set()
    for entry in store.images.entries():
        digest = entry.descriptor.digest
        try:
            found = documents.shown(entry.descriptor, host)
        except StoreError as error:
            if digest not in told:
                told.add(digest)
                damaged(digest, error)
            continue
        if found is not None:
            shown[found.facts.config] = found
            entries.setdefault(found.facts.config, []).append(entry)
    listed = tuple(_listed(documents, shown[id], entries[id]) for id in shown)
    documents.remember()
    return _measured(store, listed, shown, damaged) if sizes else listed


def _listed(documents: Documents, shown: Shown, entries: list[StoredImage]) -> Listed:
    facts = shown.facts
    blobs = dict(facts.layers)
    size, platforms = facts.document_bytes, {str(facts.platform): None}
    seen = {shown.manifest.digest}
    for root in {entry.descriptor.digest: entry.descriptor for entry in entries}.values():
        if root.digest in seen:
            continue
        size += documents.facts(root).document_bytes * bool(documents.facts(root).children)
        for part in documents.here(root):
            platforms[str(part.facts.platform)] = None
            if part.manifest.digest not in seen:
                seen.add(part.manifest.digest)
                size += part.facts.document_bytes
                blobs |= part.facts.layers
    return Listed(
        facts.id, entries[-1].descriptor,
        tuple(entry.name for entry in entries if entry.is_tag),
        tuple(entry.name for entry in entries if entry.is_digest_name),
        facts.created, facts.platform, tuple(platforms), facts.labels, facts.diff_ids, size + sum(blobs.values()),
    )  # fmt: skip


def _measured(
    store: Store, listed: tuple[Listed, ...], shown: dict[str, Shown], damaged: Damaged
) -> tuple[Listed, ...]:
    try:
        known = store.records.layer_sizes()
    except StoreError:
        known = {}
    measured = []
    for image in listed:
        if any(diff_id not in known for diff_id in image.diff_ids):
            from firkin.content.sizes import layer_sizes

            manifest = shown[image.id].manifest
            try:
                known |= layer_sizes(store, read_image(store, manifest).layers)
            except StoreError as error:
                damaged(manifest.digest, error)
                measured.append(image)
                continue
        size = sum(known[diff_id] for diff_id in image.diff_ids)
        measured.append(msgspec.structs.replace(image, size_bytes=size))
    return tuple(measured)
