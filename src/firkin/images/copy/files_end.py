"""What archives, layouts and directories have in common as ends: blobs are files. Does I/O."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from types import TracebackType
from typing import BinaryIO

from firkin.errors import UsageError
from firkin.images.archive import output_file
from firkin.images.archive_reader import Files
from firkin.images.copy.blobs import BlobReader, FileChunks
from firkin.images.copy.documents import reading
from firkin.images.copy.ends import Chunks, Document, Outcome, Wanted
from firkin.oci.descriptor import Descriptor
from firkin.oci.reference import Reference
from firkin.tasks.cancel import Cancel


class FilesSource:
    """An image whose blobs are files; `what` names the place in errors."""

    reference: Reference | None = None

    def __init__(self, what: str, files: Files) -> None:
        self._what = what
        self._files = files

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def _place_of(self, blob: Descriptor) -> str:
        """Return the name of a blob's file."""
        return blob_path(blob)

    def has(self, blob: Descriptor) -> bool:
        """Say whether there is a file for a blob."""
        file = self._open(blob)
        if file is not None:
            file.close()
        return file is not None

    def open(self, blob: Descriptor) -> Chunks:
        """Open a blob. Raises UsageError if it is missing."""
        file = self._open(blob)
        if file is None:
            raise UsageError(f"{self._what} lacks the blob {blob.digest}", code="copy-missing")
        return FileChunks(file, blob, self._what)

    def _open(self, blob: Descriptor) -> BinaryIO | None:
        with reading(self._what):
            return self._files.open(self._place_of(blob))


class FilesTarget(ABC):
    """A directory that gets blobs as files. What arrived stays, and is found when the copy is tried again."""

    parallel = True
    checks_layers = False
    keeps_digest_names = False

    def __init__(self, path: str, cancel: Cancel) -> None:
        self._path = path
        self._cancel = cancel

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every file appeared when it was complete."""

    @abstractmethod
    def _place_of(self, item: Descriptor) -> str:
        """Return the path of a blob's file; the directory that it is in exists."""

    def complete(self, document: Document) -> bool:
        """Blobs are looked for one by one, which costs little here."""
        return False

    def put_blob(self, wanted: Wanted) -> Outcome:
        """Write a blob beside its place, then rename it."""
        path = self._place_of(wanted.blob)
        if size_of(path) == wanted.blob.size:
            return "exists"
        with BlobReader(wanted.open, wanted.blob.size, self._cancel, wanted.moved) as reader:
            with output_file(path, None) as file:
                while chunk := reader.read():
                    file.write(chunk)
        return "pushed"


def blob_path(item: Descriptor) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/{item.digest.replace(':', '/')}"


def size_of(path: str) -> int:
    """Return the size of a file, -1 if there is none."""
    try:
        status = os.stat(path)
        return status.st_size if stat.S_ISREG(status.st_mode) else -1
    except (FileNotFoundError, NotADirectoryError):
        return -1
