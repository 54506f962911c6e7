"""`firkin save`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
from typing import cast

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.store import find_image, open_store
from firkin.errors import UsageError
from firkin.images.archive import standard_output
from firkin.images.save import Form, save_image

USAGE = "[OPTIONS] IMAGE"
ABOUT = "Write an image of the store as a tar (or OCI layout) that other tools read, e.g. `docker load`."
OPTIONS = (
    Option(("--output", "-o"), "output", "text", "write to PATH instead of standard output", "PATH"),
    Option(("--format",), "format", "choice", "docker: tar for `docker load` (default) · oci: OCI layout as tar · "
           "oci-dir: OCI layout in a directory", "docker|oci|oci-dir", (), ("docker", "oci", "oci-dir")),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Write one image under the name that the user gave, or under all its names. Raises UsageError."""
    arguments, ambient = invocation
    if len(arguments.operands) != 1:
        raise UsageError("`firkin save` needs one image")
    text = arguments.operands[0]
    form = cast(Form, arguments.text("format", "docker"))
    dest = arguments.text("output", "-")
    if dest == "-" and form == "oci-dir":
        raise UsageError("a directory needs a place", hints=("name it with `-o DIR`",))
    if dest == "-" and os.isatty(1):
        raise UsageError("an image is not written to a terminal", hints=("name a file with `-o FILE`",))
    place = dest if dest == "-" else absolute(ambient.cwd, dest)
    store, _ = open_store(invocation)
    with store:
        found = find_image(store, text)
        save_image(store, found, text, form, place, standard_output(place))
    return 0
