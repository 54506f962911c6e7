"""Writes images as an OCI image layout, a tar or a directory. Does I/O.

Spec: image-spec image-layout.md. Annotations as buildx writes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import msgspec

from firkin.errors import UsageError
from firkin.images.archive import ArchiveWriter, BlobSource, copy_blob, output_error, output_file
from firkin.images.pack import Blob, Packed
from firkin.linux.files import read_named, write_beside
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.manifest import Index, encode_index, parse_manifest
from firkin.oci.reference import Reference

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"


def named(descriptor: Descriptor, names: tuple[Reference, ...], created: str = "") -> tuple[Descriptor, ...]:
    """Return an entry of index.json for each name (one without a name if there is none)."""
    annotations: tuple[tuple[str, str], ...] = (("org.opencontainers.image.created", created),) if created else ()
    own = descriptor.annotations
    if not names:
        return (msgspec.structs.replace(descriptor, annotations=(*own, *annotations)),)
    return tuple(
        msgspec.structs.replace(
            descriptor,
            annotations=(*own, (FULL_NAME, str(name)), *annotations, (REF_NAME, name.tag or str(name.digest))),
        )
        for name in names
    )


def write_files(archive: ArchiveWriter, packed: Sequence[Packed], source: BlobSource) -> None:
    """Write the files of a layout into a tar: every blob once, in the order of digests, and what names them."""
    archive.directory("blobs")
    archive.directory("blobs/sha256")
    for descriptor, data in _blobs(packed):
        path = f"blobs/{descriptor.digest.replace(':', '/')}"
        if data is None:
            archive.blob(path, source, descriptor)
        else:
            archive.file(path, data)
    archive.file("index.json", encode_index(Index(media.OCI_INDEX, _entries(packed))).raw)
    archive.file("oci-layout", LAYOUT)


def write_tar(
    packed: Sequence[Packed], source: BlobSource, dest: str, stdout: BinaryIO | None, *, private: bool = False
) -> None:
    """Write a layout of images as one tar. `private`: nobody else may read the file."""
    with output_file(dest, stdout, private=private) as stream:
        archive = ArchiveWriter(stream)
        write_files(archive, packed, source)
        archive.end()


def write_directory(packed: Sequence[Packed], source: BlobSource, dest: str, *, alone: bool = False) -> None:
    """Add images to the layout in a directory (made if missing); its other images stay, unless these are `alone`.

    Raises UsageError or StoreError.
    """
    entries = tuple(one.root for one in packed) if alone else _entries(packed)
    try:
        if not alone:
            read_entries(dest)  # fails before anything is written
        os.makedirs(f"{dest}/blobs/sha256", exist_ok=True)
        for descriptor, data in _blobs(packed):
            path = f"{dest}/blobs/{descriptor.digest.replace(':', '/')}"
            if os.path.exists(path) and os.path.getsize(path) == descriptor.size:
                continue
            with output_file(path, None) as target:
                if data is not None:
                    target.write(data)
                else:
                    copy_blob(source, descriptor, target)
        write_beside(f"{dest}/oci-layout", LAYOUT)
        with held(dest):
            kept = () if alone else _others(read_entries(dest), entries)
            write_beside(f"{dest}/index.json", encode_index(Index(media.OCI_INDEX, (*kept, *entries))).raw)
    except OSError as error:
        raise output_error(dest, error) from error


def _blobs(packed: Sequence[Packed]) -> list[Blob]:
    listed = {digest: blob for one in packed for digest, blob in one.blobs.items()}
    return [listed[digest] for digest in sorted(listed)]


def _entries(packed: Sequence[Packed]) -> tuple[Descriptor, ...]:
    return tuple(entry for one in packed for entry in named(one.root, one.names, one.image.config.created))


@contextmanager
def held(directory: str) -> Iterator[None]:
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


def read_entries(directory: str) -> tuple[Descriptor, ...]:
    """Return what the layout in a directory lists, () if there is none. Raises UsageError for something else; OSError.
    """
    path = f"{directory}/index.json"
    try:
        document = parse_manifest(read_named(path), media.OCI_INDEX, path)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except ValueError as error:
        raise UsageError(str(error), code="output", hints=("choose an empty directory",)) from error
    if not isinstance(document, Index):
        raise UsageError(f"{path} is not an index", code="output", hints=("choose an empty directory",))
    return document.manifests


def _others(listed: tuple[Descriptor, ...], entries: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """Return the entries that stay: those with other names, and unnamed ones of other images."""
    taken = {dict(entry.annotations).get(FULL_NAME, "") for entry in entries}
    digests = {entry.digest for entry in entries}
    return tuple(
        item
        for item in listed
        if not (
            dict(item.annotations).get(FULL_NAME, "") in taken
            and (dict(item.annotations).get(FULL_NAME) or item.digest in digests)
        )
    )
