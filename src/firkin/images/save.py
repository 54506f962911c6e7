"""Writes an image of the store as a file or directory that other tools read. Does I/O."""

from __future__ import annotations

from typing import BinaryIO, Literal

from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.find import Found
from firkin.images.names import read_reference
from firkin.oci.reference import Reference
from firkin.store.store import Store

Form = Literal["docker", "oci", "oci-dir"]
"""A tar for `docker load`, an OCI layout as a tar, an OCI layout in a directory."""


def save_image(store: Store, found: Found, text: str, form: Form, dest: str, stdout: BinaryIO | None) -> None:
    """Write an image under the name that the user gave, or under all its names.

    `dest` is a path, or `-` for `stdout`. Raises UsageError for several platforms in a form that holds only one, and
    for a place that cannot be written to.
    """
    names = _names(text, found.names)
    if form == "docker":
        from firkin.images.docker_archive import write_docker_archive

        if found.index is not None:
            raise UsageError("`docker load` reads one platform only", hints=(Hint.of("save-format"),))
        write_docker_archive(found.images[0], names, store.blobs, dest, stdout)
    elif form == "oci":
        from firkin.images.oci_layout import write_tar

        write_tar(found.images, found.index, names, store.blobs, dest, stdout)
    else:
        from firkin.images.oci_layout import write_directory

        write_directory(found.images, found.index, names, store.blobs, dest)


def _names(text: str, names: tuple[str, ...]) -> tuple[Reference, ...]:
    known = tuple(map(read_reference, names))
    asked = tuple(name for name in known if text in (str(name), name.familiar, name.familiar.partition(":")[0]))
    return asked or known
