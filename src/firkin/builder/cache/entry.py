"""Cache entries and the manifests that carry them. Pure.

An entry is an OCI image of one layer, so that every registry accepts it. An annotation of the manifest
describes it: one GET finds an entry, its layer and the descriptor of the blob. In an image with an inline
cache the same annotation has a line for each of the image's layers. Contract: docs/cache.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from firkin.builder.graph.assemble import rfc3339
from firkin.builder.graph.key import CacheKey, Part, key_of, with_reads
from firkin.oci import codec, media
from firkin.oci.config import History, ImageConfig, RuntimeConfig, encode_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, parse_digest
from firkin.oci.image import Layer
from firkin.oci.manifest import Manifest, encode_manifest
from firkin.oci.platform import Platform

ANNOTATION = "dev.firkin.cache.v1"
MOUNT_PREFIX = "mount-"
MAX_LAYER_BYTES = 128 * 1024**3
_HEX = frozenset("0123456789abcdef")
_MAX_TITLE = 1000
_MAX_READS = 1000


class CacheEntry(msgspec.Struct, frozen=True):
    """A cache's entry for one step: the layer that the step made, and the blob that ships it.

    `layer` is the layer's id: `key`, unless the step found its layer under another key. Then `reads`, the
    identities of the files that were read when the layer was made, prove that key (see `belongs`). `variant`
    names the form of the blob (content.format.LayerFormat). `created` is the time of the layer in the image,
    which may be a fixed one; `saved` says when the entry was made. Both in seconds since the epoch.
    """

    key: str
    layer: str
    blob: Layer
    variant: str
    created: float
    saved: float
    seconds: float = 0.0
    title: str = ""
    reads: tuple[str, ...] = ()


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry in the annotation; `position` is the index of its layer in the manifest."""

    key: str
    layer: str
    diff_id: str
    variant: str
    created: float
    saved: float
    seconds: float = 0.0
    title: str = ""
    reads: tuple[str, ...] = ()
    position: int = 0


def belongs(entry: CacheEntry, parts: tuple[Part, ...]) -> bool:
    """Say whether an entry may stand for the step with these parts.

    A layer's id is the key of the step that made it, or begins like it (--no-cache). So an entry cannot
    pass its layer off as a layer of a base image or of another step.
    """
    if entry.layer[:32] == entry.key[:32]:
        return True
    try:
        return key_of(with_reads(parts, entry.reads))[:32] == entry.layer[:32]
    except ValueError:
        return False


def annotation_of(entries: Iterable[tuple[int, CacheEntry]]) -> str:
    """Return the annotation for entries with the positions of their layers."""
    lines = [
        _Line(
            entry.key,
            entry.layer,
            entry.blob.diff_id,
            entry.variant,
            entry.created,
            entry.saved,
            entry.seconds,
            entry.title,
            entry.reads,
            position,
        )
        for position, entry in entries
    ]
    return codec.encode(lines).decode()


def encode_entry(entry: CacheEntry, platform: Platform) -> tuple[ImageConfig, Manifest]:
    """Return the configuration and the manifest of an entry, deterministically."""
    created = rfc3339(entry.created)
    config = encode_config(
        ImageConfig(
            platform=platform,
            runtime=RuntimeConfig(),
            diff_ids=(entry.blob.diff_id,),
            history=(History(created=created, created_by=entry.title, comment="firkin cache"),),
            created=created,
        )
    )
    manifest = Manifest(
        media.OCI_MANIFEST,
        Descriptor(media.OCI_CONFIG, config.digest, len(config.raw)),
        (entry.blob.descriptor,),
        ((ANNOTATION, annotation_of(((0, entry),))),),
    )
    return config, encode_manifest(manifest)


def read_entries(manifest: Manifest) -> tuple[CacheEntry, ...]:
    """Return the entries in a manifest's annotation, none if it has no such annotation. Raises ValueError."""
    text = dict(manifest.annotations).get(ANNOTATION)
    if text is None:
        return ()
    lines = codec.decode(text.encode(), tuple[_Line, ...], "cache entry")
    return tuple(_entry(line, manifest) for line in lines)


def read_entry(manifest: Manifest, name: str) -> CacheEntry:
    """Return the one entry of a manifest that was found under a name; raises ValueError."""
    entries = read_entries(manifest)
    if len(entries) != 1 or len(manifest.layers) != 1:
        raise ValueError(f"it is no cache entry of firkin: {len(entries)} entries, {len(manifest.layers)} layers")
    if entries[0].key != name.removeprefix(MOUNT_PREFIX):
        raise ValueError(f"it says that it is `{entries[0].key}`")
    return entries[0]


def is_name(name: str) -> bool:
    """Say whether a text is the name of an entry."""
    return _is_key(name.removeprefix(MOUNT_PREFIX))


def _is_key(text: str) -> bool:
    return len(text) == 64 and _HEX.issuperset(text)


def _entry(line: _Line, manifest: Manifest) -> CacheEntry:
    """Return the entry of a line; raises ValueError for an invalid line."""
    if not _is_key(line.key) or not _is_key(line.layer):
        raise ValueError("its key or layer is not 64 hex digits")
    if not 0 <= line.position < len(manifest.layers):
        raise ValueError(f"it has no layer number {line.position}")
    found = manifest.layers[line.position]
    _check_layer(line, found)
    _check_facts(line)
    # Without the descriptor's urls and annotations, so that the blob can only come from the entry's place.
    descriptor = Descriptor(found.media_type, found.digest, found.size)
    title = "".join(char if char.isprintable() else " " for char in line.title[:_MAX_TITLE])
    return CacheEntry(
        CacheKey(line.key),
        line.layer,
        Layer(DiffID(parse_digest(line.diff_id)), descriptor),
        line.variant,
        line.created,
        line.saved,
        line.seconds,
        title,
        line.reads,
    )


def _check_layer(line: _Line, found: Descriptor) -> None:
    compression = media.layer_compression(found.media_type)
    if line.variant.count(":") < 2 or line.variant.partition(":")[0] != compression:
        raise ValueError(f"its variant `{line.variant[:40]}` does not fit the media type `{found.media_type}`")
    if not 0 < found.size <= MAX_LAYER_BYTES:
        raise ValueError(f"its layer has {found.size} bytes")


def _check_facts(line: _Line) -> None:
    if not all(math.isfinite(x) and 0 <= x < 1 << 36 for x in (line.created, line.saved, line.seconds)):
        raise ValueError("its times are none")
    if len(line.reads) > _MAX_READS or any(len(item) > 200 for item in line.reads):
        raise ValueError("it read too much")
