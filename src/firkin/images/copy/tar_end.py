"""Tars as targets: an OCI layout, or a docker archive that is one as well. Does I/O.

Blobs are written as they come, one after the other; nothing is kept beside the tar. The file appears when it is
complete.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, cast

from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.archive import ArchiveWriter, BlobSource, output_file, standard_output
from firkin.images.copy.blobs import BlobReader
from firkin.images.copy.ends import Document, Outcome, Wanted
from firkin.images.copy.files_end import blob_path
from firkin.images.copy.layout_end import named
from firkin.images.copy.places import Place
from firkin.images.oci_layout import LAYOUT
from firkin.oci import codec, media
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel


class TarTarget:
    """One image in a tar; `-` is standard output."""

    parallel = False
    checks_layers = False
    keeps_digest_names = False

    def __init__(self, place: Place, path: str, cancel: Cancel) -> None:
        self._place = place
        self._path = path
        self._cancel = cancel
        self._stack = ExitStack()
        self._written: set[Digest] = set()
        self._open: ArchiveWriter | None = None

    def __enter__(self) -> TarTarget:
        stream = self._stack.enter_context(output_file(self._path, standard_output(self._path)))
        self._open = ArchiveWriter(stream)
        self._archive.directory("blobs")
        self._archive.directory("blobs/sha256")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def _archive(self) -> ArchiveWriter:
        assert self._open is not None, "it is used outside of `with`"
        return self._open

    def complete(self, document: Document) -> bool:
        """A new tar has nothing."""
        return False

    def put_blob(self, wanted: Wanted) -> Outcome:
        """Write a blob behind the last one."""
        blob = wanted.blob
        if blob.digest in self._written:
            return "exists"
        source = _Reading(wanted, self._cancel)
        self._archive.blob(blob_path(blob), source, blob)
        self._written.add(blob.digest)
        return "pushed"

    def put_document(self, document: Document) -> None:
        """Write a manifest among the blobs."""
        if document.digest not in self._written:
            self._archive.file(blob_path(document.descriptor), document.raw)
            self._written.add(document.digest)

    def finish(self, root: Document, tags: tuple[Reference, ...]) -> None:
        """Write the root, the lists that name it, and the end. Raises UsageError for an index in a docker archive."""
        self.put_document(root)
        entries = named(root, self._place.name, tags)
        if self._place.transport == "docker-archive":
            self._list(root, tags)
        self._archive.file("index.json", encode_index(Index(media.OCI_INDEX, entries)).raw)
        self._archive.file("oci-layout", LAYOUT)
        self._archive.end()

    def _list(self, root: Document, tags: tuple[Reference, ...]) -> None:
        if isinstance(root, Index):
            raise UsageError("a docker archive holds one platform", hints=(Hint.of("copy-platform"),))
        names = (*((parse_reference(self._place.name),) if self._place.name else ()), *tags)
        listed = {
            "Config": blob_path(root.config),
            "RepoTags": [name.familiar for name in names if name.tag] or None,
            "Layers": [blob_path(layer) for layer in root.layers],
        }
        self._archive.file("manifest.json", codec.encode([listed]))


class _Reading(BlobSource):
    """Opens the one blob that is wanted."""

    def __init__(self, wanted: Wanted, cancel: Cancel) -> None:
        self._wanted = wanted
        self._cancel = cancel

    def open(self, digest: Digest) -> BinaryIO:
        wanted = self._wanted
        return cast(BinaryIO, BlobReader(wanted.open, wanted.blob.size, self._cancel, wanted.moved))

