"""`firkin rmi`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.store import find_image, open_store, say
from firkin.errors import UsageError
from firkin.images.names import familiar
from firkin.images.remove import remove_images

USAGE = "[OPTIONS] IMAGE..."
ABOUT = (
    "Remove names of images from the store; given an id or a digest, all names of the image that has it. "
    "`firkin prune` frees the space."
)
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "images that are not there are no error", takes_value=False),
    Option(("--no-prune",), "", "ignored", "only `firkin prune` frees space", takes_value=False),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Remove names; every image that the user names must exist. Raises UsageError."""
    operands = invocation.arguments.operands
    if not operands:
        raise UsageError("`firkin rmi` needs an image")
    store, _ = open_store(invocation)
    with store:
        images = []
        for text in operands:
            try:
                images.append(find_image(store, text))
            except UsageError as error:
                if error.code != "no-image" or not invocation.arguments.flag("force"):
                    raise
                say(f"warning: {error.message} ({error.code})")
        for entry in remove_images(store, images):
            write_out(f"removed {familiar(entry.name) or entry.descriptor.digest}\n")
    return 0
