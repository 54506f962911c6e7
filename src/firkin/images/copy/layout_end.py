"""OCI layouts, in a directory or a tar, as sources; a directory as target. Does I/O.

Spec: image-spec image-layout.md. A name is `org.opencontainers.image.ref.name` as skopeo writes it, or the full name
that containerd and firkin write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

import msgspec

from firkin.errors import UsageError
from firkin.images.archive import output_error, output_file
from firkin.images.archive_reader import open_files
from firkin.images.copy.blobs import BlobReader, FileChunks
from firkin.images.copy.documents import check_choice, read_document, read_small, reading
from firkin.images.copy.ends import Chunks, Document, Outcome, Wanted
from firkin.images.copy.places import Place
from firkin.images.oci_layout import FULL_NAME, LAYOUT, REF_NAME
from firkin.linux.files import write_beside
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Index, encode_index, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel


def blob_path(item: Descriptor) -> str:
    """Return the path of a blob in a layout."""
    return f"blobs/{item.digest.replace(':', '/')}"


class LayoutSource:
    """One image of a layout; `path` is its directory or tar."""

    reference: Reference | None = None
    whole = False

    def __init__(self, place: Place, path: str) -> None:
        self._place = place
        self._what = path
        self._files = open_files(path)

    def __enter__(self) -> LayoutSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Each reader has its own handle."""

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

    def has(self, blob: Descriptor) -> bool:
        """Say whether the layout has a file for the blob."""
        with reading(self._what):
            file = self._files.open(blob_path(blob))
        if file is not None:
            file.close()
        return file is not None

    def open(self, blob: Descriptor) -> Chunks:
        """Open a blob. Raises UsageError if it is missing."""
        with reading(self._what):
            file = self._files.open(blob_path(blob))
        if file is None:
            raise UsageError(f"{self._what} lacks the blob {blob.digest}", code="copy-missing")
        return FileChunks(file, blob, self._what)


class LayoutTarget:
    """A layout in a directory; its other images stay. index.json is replaced last."""

    parallel = True
    checks_layers = False
    keeps_digest_names = False

    def __init__(self, place: Place, path: str, cancel: Cancel) -> None:
        self._name = place.name
        self._path = path
        self._cancel = cancel

    def __enter__(self) -> LayoutTarget:
        try:
            self._read()  # fails before anything is written
            os.makedirs(f"{self._path}/blobs/sha256", exist_ok=True)
        except OSError as error:
            raise output_error(self._path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Blobs that arrived stay, and are found when the copy is tried again."""

    def complete(self, document: Document) -> bool:
        """Blobs are looked for one by one, which costs little here."""
        return False

    def _place_of(self, item: Descriptor) -> str:
        path = f"{self._path}/{blob_path(item)}"
        if not item.digest.startswith("sha256:"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def put_blob(self, wanted: Wanted) -> Outcome:
        """Write a blob beside its place, then rename it."""
        path = self._place_of(wanted.blob)
        if _size(path) == wanted.blob.size:
            return "exists"
        write_blob(path, wanted, self._cancel)
        return "pushed"

    def put_document(self, document: Document) -> None:
        """Write a manifest among the blobs."""
        path = self._place_of(document.descriptor)
        if _size(path) != len(document.raw):
            with output_file(path, None) as file:
                file.write(document.raw)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Write the root, and list it under its names. Raises UsageError, StoreError on a full disk."""
        self.put_document(root)
        entries = named(root, self._name, tags)
        try:
            write_beside(f"{self._path}/oci-layout", LAYOUT)
            with _held(self._path):
                kept = _others(self._read(), entries)
                write_beside(f"{self._path}/index.json", encode_index(Index(media.OCI_INDEX, (*kept, *entries))).raw)
        except OSError as error:
            raise output_error(self._path, error) from error

    def _read(self) -> tuple[Descriptor, ...]:
        """Return what the layout lists; raises UsageError if something else is there."""
        try:
            with open(f"{self._path}/index.json", "rb") as file:
                document = parse_manifest(file.read(), media.OCI_INDEX, f"{self._path}/index.json")
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except ValueError as error:
            raise UsageError(str(error), code="output", hints=("choose an empty directory",)) from error
        if not isinstance(document, Index):
            raise UsageError(f"{self._path}/index.json is not an index", code="output",
                             hints=("choose an empty directory",))  # fmt: skip
        return document.manifests


def write_blob(path: str, wanted: Wanted, cancel: Cancel) -> None:
    """Write a blob to a file that appears when it is complete and verified."""
    with BlobReader(wanted.open, wanted.blob.size, cancel, wanted.moved) as reader, output_file(path, None) as file:
        while chunk := reader.read():
            file.write(chunk)


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


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1


@contextmanager
def _held(directory: str) -> Iterator[None]:
    """Lock out other processes that add to the layout: two at once would lose each other's entries."""
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # NFS cannot lock directories
        yield
    finally:
        os.close(descriptor)
