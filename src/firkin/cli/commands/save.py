"""`firkin save`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
from typing import cast

from firkin.ambient import absolute
from firkin.cli.archives import PLATFORMS, platforms_of
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.store import find_image, open_store, warn_plainly
from firkin.errors import UsageError
from firkin.images.archive import standard_output
from firkin.images.save import Form, SaveRequest, save_images

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Write images of the store, with names and shared layers, as one tar (or OCI layout) that other tools read, e.g. "
    "`docker load`. A repository without a tag means all its tags; an id saves an image without its names."
)
OPTIONS = (
    Option(("--output", "-o"), "output", "text", "write to PATH instead of standard output", "PATH"),
    Option(("--format",), "format", "choice", "docker: tar for `docker load` (default) · oci: OCI layout as tar · "
           "oci-dir: OCI layout in a directory", "docker|oci|oci-dir", (), ("docker", "oci", "oci-dir")),
    PLATFORMS,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Write all images, or nothing. Raises UsageError."""
    arguments, ambient = invocation
    if not arguments.operands:
        raise UsageError("`firkin save` needs an image")
    form = cast(Form, arguments.text("format", "docker"))
    dest = arguments.text("output", "-")
    if dest == "-" and form == "oci-dir":
        raise UsageError("a directory needs a place", hints=("name it with `-o DIR`",))
    if dest == "-" and os.isatty(1):
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect",
                         hints=("name a file with `-o FILE`",))  # fmt: skip
    request = SaveRequest(arguments.operands, form, platforms_of(arguments))
    place = dest if dest == "-" else absolute(ambient.cwd, dest)
    store, _ = open_store(invocation)
    with store:
        save_images(store, request, place, standard_output(place), warn_plainly, find_image)
    return 0
