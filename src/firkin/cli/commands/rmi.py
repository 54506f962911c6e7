"""`firkin rmi`. I; only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.shelf import familiar, find_image, open_store, say
from firkin.errors import UsageError

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
    """Remove names; what was asked for must exist."""
    operands = invocation.arguments.operands
    if not operands:
        raise UsageError("`firkin rmi` needs an image")
    store, _ = open_store(invocation)
    with store:
        gone: dict[str, None] = {}
        for text in operands:
            try:
                found = find_image(store, text)
            except UsageError as error:
                if error.code != "no-image" or not invocation.arguments.flag("force"):
                    raise
                say(f"warning: {error.message} ({error.code})")
                continue
            gone |= dict.fromkeys(found.removes)
        for entry in store.images.untag(tuple(gone)):
            write_out(f"removed {familiar(entry.name) or entry.descriptor.digest}\n")
    return 0
