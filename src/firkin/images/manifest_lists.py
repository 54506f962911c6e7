"""Lists of manifests that `firkin manifest create` began and nobody has pushed yet, kept in the store. Does I/O.

A list is a JSON document, kept as a blob. A reference (store/references.py) of the kind `manifest-list` and with the
list's name has it as its first blob, and after it the blobs of those images that come from the store: garbage
collection spares them until the list is removed. docs/dev/store.md has the format.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.decode import decode_json
from firkin.errors import StoreError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, PairMap, parse_manifest
from firkin.oci.reference import Reference
from firkin.store.references import StoreReference, register, registered, release
from firkin.store.store import Store

KIND = "manifest-list"
_VERSION = 1


class EntryPlatform(
    msgspec.Struct, frozen=True, omit_defaults=True,
    rename={"os_version": "os.version", "os_features": "os.features"},
):  # fmt: skip
    """A platform as a list has it, spelt as the user wrote it. The fields are in docker's order."""

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    variant: str = ""


class Entry(msgspec.Struct, frozen=True):
    """An image of a list. `name` is what it was given by, `raw` are the bytes of its manifest.

    `local`: it comes from the store, and a push sends it. `kept` are then its blobs.
    """

    name: str
    media_type: str
    digest: Digest
    raw: bytes
    platform: EntryPlatform
    annotations: PairMap = ()
    local: bool = False
    kept: tuple[tuple[Digest, int, str], ...] = ()  # digest, size, media type

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the blobs in the store that a push of a local image sends."""
        return tuple(Descriptor(kind, digest, size) for digest, size, kind in self.kept)


class ManifestList(msgspec.Struct, frozen=True):
    """A list: `name` is canonical, the entries are sorted as docker sorts them."""

    name: str
    entries: tuple[Entry, ...] = ()
    version: int = _VERSION

    @property
    def index(self) -> Index:
        """Return the index that a push puts under the name. Mirrors: distribution manifest/manifestlist."""
        all_docker = all("docker" in entry.media_type for entry in self.entries)
        kind = media.index_media_type("docker" if all_docker else "oci")
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry_json(item) for item in self.entries]}
        raw = msgspec.json.format(msgspec.json.encode(document), indent=3)
        index = parse_manifest(raw, kind)
        assert isinstance(index, Index)
        return index

    def with_entries(self, entries: Iterable[Entry]) -> ManifestList:
        """Return the list with more entries; one that was there by the same name is replaced."""
        known = {entry.name: entry for entry in self.entries} | {entry.name: entry for entry in entries}
        return msgspec.structs.replace(self, entries=tuple(sorted(known.values(), key=_file_name)))


def entry_json(entry: Entry) -> dict[str, object]:
    """Return the descriptor of an entry, its keys in the order of docker's lists."""
    document: dict[str, object] = {"mediaType": entry.media_type, "size": len(entry.raw), "digest": entry.digest}
    if entry.annotations:
        document["annotations"] = dict(entry.annotations)
    document["platform"] = entry.platform
    return document


def read_list(store: Store, name: Reference) -> ManifestList | None:
    """Return a list, None if there is none of the name. Raises StoreError."""
    for reference in registered(store):
        if (reference.kind, reference.name) == (KIND, str(name)):
            try:
                found = decode_json(store.blobs.read(reference.blobs[0]), ManifestList)
                if found.version == _VERSION:
                    return found
                why = f"its version is {found.version}"
            except (IndexError, msgspec.MsgspecError) as error:
                why = str(error)
            raise StoreError(
                f"the manifest list {name.familiar} is damaged: {why}", code="manifest-list",
                hints=("remove it and create it again",),
            )  # fmt: skip
    return None


def write_list(store: Store, list: ManifestList) -> None:
    """Keep a list; it replaces one of the same name. Raises StoreError when a blob of a local image is gone."""
    raw = msgspec.json.encode(list)
    document = store.blobs.put(raw)
    store.records.add_blob(document, len(raw))
    kept = dict.fromkeys(digest for entry in list.entries for digest, _, _ in entry.kept)
    register(store, StoreReference(KIND, list.name, (), (document, *kept)))


def remove_list(store: Store, name: Reference) -> bool:
    """Remove a list; say whether there was one."""
    known = any((reference.kind, reference.name) == (KIND, str(name)) for reference in registered(store))
    release(store, KIND, str(name))
    return known


def _file_name(entry: Entry) -> str:
    """Return what docker sorts by: the name of the file that it keeps an entry in. Mirrors: cli/manifest/store."""
    return entry.name.replace(":", "-").replace("/", "_")
