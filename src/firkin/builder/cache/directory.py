"""A cache in a directory: an OCI image layout with the manifests of entries by name. Does I/O. See `cache`.

index.json lists the entries under `org.opencontainers.image.ref.name`. Blobs appear under their digest
when they are complete. The list is read, extended and replaced under a lock, so that builds that run at
the same time keep each other's entries. Spec: image-spec image-layout.md.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from firkin.builder.cache.entry import CacheEntry, encode_entry, is_name, read_entry
from firkin.errors import StoreError
from firkin.linux.files import open_named, read_named
from firkin.oci import media
from firkin.oci.codec import MAX_DOCUMENT_BYTES
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, finish, new_hasher
from firkin.oci.manifest import Index, Manifest, encode_index, parse_manifest
from firkin.oci.platform import Platform
from firkin.store.layout import locked, store_error, write_atomically

REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 1 << 20
_GRACE_S = 3600.0
"""A blob without an entry may belong to a running build, so it is kept for this time."""


class DirectoryCache:
    """Entries in the directory `path`, which `add` makes if it is missing."""

    def __init__(self, path: str, platform: Platform) -> None:
        self._path = path
        self._platform = platform
        self._lock = threading.Lock()
        self._known: dict[str, Descriptor] | None = None
        self._added: dict[str, Descriptor] = {}

    @property
    def shown(self) -> str:
        """The directory."""
        return self._path

    @property
    def origin(self) -> str:
        """Where blobs come from, in the form of `graph.ops.Pull`."""
        return f"oci-layout://{self._path}@"

    def exists(self) -> bool:
        """Say whether there is a cache at the path."""
        return _size(f"{self._path}/index.json") >= 0

    def find(self, name: str) -> CacheEntry | None:
        """Return an entry. Raises StoreError, and ValueError for one that is refused."""
        with self._lock:
            if self._known is None:
                self._known = _by_name(self._read_index())
            descriptor = self._added.get(name) or self._known.get(name)
        if descriptor is None:
            return None
        if descriptor.media_type not in media.MANIFESTS or descriptor.size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"it is `{descriptor.media_type}` of {descriptor.size} bytes")
        if _size(self._blob(descriptor.digest)) < 0:
            return None
        manifest = parse_manifest(b"".join(self.open_blob(descriptor)), descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise ValueError("it is an index")
        entry = read_entry(manifest, name)
        blob = entry.blob.descriptor
        return entry if _size(self._blob(blob.digest)) == blob.size else None

    def open_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Yield a blob's bytes; raises StoreError if it is missing, and in the end ValueError for wrong bytes."""
        hasher = new_hasher(descriptor.digest.partition(":")[0])
        size = 0
        try:
            file = open(open_named(self._blob(descriptor.digest)), "rb")
        except OSError as error:
            raise store_error(f"cannot read the cache {self._path}", error) from error
        with file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
                size += len(chunk)
                if size > descriptor.size:
                    break
                yield chunk
        if size != descriptor.size or finish(hasher) != descriptor.digest:
            raise ValueError(f"blob {descriptor.digest} in {self._path} is damaged")

    def add(self, name: str, entry: CacheEntry, open_blob: Callable[[], BinaryIO], near: str) -> None:
        """Write an entry's blobs; `close` lists it. Raises StoreError."""
        config, manifest = encode_entry(entry, self._platform)
        try:
            os.makedirs(f"{self._path}/blobs/sha256", exist_ok=True)
            self._copy(entry.blob.descriptor, open_blob)
            self._put(manifest.config.digest, config.raw)
            self._put(manifest.digest, manifest.raw)
        except OSError as error:
            raise store_error(f"cannot write the cache {self._path}", error) from error
        with self._lock:
            self._added[name] = msgspec.structs.replace(manifest.descriptor, annotations=((REF_NAME, name),))

    def close(self) -> None:
        """List what was added, all at once, beside what others added meanwhile."""
        with self._lock:
            added, self._added, self._known = self._added, {}, None
        if added:
            self._change(lambda item: _name(item) not in added, tuple(added.values()))

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""
        return tuple(name for name in _by_name(self._read_index()) if is_name(name))

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove entries, and every blob that no entry needs and that is too old to belong to a running build."""
        gone = frozenset(names)
        self._known = None
        self._change(lambda item: _name(item) not in gone, ())
        needed = set()
        for descriptor in self._read_index().manifests:
            needed.add(descriptor.digest)
            manifest = parse_manifest(b"".join(self.open_blob(descriptor)), descriptor.media_type)
            if isinstance(manifest, Manifest):
                needed |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        base = f"{self._path}/blobs/sha256"
        limit = time.time() - _GRACE_S
        for item in os.listdir(base):
            path = f"{base}/{item}"
            if f"sha256:{item}" not in needed and os.stat(path).st_mtime < limit:
                os.unlink(path)

    def _change(self, keeps: Callable[[Descriptor], bool], added: tuple[Descriptor, ...]) -> None:
        try:
            with locked(f"{self._path}/index.lock"):
                listed = (*filter(keeps, self._read_index().manifests), *added)
                raw = encode_index(Index(media.OCI_INDEX, listed)).raw
                while len(raw) > MAX_DOCUMENT_BYTES:  # the oldest come first; remove them
                    listed = listed[len(listed) // 10 + 1 :]
                    raw = encode_index(Index(media.OCI_INDEX, listed)).raw
                write_atomically(f"{self._path}/oci-layout", _LAYOUT, self._path)
                write_atomically(f"{self._path}/index.json", raw, self._path)
        except OSError as error:
            raise store_error(f"cannot write the cache {self._path}", error) from error

    def _read_index(self) -> Index:
        path = f"{self._path}/index.json"
        try:
            document = _parse_index(read_named(path, MAX_DOCUMENT_BYTES), path)
        except (FileNotFoundError, NotADirectoryError):
            return Index(media.OCI_INDEX, ())
        except OSError as error:
            raise store_error(f"cannot read the cache {self._path}", error) from error
        except ValueError as error:
            raise StoreError(
                f"{path} is no list of a cache: {error}", code="cache-directory", hints=("choose an empty directory",)
            ) from error
        return document

    def _blob(self, digest: Digest) -> str:
        algorithm, _, value = digest.partition(":")
        return f"{self._path}/blobs/{algorithm}/{value}"

    def _copy(self, descriptor: Descriptor, open_blob: Callable[[], BinaryIO]) -> None:
        place = self._blob(descriptor.digest)
        if _size(place) == descriptor.size:
            os.utime(place)  # it is about to be listed: keep `remove` off it
            return
        temporary = f"{place}.{secrets.token_hex(6)}"
        hasher = new_hasher(descriptor.digest.partition(":")[0])
        try:
            with open_blob() as source, open(temporary, "wb") as target:
                while chunk := source.read(_CHUNK):
                    hasher.update(chunk)
                    target.write(chunk)
            if finish(hasher) != descriptor.digest:
                raise StoreError(f"blob {descriptor.digest} in the store is damaged", code="blob-damaged")
            os.rename(temporary, place)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def _put(self, digest: Digest, data: bytes) -> None:
        place = self._blob(digest)
        if _size(place) == len(data):
            os.utime(place)
            return
        write_atomically(place, data, f"{self._path}/blobs")


def _parse_index(raw: bytes, what: str) -> Index:
    document = parse_manifest(raw, media.OCI_INDEX, what)
    if not isinstance(document, Index):
        raise ValueError("it is no index")
    return document


def _by_name(index: Index) -> dict[str, Descriptor]:
    return {_name(item): item for item in index.manifests}


def _name(item: Descriptor) -> str:
    return dict(item.annotations).get(REF_NAME, "")


def _size(path: str) -> int:
    """Return the size of a file; -1 if it is missing or no file: other programs may have written the cache."""
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1
