"""What lists and look-ups need of the store's images, remembered by digest. Does I/O.

A list of a thousand images would read two thousand documents. Their few facts that count are kept in the database
(`documents`), written when a document is first seen; later only the two files' status is read. Facts are read from
verified documents, and belong to a digest, so they cannot be out of date; the stamp tells when a file was exchanged or
cut short, and then it is read again. Without a usable database everything is read each time.

    documents = Documents(store)
    manifest, facts = documents.shown(descriptor, platform)
    documents.remember()
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from firkin.decode import msgpack_decoder
from firkin.errors import StoreError
from firkin.oci import media
from firkin.oci.config import PairMap, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.oci.image import image_of
from firkin.oci.manifest import Index, parse_manifest
from firkin.oci.platform import Platform, match_rank
from firkin.store.store import Store

ATTESTATION = "vnd.docker.reference.type"
_DEEPEST = 4
_NO_PLATFORM = 1 << 20


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """An image manifest (with `config`), or an index (with `children`: its images, without attestations).

    `layers` are (digest, size) of the compressed blobs, bottom first. `document_bytes` is the length of the document
    and of its configuration.
    """

    document_bytes: int
    children: tuple[Descriptor, ...] = ()
    config: str = ""
    platform: Platform = Platform("", "")
    created: str = ""
    labels: PairMap = ()
    diff_ids: tuple[DiffID, ...] = ()
    layers: tuple[tuple[str, int], ...] = ()

    @property
    def id(self) -> Digest:
        """The image id: the digest of the configuration."""
        return Digest(self.config)


class Shown(msgspec.Struct, frozen=True):
    """An image manifest of the store, and its facts."""

    manifest: Descriptor
    facts: Facts


class Documents:
    """The facts of one store's manifests and indexes. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Facts] = {}
        self._new: dict[str, tuple[str, bytes]] = {}
        self._rows = _rows(store)
        self._decode = msgpack_decoder(Facts).decode

    def facts(self, descriptor: Descriptor) -> Facts:
        """Return the facts of a manifest or index; raises StoreError if it is missing or damaged."""
        found = self._known.get(descriptor.digest)
        if found is None:
            found = self._known[descriptor.digest] = self._remembered(descriptor) or self._read(descriptor)
        return found

    def shown(
        self, descriptor: Descriptor, platform: Platform, *, strict: bool = False, depth: int = 0
    ) -> Shown | None:
        """Return the image that stands for a document on a platform: the best that is here, else the first that is.

        With `strict` only an image that runs on the platform; None if there is none. Raises StoreError if the document
        is damaged, or if nothing of an index is here.
        """
        facts = self._level(descriptor, depth)
        if facts.config:
            fits = not strict or match_rank(platform, facts.platform) is not None
            return Shown(descriptor, facts) if fits else None
        for child in sorted(facts.children, key=lambda child: _rank(platform, child)):
            if self._is_here(child):
                rank = _rank(platform, child)
                # What the index says counts: configurations often lack the variant.
                found = self.shown(child, platform, strict=strict and rank >= _NO_PLATFORM, depth=depth + 1)
                if found is not None:
                    return found
        if strict:
            return None
        raise StoreError(f"nothing of the index {descriptor.digest} is in the store", code="image-absent")

    def here(self, descriptor: Descriptor, depth: int = 0) -> Iterator[Shown]:
        """Yield the images in a document that are here: a manifest itself, or those of an index. Raises StoreError."""
        facts = self._level(descriptor, depth)
        if facts.config:
            yield Shown(descriptor, facts)
            return
        for child in facts.children:
            if self._is_here(child):
                yield from self.here(child, depth + 1)

    def remember(self) -> None:
        """Keep what was read; when the database cannot be written, it is read again the next time."""
        if not self._new:
            return
        rows = [(digest, stamp, facts) for digest, (stamp, facts) in self._new.items()]
        self._new = {}
        try:
            with self._store.records.transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO documents (digest, stamp, facts) VALUES (?, ?, ?)", rows)
        except StoreError:
            return

    def _level(self, descriptor: Descriptor, depth: int) -> Facts:
        if depth > _DEEPEST:
            raise StoreError(f"the index {descriptor.digest} lies too deep in others", code="image-nested")
        return self.facts(descriptor)

    def _is_here(self, child: Descriptor) -> bool:
        return child.digest in self._known or self._store.blobs.size(child.digest) is not None

    def _remembered(self, descriptor: Descriptor) -> Facts | None:
        row = self._rows.get(descriptor.digest)
        if row is None:
            return None
        try:
            facts: Facts = self._decode(row[1])
            return facts if self._stamp(descriptor.digest, facts.config) == row[0] else None
        except (OSError, msgspec.MsgspecError):
            return None

    def _stamp(self, digest: str, config: str) -> str:
        files = map(self._store.layout.blob_path, (digest, config) if config else (digest,))
        return " ".join(f"{status.st_size}.{status.st_mtime_ns}" for status in map(os.stat, files))

    def _read(self, descriptor: Descriptor) -> Facts:
        raw = self._store.blobs.read(descriptor.digest)
        try:
            document = parse_manifest(raw, descriptor.media_type)
            if isinstance(document, Index):
                facts = Facts(len(raw), tuple(map(_plain, filter(is_image, document.manifests))))
            else:
                config = parse_config(self._store.blobs.read(document.config.digest))
                image = image_of(config, document)
                facts = Facts(
                    len(raw) + len(config.raw), (), config.digest, config.platform, config.created,
                    config.runtime.labels, config.diff_ids,
                    tuple((layer.descriptor.digest, layer.descriptor.size) for layer in image.layers),
                )  # fmt: skip
        except ValueError as error:
            raise damaged_image(descriptor.digest, error) from error
        try:
            stamp = self._stamp(descriptor.digest, facts.config)
        except OSError:
            return facts  # it was removed just now
        self._new[descriptor.digest] = (stamp, msgspec.msgpack.encode(facts))
        return facts


def damaged_image(digest: str, error: ValueError) -> StoreError:
    """Return the error for an image whose documents cannot be used."""
    return StoreError(f"image {digest} in the store is damaged: {error}", code="image-damaged")


def is_image(child: Descriptor) -> bool:
    """Say whether an entry of an index is an image (or an index), not an attestation or some other artifact."""
    if child.media_type not in (*media.MANIFESTS, *media.INDEXES):
        return False
    unknown = child.platform is not None and child.platform.os == "unknown"
    return not unknown and all(key != ATTESTATION for key, _ in child.annotations)


def _rank(platform: Platform, child: Descriptor) -> int:
    rank = None if child.platform is None else match_rank(platform, child.platform)
    if rank is not None:
        return rank
    return _NO_PLATFORM + (child.platform is not None)


def _plain(child: Descriptor) -> Descriptor:
    return msgspec.structs.replace(child, annotations=(), urls=())


def _rows(store: Store) -> dict[str, tuple[str, bytes]]:
    try:
        rows = store.records.query("SELECT digest, stamp, facts FROM documents")
    except StoreError:
        return {}
    return {str(digest): (str(stamp), facts) for digest, stamp, facts in rows if isinstance(facts, bytes)}


def forget_unused(store: Store) -> None:
    """Drop the facts of documents that are gone, and the sizes of layers that no image and no step has any more."""
    documents = Documents(store)
    kept = {str(diff_id) for (diff_id,) in store.records.query("SELECT DISTINCT diff_id FROM layer_blobs")}
    for image in store.images.entries():
        with suppress(StoreError):
            for shown in documents.here(image.descriptor):
                kept.update(shown.facts.diff_ids)
    documents.remember()
    known = [str(digest) for (digest,) in store.records.query("SELECT digest FROM documents")]
    gone = [(digest,) for digest in known if store.blobs.size(Digest(digest)) is None]
    unused = [(diff_id,) for diff_id in store.records.layer_sizes() if diff_id not in kept]
    with store.records.transaction() as connection:
        connection.executemany("DELETE FROM documents WHERE digest = ?", gone)
        connection.executemany("DELETE FROM layer_sizes WHERE diff_id = ?", unused)
