"""Joins images of several platforms under one name in their registry. Does I/O."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.errors import UsageError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient


def check_sources(target: Reference, sources: Iterable[Reference]) -> None:
    """Check that an index can be made of these; raises UsageError."""
    if target.digest is not None:
        raise UsageError(f"`{target}` has a digest; push to a tag")
    for source in sources:
        if source.name != target.name:
            raise UsageError(f"`{source}` is in another repository than `{target}`",
                             hints=("an index lists what its own repository has: push the image there",))  # fmt: skip


def push_index(client: RegistryClient, target: Reference, sources: Iterable[Reference]) -> Digest:
    """Push an index of the images that the sources mean, all in the target's repository; return its digest.

    Raises UsageError when two different images have the same platform.
    """
    entries = tuple(entry for source in sources for entry in _entries(client, source))
    _refuse_equal(entries)
    family: media.Family = "docker" if all("docker" in entry.media_type for entry in entries) else "oci"
    index = encode_index(Index(media.index_media_type(family), entries))
    return client.push_manifest(target, index.raw, index.media_type)


def _entries(client: RegistryClient, source: Reference) -> tuple[Descriptor, ...]:
    """Return the images that a name means, each with its platform."""
    document = client.get_manifest(source)
    if isinstance(document, Index):
        return document.manifests
    platform = client.get_config(source, document).platform
    return (msgspec.structs.replace(document.descriptor, platform=platform),)


def _refuse_equal(entries: tuple[Descriptor, ...]) -> None:
    seen: dict[str, Descriptor] = {}
    for entry in entries:
        platform = str(entry.platform)
        other = seen.setdefault(platform, entry)
        if other.digest != entry.digest and entry.platform is not None and entry.platform.os != "unknown":
            raise UsageError(f"two images are for {platform}: {other.digest} and {entry.digest}")
