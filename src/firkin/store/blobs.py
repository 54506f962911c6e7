"""Content-addressed blobs of the store's OCI image layout. Does I/O.

A blob is written beside its place, verified as it passes, and renamed to its digest.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.oci.digest import Digest, digest_of, has_digest
from firkin.store.layout import StoreLayout, store_error


class BlobWriter:
    """A blob being written: `write`, then `commit` (with its digest) or `abort`."""

    def __init__(self, blobs: Blobs, path: str) -> None:
        self._blobs = blobs
        self._path = path
        self._file = open(path, "xb", buffering=0)
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes; raises StoreError, e.g. when the disk is full."""
        view = memoryview(data)
        try:
            while view:
                written = self._file.write(view)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise store_error("cannot write a blob", error) from error
        return len(data)

    def end(self) -> None:
        """Close the file of a blob that is kept aside for now; `reopen`, `commit` or `abort` follow."""
        self._file.close()

    def reopen(self) -> BinaryIO:
        """Open what was written for reading."""
        return open(self._path, "rb", buffering=0)

    def commit(self, digest: Digest) -> None:
        """Put the blob in its place. The caller computed `digest` over what was written. Raises StoreError."""
        try:
            self._file.close()
            os.chmod(self._path, 0o644)
            # An existing blob is replaced: it may be cut short, or old enough for `firkin prune` to remove it now.
            os.rename(self._path, self._blobs.path(digest))
            self._path = ""
        except OSError as error:
            raise store_error("cannot keep a blob", error) from error

    def abort(self) -> None:
        """Drop what was written. Does nothing after a commit."""
        self._file.close()
        if self._path and os.path.exists(self._path):
            os.unlink(self._path)


class Blobs:
    """The blobs of one store."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout

    def path(self, digest: Digest) -> str:
        """Return the path of the blob, whether it is there or not."""
        return self._layout.blob_path(digest)

    def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes, or None if it is not here."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def new(self) -> BlobWriter:
        """Start a new blob. Raises StoreError."""
        try:
            return BlobWriter(self, self._layout.scratch_path("blob"))
        except OSError as error:
            raise store_error("cannot write a blob", error) from error

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; raises StoreError if it is not here."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise StoreError(
                f"blob {digest} is missing from the store",
                code="blob-missing",
                hints=(Hint.of("no-cache-or-pull"),),
            ) from None

    def read(self, digest: Digest) -> bytes:
        """Read a small blob as a whole and verify it. Raises StoreError."""
        with self.open(digest) as file:
            data = file.read()
        if not has_digest(data, digest):
            raise StoreError(
                f"blob {digest} in the store is damaged",
                code="blob-damaged",
                hints=(f"remove {self.path(digest)} and build again",),
            )
        return data

    def put(self, data: bytes) -> Digest:
        """Keep a small blob (a manifest, a configuration) and return its digest."""
        digest = digest_of(data)
        if self.size(digest) == len(data):
            try:
                os.utime(self.path(digest))  # `firkin prune` spares what was used now
                return digest
            except FileNotFoundError:
                pass  # `firkin prune` removed it just before
        writer = self.new()
        try:
            writer.write(data)
            writer.commit(digest)
        finally:
            writer.abort()
        return digest
