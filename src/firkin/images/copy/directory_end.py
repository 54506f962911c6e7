"""Directories of `skopeo copy … dir:`, as source and as target. Does I/O.

`manifest.json`, the manifests of an index as `<hex>.manifest.json`, blobs as `<hex>`, and a file `version`.
Mirrors: containers/image directory.
"""

from __future__ import annotations

import os

from firkin.errors import UsageError
from firkin.images.archive import output_error, output_file
from firkin.images.archive_reader import open_directory
from firkin.images.copy.documents import read_document, read_small, reading
from firkin.images.copy.ends import Document
from firkin.images.copy.files_end import FilesSource, FilesTarget
from firkin.linux.beneath import Beneath
from firkin.linux.files import write_beside
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import parse_manifest
from firkin.oci.reference import Reference

_VERSION = b"Directory Transport Version: 1.1\n"


def _is_ours(path: str) -> bool:
    with Beneath(path) as root:
        return root.read("version", len(_VERSION)).startswith(_VERSION.partition(b":")[0])


def _name(item: Descriptor) -> str:
    algorithm, _, value = item.digest.partition(":")
    return value if algorithm == "sha256" else f"{algorithm}-{value}"


class DirectorySource(FilesSource):
    """The image in a directory."""

    whole = False

    def __init__(self, path: str) -> None:
        if not os.path.isdir(path):
            raise UsageError(f"{path} is no directory")
        super().__init__(path, open_directory(path))

    def __enter__(self) -> DirectorySource:
        return self

    def root(self) -> Document:
        """Return manifest.json. Raises ContextError when it is missing or damaged."""
        with reading(self._what):
            raw = read_small(self._files.open, "manifest.json")
            if raw is None:
                raise ValueError("manifest.json is missing")
            return parse_manifest(raw, "", "manifest.json")

    def document(self, item: Descriptor) -> Document | None:
        """Return what an index lists, None if it is absent."""
        with reading(self._what):
            return read_document(self._files.open, f"{_name(item)}.manifest.json", item)

    def _place_of(self, blob: Descriptor) -> str:
        return _name(blob)


class DirectoryTarget(FilesTarget):
    """A directory that holds one image; an earlier one in it loses its manifest, its blobs stay."""

    def __enter__(self) -> DirectoryTarget:
        try:
            os.makedirs(self._path, exist_ok=True)
            if os.listdir(self._path) and not _is_ours(self._path):
                raise UsageError(f"{self._path} holds something else than an image", code="output",
                                 hints=("choose an empty directory",))  # fmt: skip
            write_beside(f"{self._path}/version", _VERSION)
        except OSError as error:
            raise output_error(self._path, error) from error
        return self

    def _place_of(self, item: Descriptor) -> str:
        return f"{self._path}/{_name(item)}"

    def put_document(self, document: Document) -> None:
        """Write a manifest of an index."""
        self._write(f"{_name(document.descriptor)}.manifest.json", document)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Write manifest.json; names have no place here."""
        self._write("manifest.json", root)

    def _write(self, name: str, document: Document) -> None:
        with output_file(f"{self._path}/{name}", None) as file:
            file.write(document.raw)
