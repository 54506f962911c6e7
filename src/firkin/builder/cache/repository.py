"""Caches in registries: a repository with a tag for each entry, and images that carry a cache. Does I/O. See `cache`.

Each entry has a tag of its own, so that many builds can add to one repository without overwriting each
other's entries, and a look-up is one GET. If the reference has a tag, that is the prefix of these tags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from firkin.builder.cache.entry import CacheEntry, encode_entry, is_name, read_entries, read_entry
from firkin.errors import RegistryError, UsageError
from firkin.oci.manifest import Index, Manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

_MAX_TAG = 128
_LONGEST_NAME = 70  # `mount-` and 64 digits
_MAX_MANIFESTS = 32


class RepositoryCache:
    """Entries under the tags of one repository; `text` is `NAME` or `NAME:PREFIX`."""

    def __init__(self, text: str, client: Callable[[], RegistryClient], platform: Platform) -> None:
        reference = parse_cache_reference(text)
        self._reference = Reference(reference.registry, reference.repository)
        self._prefix = f"{reference.tag}-" if reference.tag else ""
        self._client = client
        self._platform = platform

    @property
    def shown(self) -> str:
        """The repository, with the prefix of its tags."""
        return f"{self._reference.familiar}:{self._prefix}*" if self._prefix else self._reference.familiar

    @property
    def origin(self) -> str:
        """Where blobs come from, in the form of `graph.ops.Pull`."""
        return f"docker-image://{self._reference.name}@"

    def find(self, name: str) -> CacheEntry | None:
        """Return an entry: one GET. Raises RegistryError, and ValueError for an invalid entry."""
        document = self._client().find_manifest(self._tagged(name))
        if document is None:
            return None
        if not isinstance(document, Manifest):
            raise ValueError("it is an index")
        return read_entry(document, name)

    def add(self, name: str, entry: CacheEntry, open_blob: Callable[[], BinaryIO], near: str) -> None:
        """Push an entry: layer, configuration, manifest."""
        client = self._client()
        config, manifest = encode_entry(entry, self._platform)
        mount_from = ""
        scheme, _, rest = near.partition("://")
        if scheme == "docker-image":
            mount_from = client.mount_source(self._reference, parse_reference(rest.rpartition("@")[0]))
        client.push_blob(self._reference, entry.blob.descriptor, open_blob, mount_from=mount_from)
        client.push_blob(self._reference, manifest.config, lambda: BytesIO(config.raw), check=False)
        client.push_manifest(self._tagged(name), manifest.raw, manifest.media_type)

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""
        tags = self._client().list_tags(self._reference)
        names = (tag.removeprefix(self._prefix) for tag in tags if tag.startswith(self._prefix))
        return tuple(name for name in names if is_name(name))

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove entries; raises RegistryError if the registry does not allow that."""
        client = self._client()
        for name in names:
            digest = client.manifest_digest(self._tagged(name))
            if digest is None:
                continue
            try:
                client.delete(Reference(self._reference.registry, self._reference.repository, "", digest))
            except RegistryError as error:
                if error.status not in (405, 400, 501):
                    raise
                raise RegistryError(
                    f"`{self._reference.registry}` does not delete manifests",
                    code="cache-delete",
                    hints=(
                        "allow it there (docker-registry: `storage.delete.enabled: true`), "
                        "or let the registry expire the tags of this repository by itself",
                    ),
                    status=error.status,
                ) from error

    def close(self) -> None:
        """There is nothing to do: `add` makes entries visible at once."""

    def _tagged(self, name: str) -> Reference:
        return Reference(self._reference.registry, self._reference.repository, self._prefix + name)


class ImageCache:
    """The entries in an image's annotation (type=inline); read once, when the first is asked for."""

    def __init__(self, text: str, client: Callable[[], RegistryClient]) -> None:
        self._reference = parse_cache_reference(text, "latest")
        self._client = client
        self._lock = threading.Lock()
        self._entries: dict[str, CacheEntry] | None = None

    @property
    def shown(self) -> str:
        """The image's name."""
        return self._reference.familiar

    @property
    def origin(self) -> str:
        """Where blobs come from, in the form of `graph.ops.Pull`."""
        return f"docker-image://{self._reference.name}@"

    def find(self, name: str) -> CacheEntry | None:
        """Return an entry; sends at most one GET for the image and each platform. Raises RegistryError, ValueError."""
        with self._lock:
            if self._entries is None:
                self._entries = {}
                self._entries = {entry.key: entry for entry in self._read(self._reference, 0)}
            return self._entries.get(name)

    def _read(self, reference: Reference, depth: int) -> tuple[CacheEntry, ...]:
        document = self._client().find_manifest(reference)
        if document is None:
            return ()
        if isinstance(document, Index):
            if depth:
                return ()
            parts = (
                Reference(reference.registry, reference.repository, "", item.digest)
                for item in document.manifests[:_MAX_MANIFESTS]
            )
            return tuple(entry for part in parts for entry in self._read(part, depth + 1))
        return read_entries(document)


def parse_cache_reference(text: str, default_tag: str = "") -> Reference:
    """Read the reference of a cache; raises UsageError."""
    try:
        reference = parse_reference(text, default_tag)
    except ValueError as error:
        raise UsageError(f"cache `{text}`: {error}") from None
    if reference.digest is not None:
        raise UsageError(f"cache `{text}`: a digest names no place to look in")
    if len(reference.tag) + 1 + _LONGEST_NAME > _MAX_TAG:
        raise UsageError(f"cache `{text}`: its tag is longer than {_MAX_TAG - 1 - _LONGEST_NAME} characters")
    return reference
