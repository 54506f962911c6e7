"""Joins images of several platforms under one name: creates, changes and pushes lists of manifests. Does I/O.

An image comes from its registry. One that the registry does not have is taken from the store, and sent when the list is
pushed. Images of other repositories of the target's registry are mounted there. Mirrors: docker/cli command/manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from firkin.errors import RegistryError, StoreError, UsageError
from firkin.images.bring import bring_blobs
from firkin.images.find import find_image
from firkin.images.manifest_lists import (
    Entry,
    EntryPlatform,
    ManifestList,
    read_list,
    remove_list,
    write_list,
)
from firkin.images.outgoing import outgoing
from firkin.images.progress import Transfer
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference, parse_reference
from firkin.store.store import Store

Warn = Callable[[str, str], None]


def create_list(
    transfer: Transfer, name: Reference, sources: Iterable[Reference], warn: Warn, *, amend: bool = False
) -> ManifestList:
    """Begin a list of the images that `sources` mean, or (`amend`) add them to one; keep it in the store.

    An index counts for all of its images. Raises UsageError for a list that exists, RegistryError, StoreError.
    """
    known = read_list(transfer.store, name)
    if known is not None and not amend:
        raise UsageError("refusing to amend an existing manifest list with no --amend flag", code="manifest-exists")
    entries = [entry for source in sources for entry in find_entries(transfer, source, warn)]
    made = (known or ManifestList(str(name))).with_entries(entries)
    write_list(transfer.store, made)
    return made


def annotate_list(store: Store, name: Reference, image: Reference, platform: EntryPlatform) -> ManifestList:
    """Change the platform of an image in a list: the fields that are not empty. Raises UsageError, StoreError."""
    known = read_list(store, name)
    wanted = {str(image), str(msgspec.structs.replace(image, tag=""))}
    entries = [entry for entry in known.entries if entry.name in wanted] if known is not None else []
    if known is None or not entries:
        raise UsageError(
            f"manifest for image {image.familiar} does not exist in {name.familiar}", code="manifest-missing"
        )
    given = {field: value for field, value in msgspec.structs.asdict(platform).items() if value}
    changed = [
        msgspec.structs.replace(entry, platform=msgspec.structs.replace(entry.platform, **given)) for entry in entries
    ]
    made = known.with_entries(changed)
    write_list(store, made)
    return made


def push_list(
    transfer: Transfer, name: Reference, pushed: Callable[[Reference], None], *, purge: bool = False
) -> Digest:
    """Push the images of a list and then the list, under its name; return its digest.

    `pushed` is called with each image's name there. `purge` removes the list from the store when it is pushed. Raises
    UsageError when there is no such list, an image has no platform, or lies in another registry.
    """
    found = read_list(transfer.store, name)
    if found is None:
        raise no_list(name)
    for entry in found.entries:
        _check(entry, name)
    for entry in found.entries:
        exact = name.pinned(entry.digest)
        source = None if entry.local else parse_reference(entry.name)
        bring_blobs(transfer, _blobs_of(entry), source, name)
        transfer.client.push_manifest(exact, entry.raw, entry.media_type)
        pushed(exact)
    index = found.index
    digest = transfer.client.push_manifest(name, index.raw, index.media_type)
    if purge:
        remove_list(transfer.store, name)
    return digest


def no_list(name: Reference) -> UsageError:
    """Return the error for a list that is not in the store."""
    return UsageError(f"No such manifest: {name.familiar}", code="no-manifest")


def find_entries(transfer: Transfer, source: Reference, warn: Warn) -> tuple[Entry, ...]:
    """Return the images that a name means: as its registry has it, else as the store has it. Raises RegistryError.

    When both have it and differ, the registry's counts, and `warn` is told.
    """
    here = transfer.store.images.find(source)
    try:
        document = transfer.client.find_manifest(source, mirrors=True)
    except RegistryError:
        if here is None:
            raise
        document = None
    if document is None:
        if here is None:
            raise RegistryError(f"no such manifest: {source.familiar}", code="registry-missing")
        return _stored(transfer.store, source)
    if here is not None and here.digest != document.digest:
        warn(
            "manifest-differs",
            f"{source.familiar} is {document.digest} in its registry, which counts, and {here.digest} in the store; "
            "push it first if that is meant",
        )
    return _fetched(transfer, source, document)


def _fetched(transfer: Transfer, source: Reference, document: Manifest | Index) -> tuple[Entry, ...]:
    if isinstance(document, Manifest):
        platform = transfer.client.get_config(source, document).platform
        return (_entry(str(source), document.descriptor, document.raw, platform),)
    entries = []
    for child in document.manifests:
        exact = msgspec.structs.replace(source, digest=child.digest)
        inner = transfer.client.get_manifest(exact)
        if isinstance(inner, Index):
            raise UsageError(f"{source.familiar} is an index of indexes", code="manifest-nested")
        platform = child.platform or transfer.client.get_config(exact, inner).platform
        entries.append(_entry(str(exact), child, inner.raw, platform))
    return tuple(entries)


def _stored(store: Store, source: Reference) -> tuple[Entry, ...]:
    content = outgoing(store, find_image(store, str(source)))
    root = parse_manifest(content.raw, content.root.media_type)
    listed = {item.digest: item for item in root.manifests} if isinstance(root, Index) else {}
    entries = []
    for descriptor, raw in content.manifests or content.documents:
        manifest = parse_manifest(raw, descriptor.media_type)
        if isinstance(manifest, Index):
            raise UsageError(f"{source.familiar} is an index of indexes", code="manifest-nested")
        item = listed.get(descriptor.digest, descriptor)
        platform = item.platform or _platform_here(store, manifest)
        name = str(source) if not listed else str(msgspec.structs.replace(source, digest=item.digest))
        kept = tuple((blob.digest, blob.size, blob.media_type) for blob in (manifest.config, *manifest.layers))
        entries.append(msgspec.structs.replace(_entry(name, item, raw, platform), local=True, kept=kept))
    return tuple(entries)


def _platform_here(store: Store, manifest: Manifest) -> Platform:
    try:
        return parse_config(store.blobs.read(manifest.config.digest)).platform
    except ValueError as error:
        raise StoreError(f"image {manifest.digest} in the store is damaged: {error}", code="image-damaged") from error


def _entry(name: str, item: Descriptor, raw: bytes, platform: Platform) -> Entry:
    known = EntryPlatform(
        platform.architecture, platform.os, platform.os_version, platform.os_features, platform.variant
    )
    return Entry(name, item.media_type, item.digest, raw, known, item.annotations)


def _check(entry: Entry, target: Reference) -> None:
    source = parse_reference(entry.name)
    if not (entry.platform.os and entry.platform.architecture):
        raise UsageError(
            f"manifest {source.familiar} must have an OS and Architecture to be pushed to a registry",
            code="manifest-platform", hints=("annotate it in the list first",),
        )  # fmt: skip
    if source.registry != target.registry and not entry.local:
        raise UsageError(
            f"cannot use source images from a different registry than the target image: {source.registry} != "
            f"{target.registry}", code="manifest-registry", hints=("pull the image first, or copy it there",),
        )  # fmt: skip


def _blobs_of(entry: Entry) -> tuple[Descriptor, ...]:
    if entry.local:
        return entry.blobs
    document = parse_manifest(entry.raw, entry.media_type)
    assert isinstance(document, Manifest)
    return (document.config, *document.layers)
