"""What `firkin manifest inspect` shows: a list of the store, or a manifest or index of a registry. Does I/O.

Mirrors: docker/cli cli/command/manifest/inspect.go and distribution manifest/manifestlist (keys, their order, blanks).
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from firkin.errors import RegistryError, UsageError
from firkin.images.joining import find_entries, no_list
from firkin.images.manifest_lists import Entry, read_list
from firkin.images.progress import Transfer
from firkin.oci import media
from firkin.oci.codec import readable
from firkin.oci.manifest import Index
from firkin.oci.reference import Reference, parse_reference

_LIST_BLANKS = 3
_KEYS = ("mediaType", "size", "digest", "urls", "annotations", "platform")


def describe_manifest(transfer: Transfer, name: Reference, *, verbose: bool = False) -> str:
    """Return the JSON of a list of the store, else of the manifest or index that the name means in its registry.

    `verbose` adds names, descriptors and raw bytes of each image. Raises RegistryError, StoreError.
    """
    known = read_list(transfer.store, name)
    if known is not None:
        return _verbose(list(known.entries)) if verbose else known.index.raw.decode()
    document = transfer.client.find_manifest(name, mirrors=True)
    if document is None:
        raise RegistryError(f"no such manifest: {name.familiar}", code="registry-missing")
    if verbose:
        entries = list(find_entries(transfer, name, lambda code, text: None))
        return _verbose(entries) if isinstance(document, Index) else _tabbed(_entry(entries[0]))
    if isinstance(document, Index):
        return _index(document)
    return _tabbed(msgspec.Raw(readable(document.raw)))


def describe_entry(transfer: Transfer, list_name: Reference, name: Reference, *, verbose: bool = False) -> str:
    """Return the JSON of one image of a list of the store. Raises UsageError."""
    known = read_list(transfer.store, list_name)
    if known is None:
        raise no_list(list_name)
    for entry in known.entries:
        if entry.name == str(name):
            return _tabbed(_entry(entry)) if verbose else _tabbed(msgspec.Raw(readable(entry.raw)))
    raise UsageError(f"No such manifest: {name.familiar} in {list_name.familiar}", code="no-manifest")


def _index(index: Index) -> str:
    """Return an index as docker writes it again: the keys that it knows, in its order."""
    children = msgspec.json.decode(readable(index.raw))["manifests"]
    listed = [{key: child[key] for key in _KEYS if child.get(key) is not None} for child in children]
    document = {"schemaVersion": 2, "mediaType": index.media_type, "manifests": listed}
    return msgspec.json.format(msgspec.json.encode(document), indent=_LIST_BLANKS).decode()


def _verbose(entries: list[Entry]) -> str:
    return _tabbed(list(map(_entry, entries)))


def _entry(entry: Entry) -> dict[str, Any]:
    descriptor = {
        "mediaType": entry.media_type, "digest": entry.digest, "size": len(entry.raw), "platform": entry.platform,
    }  # fmt: skip
    kind = "SchemaV2Manifest" if entry.media_type == media.DOCKER_MANIFEST else "OCIManifest"
    return {
        "Ref": parse_reference(entry.name).familiar,
        "Descriptor": descriptor,
        "Raw": base64.b64encode(entry.raw).decode(),
        kind: msgspec.Raw(readable(entry.raw)),
    }


def _tabbed(value: object) -> str:
    """Return a value as JSON indented by tabs."""
    lines = msgspec.json.format(msgspec.json.encode(value), indent=1).decode().split("\n")
    return "\n".join("\t" * (len(line) - len(line.lstrip(" "))) + line.lstrip(" ") for line in lines)
