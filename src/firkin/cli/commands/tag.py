"""`firkin tag`. I; only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.shelf import find_image, open_store
from firkin.errors import UsageError
from firkin.images.transfer import read_tag

USAGE = "[OPTIONS] IMAGE NAME[:TAG]..."
ABOUT = "Give an image of the store further names."
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Let the names point to the image."""
    if len(invocation.arguments.operands) < 2:
        raise UsageError("`firkin tag` needs an image and a name")
    image, *names = invocation.arguments.operands
    references = tuple(map(read_tag, names))
    store, _ = open_store(invocation)
    with store:
        found = find_image(store, image)
        store.images.tag(found.root, references, found.created)
    return 0
