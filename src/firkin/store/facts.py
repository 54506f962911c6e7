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
from typing import NamedTuple

import msgspec

from firkin.decode import decode_msgpack, msgpack_decoder
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
UNKNOWN = -1
_DEEPEST = 4
_NO_PLATFORM = 1 << 20


class Child(msgspec.Struct, frozen=True, array_like=True):
    """An image (or index) in an index; `platform` is os, architecture, variant, os version, or ()."""

    media_type: str
    digest: str
    size: int
    platform: tuple[str, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        platform = _platform(self.platform) if self.platform else None
        return Descriptor(self.media_type, Digest(self.digest), self.size, platform)


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """An image manifest (with `config`), or an index (with `children`: its images, without attestations).

    `document_bytes` is the length of the document and of its configuration.
    """

    document_bytes: int
    config: str = ""
    created: str = ""
    platform: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()

    @property
    def id(self) -> Digest:
        """The image id: the digest of the configuration."""
        return Digest(self.config)

    @property
    def runs_on(self) -> Platform:
        """The platform that the configuration names."""
        return _platform(self.platform)


class Details(msgspec.Struct, frozen=True, array_like=True):
    """What fewer need to know of an image manifest; `layers` are (digest, size) of its blobs, bottom first."""

    labels: PairMap = ()
    diff_ids: tuple[DiffID, ...] = ()
    layers: tuple[tuple[str, int], ...] = ()


class Shown(NamedTuple):
    """An image manifest of the store, and its facts."""

    manifest: Descriptor
    facts: Facts


class _New(NamedTuple):
    """A row to write. `unpacked` is what the image's layers unpack to, -1 if nobody knows yet."""

    digest: str
    stamp: str
    facts: bytes
    details: bytes
    unpacked: int = UNKNOWN


class Documents:
    """The facts of one store's manifests and indexes. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Facts] = {}
        self._details: dict[str, Details] = {}
        self._new: dict[str, _New] = {}
        self._sizes: dict[str, int] = {}
        self._rows = _rows(store)
        self._decode = msgpack_decoder(Facts).decode
        self._base = f"{store.layout.blobs}/"

    def facts(self, descriptor: Descriptor) -> Facts:
        """Return the facts of a manifest or index; raises StoreError if it is missing or damaged."""
        found = self._known.get(descriptor.digest) or self._remembered(descriptor.digest)
        return found if found is not None else self._read(descriptor)

    def details(self, manifest: Descriptor) -> Details:
        """Return more about an image manifest. Raises StoreError."""
        found = self._details.get(manifest.digest)
        if found is None:
            self.facts(manifest)
            found = self._details.get(manifest.digest) or self._remembered_details(manifest.digest)
        if found is None:
            self._read(manifest)
            found = self._details[manifest.digest]
        return found

    def unpacked_bytes(self, manifest: Descriptor) -> int:
        """Return what an image's layers unpack to, as it was noted last; UNKNOWN if it was not."""
        if manifest.digest in self._sizes:
            return self._sizes[manifest.digest]
        row = self._rows.get(manifest.digest)
        return row[2] if row is not None and manifest.digest not in self._new else UNKNOWN

    def note_unpacked(self, manifest: Descriptor, size_bytes: int) -> None:
        """Take note of what an image's layers unpack to."""
        self._sizes[manifest.digest] = size_bytes

    def shown(self, descriptor: Descriptor, platform: Platform, *, strict: bool = False) -> Shown | None:
        """Return the image that stands for a document on a platform: the best that is here, else the first that is.

        With `strict` only an image that runs on the platform; None if there is none. Raises StoreError if the document
        is damaged, or if nothing of an index is here.
        """
        return self._shown(descriptor, platform, strict, 0, set())

    def _shown(
        self, descriptor: Descriptor, platform: Platform, strict: bool, depth: int, failed: set[tuple[str, bool]]
    ) -> Shown | None:
        facts = self._level(descriptor, depth)
        if facts.config:
            fits = not strict or match_rank(platform, facts.runs_on) is not None
            return Shown(descriptor, facts) if fits else None
        for rank, child in _by_rank(facts.children, platform):
            # What the index says counts: configurations often lack the variant.
            wants = strict and rank >= _NO_PLATFORM
            asked = (child.digest, wants)
            if asked not in failed and self._is_here(child):
                found = self._shown(child.descriptor, platform, wants, depth + 1, failed)
                if found is not None:
                    return found
                failed.add(asked)
        if strict:
            return None
        raise StoreError(f"nothing of the index {descriptor.digest} is in the store", code="image-absent")

    def here(self, descriptor: Descriptor) -> Iterator[Shown]:
        """Yield the images in a document that are here, each once: a manifest itself, or those of an index.

        Raises StoreError.
        """
        return self._here(descriptor, 0, {descriptor.digest})

    def _here(self, descriptor: Descriptor, depth: int, seen: set[str]) -> Iterator[Shown]:
        # Few indexes that list each other many times would stand for any number of images.
        facts = self._level(descriptor, depth)
        if facts.config:
            yield Shown(descriptor, facts)
            return
        for child in facts.children:
            if child.digest not in seen and self._is_here(child):
                seen.add(child.digest)
                yield from self._here(child.descriptor, depth + 1, seen)

    def remember(self) -> None:
        """Keep what was read; when the database cannot be written, it is read again the next time."""
        rows, sizes = list(self._new.values()), [(size, digest) for digest, size in self._sizes.items()]
        self._new, self._sizes = {}, {}
        if not rows and not sizes:
            return
        with suppress(StoreError), self._store.records.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO documents (digest, stamp, facts, details, unpacked) VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            connection.executemany("UPDATE documents SET unpacked = ? WHERE digest = ?", sizes)

    def _level(self, descriptor: Descriptor, depth: int) -> Facts:
        if depth > _DEEPEST:
            raise StoreError(f"the index {descriptor.digest} lies too deep in others", code="image-nested")
        return self.facts(descriptor)

    def _is_here(self, child: Child) -> bool:
        if child.digest in self._known or self._remembered(child.digest) is not None:
            return True
        return self._store.blobs.size(Digest(child.digest)) is not None

    def _remembered(self, digest: str) -> Facts | None:
        row = self._rows.get(digest)
        if row is None:
            return None
        try:
            facts: Facts = self._decode(row[1])
            if self._stamp(digest, facts.config) != row[0]:
                return None
        except (OSError, msgspec.MsgspecError):
            return None
        self._known[digest] = facts
        return facts

    def _remembered_details(self, digest: str) -> Details | None:
        try:
            rows = self._store.records.query("SELECT details FROM documents WHERE digest = ?", (digest,))
            return decode_msgpack(bytes(rows[0][0]), Details) if rows and isinstance(rows[0][0], bytes) else None
        except (StoreError, msgspec.MsgspecError):
            return None

    def _stamp(self, digest: str, config: str) -> str:
        status = os.stat(self._base + digest.replace(":", "/", 1))
        own = f"{status.st_size}.{status.st_mtime_ns}"
        if not config:
            return own
        status = os.stat(self._base + config.replace(":", "/", 1))
        return f"{own} {status.st_size}.{status.st_mtime_ns}"

    def _read(self, descriptor: Descriptor) -> Facts:
        digest = descriptor.digest
        raw = self._store.blobs.read(digest)
        details = Details()
        try:
            document = parse_manifest(raw, descriptor.media_type)
            if isinstance(document, Index):
                facts = Facts(len(raw), children=tuple(map(_child, filter(is_image, document.manifests))))
            else:
                config = parse_config(self._store.blobs.read(document.config.digest))
                size = len(raw) + len(config.raw)
                layers = tuple((layer.digest, layer.size) for layer in image_of(config, document).manifest.layers)
                facts = Facts(size, config.digest, config.created, _words(config.platform))
                details = Details(config.runtime.labels, config.diff_ids, layers)
        except ValueError as error:
            raise damaged_image(digest, error) from error
        self._known[digest], self._details[digest] = facts, details
        with suppress(OSError):  # it may be removed just now
            encoded = msgspec.msgpack.encode(facts), msgspec.msgpack.encode(details)
            self._new[digest] = _New(digest, self._stamp(digest, facts.config), *encoded)
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


def _by_rank(children: tuple[Child, ...], platform: Platform) -> Iterator[tuple[int, Child]]:
    """Yield children with their rank, the best for a platform first: those that fit, those that name none, others."""
    wanted = _words(platform)
    for child in children:
        if child.platform == wanted:
            yield 0, child
            break
    yield from sorted(((_rank(child, platform), child) for child in children), key=lambda item: item[0])


def _rank(child: Child, platform: Platform) -> int:
    if not child.platform:
        return _NO_PLATFORM
    rank = match_rank(platform, _platform(child.platform))
    return _NO_PLATFORM + 1 if rank is None else rank


def _platform(words: tuple[str, ...]) -> Platform:
    os, architecture, variant, os_version = words
    return Platform(os, architecture, variant, os_version)


def _words(platform: Platform) -> tuple[str, ...]:
    return platform.os, platform.architecture, platform.variant, platform.os_version


def _child(child: Descriptor) -> Child:
    return Child(child.media_type, child.digest, child.size, () if child.platform is None else _words(child.platform))


def _rows(store: Store) -> dict[str, tuple[str, bytes, int]]:
    try:
        rows = store.records.query("SELECT digest, stamp, facts, unpacked FROM documents")
    except StoreError:
        return {}
    return {
        digest: (stamp, facts, unpacked)
        for digest, stamp, facts, unpacked in rows
        if isinstance(digest, str) and isinstance(stamp, str) and isinstance(facts, bytes) and isinstance(unpacked, int)
    }


def forget_unused(store: Store) -> None:
    """Drop the facts of documents that are gone, and the sizes of layers that no image and no step has any more."""
    documents = Documents(store)
    kept = {str(diff_id) for (diff_id,) in store.records.query("SELECT DISTINCT diff_id FROM layer_blobs")}
    for image in store.images.entries():
        with suppress(StoreError):
            for shown in documents.here(image.descriptor):
                kept.update(documents.details(shown.manifest).diff_ids)
    documents.remember()
    known = [str(digest) for (digest,) in store.records.query("SELECT digest FROM documents")]
    gone = [(digest,) for digest in known if store.blobs.size(Digest(digest)) is None]
    unused = [(diff_id,) for diff_id in store.records.layer_sizes() if diff_id not in kept]
    with store.records.transaction() as connection:
        connection.executemany("DELETE FROM documents WHERE digest = ?", gone)
        connection.executemany("DELETE FROM layer_sizes WHERE diff_id = ?", unused)
