"""`firkin save`. I; only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.shelf import find_image, open_store
from firkin.errors import UsageError
from firkin.images.transfer import read_reference
from firkin.oci.reference import Reference

USAGE = "[OPTIONS] IMAGE"
ABOUT = "Write an image of the store as a tar (or OCI layout) that other tools read, e.g. `docker load`."
OPTIONS = (
    Option(("--output", "-o"), "output", "text", "write to PATH instead of standard output", "PATH"),
    Option(("--format",), "format", "choice", "docker: tar for `docker load` (default) · oci: OCI layout as tar · "
           "oci-dir: OCI layout in a directory", "docker|oci|oci-dir", (), ("docker", "oci", "oci-dir")),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Write one image under the name it was asked for, or all its names."""
    arguments, ambient = invocation
    if len(arguments.operands) != 1:
        raise UsageError("`firkin save` needs one image")
    text = arguments.operands[0]
    form = arguments.text("format", "docker")
    dest = arguments.text("output", "-")
    if dest == "-" and form == "oci-dir":
        raise UsageError("a directory needs a place", hints=("name it with `-o DIR`",))
    if dest == "-" and os.isatty(1):
        raise UsageError("an image is not written to a terminal", hints=("name a file with `-o FILE`",))
    place = dest if dest == "-" else absolute(ambient.cwd, dest)
    store, _ = open_store(invocation)
    with store:
        found = find_image(store, text)
        names = _names(text, found.names)
        stdout = open(1, "wb", closefd=False) if dest == "-" else None
        if form == "docker":
            from firkin.images.docker_archive import write_docker_archive

            if found.index is not None:
                raise UsageError("`docker load` reads one platform only", hints=("write it with `--format oci`",))
            write_docker_archive(found.images[0], names, store.blobs, place, stdout)
        elif form == "oci":
            from firkin.images.oci_layout import write_tar

            write_tar(found.images, found.index, names, store.blobs, place, stdout)
        else:
            from firkin.images.oci_layout import write_directory

            write_directory(found.images, found.index, names, store.blobs, place)
    return 0


def _names(text: str, names: tuple[str, ...]) -> tuple[Reference, ...]:
    known = tuple(map(read_reference, names))
    asked = tuple(name for name in known if text in (str(name), name.familiar, f"{name.familiar}".partition(":")[0]))
    return asked or known
