"""OCI layouts, in a directory or a tar, as sources; a directory as target. Does I/O.

Spec: image-spec image-layout.md. A name is `org.opencontainers.image.ref.name` as skopeo writes it, or the full name
that containerd and firkin write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from firkin.errors import UsageError
from firkin.images.archive import output_error, output_file
from firkin.images.archive_reader import Files
from firkin.images.copy.documents import check_choice, read_document, read_small, reading
from firkin.images.copy.ends import Document
from firkin.images.copy.files_end import FilesSource, FilesTarget, blob_path, size_of
from firkin.images.copy.places import Place
from firkin.images.oci_layout import FULL_NAME, LAYOUT, REF_NAME, held, read_entries
from firkin.linux.files import write_beside
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Index, encode_index, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel


class LayoutSource(FilesSource):
    """One image of a layout; `path` is its directory or tar."""

    whole = False

    def __init__(self, place: Place, path: str, files: Files) -> None:
        super().__init__(path, files)
        self._place = place

    def __enter__(self) -> LayoutSource:
        return self

    def entries(self) -> tuple[Descriptor, ...]:
        """Return what index.json lists. Raises ContextError when it is missing or damaged."""
        with reading(self._what):
            raw = read_small(self._files.open, "index.json")
            if raw is None:
                raise ValueError("it is no OCI layout: index.json is missing")
            document = parse_manifest(raw, media.OCI_INDEX, "index.json")
            if not isinstance(document, Index):
                raise ValueError("index.json is not an index")
        return document.manifests

    def root(self) -> Document:
        """Return the image that was chosen by name or number, or the only one. Raises UsageError."""
        entries, number = self.entries(), self._place.number
        if self._place.name:
            chosen = self._named(entries, self._place.name)
        else:
            distinct = tuple({item.digest: item for item in entries}.values()) if number is None else entries
            chosen = distinct[check_choice(self._what, len(distinct), number)]
        document = self.document(chosen)
        if document is None:
            raise UsageError(f"{self._what} lists {chosen.digest}, but does not have it")
        return document

    def _named(self, entries: tuple[Descriptor, ...], name: str) -> Descriptor:
        for wanted in (name, _canonical(name)):
            for item in entries:
                if wanted in names_of(item):
                    return item
        there = sorted({name for item in entries for name in names_of(item)})
        hint = f"it has: {', '.join(there[:8])}" if there else "its images have no names: choose one by `:@0`"
        raise UsageError(f"{self._what} has no image `{name}`", hints=(hint,))

    def document(self, item: Descriptor) -> Document | None:
        """Return what an index lists, None if it is absent."""
        with reading(self._what):
            return read_document(self._files.open, blob_path(item), item)


class LayoutTarget(FilesTarget):
    """A layout in a directory; its other images stay. index.json is replaced last."""

    def __init__(self, place: Place, path: str, cancel: Cancel) -> None:
        super().__init__(path, cancel)
        self._name = place.name

    def __enter__(self) -> LayoutTarget:
        try:
            read_entries(self._path)  # fails before anything is written
            os.makedirs(f"{self._path}/blobs/sha256", exist_ok=True)
        except OSError as error:
            raise output_error(self._path, error) from error
        return self

    def _place_of(self, item: Descriptor) -> str:
        path = f"{self._path}/{blob_path(item)}"
        if not item.digest.startswith("sha256:"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put_document(self, document: Document) -> None:
        """Write a manifest among the blobs."""
        path = self._place_of(document.descriptor)
        if size_of(path) != len(document.raw):
            with output_file(path, None) as file:
                file.write(document.raw)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Write the root, and list it under its names. Raises UsageError, StoreError on a full disk."""
        self.put_document(root)
        entries = named(root, self._name, tags)
        try:
            write_beside(f"{self._path}/oci-layout", LAYOUT)
            with held(self._path):
                kept = _others(read_entries(self._path), entries)
                write_beside(f"{self._path}/index.json", encode_index(Index(media.OCI_INDEX, (*kept, *entries))).raw)
        except OSError as error:
            raise output_error(self._path, error) from error


def named(root: Document, name: str, tags: Iterable[Reference]) -> tuple[Descriptor, ...]:
    """Return an entry of index.json for each name, at least one. A name is kept as it was given, as skopeo does."""
    texts = [*([name] if name else []), *map(str, tags)]
    entries = tuple(msgspec.structs.replace(root.descriptor, annotations=_annotations(text)) for text in texts)
    return entries or (root.descriptor,)


def _annotations(name: str) -> tuple[tuple[str, str], ...]:
    full = _canonical(name) if ":" in name or "/" in name else ""
    return (*(((FULL_NAME, full),) if full else ()), (REF_NAME, name))


def names_of(item: Descriptor) -> tuple[str, ...]:
    """Return the names of an entry of index.json."""
    annotations = dict(item.annotations)
    return tuple(annotations[key] for key in (FULL_NAME, REF_NAME) if key in annotations)


def _canonical(name: str) -> str:
    try:
        return str(parse_reference(name))
    except ValueError:
        return ""


def _others(kept: tuple[Descriptor, ...], entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """Return the entries that stay: those with other names, and unnamed ones of other images."""
    # The full name is first: several images may have the same tag as their short one.
    taken = {names_of(item)[:1] or item.digest for item in entries}
    return tuple(item for item in kept if (names_of(item)[:1] or item.digest) not in taken)
