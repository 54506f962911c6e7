"""`firkin tag`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.store import find_image, open_store
from firkin.errors import UsageError
from firkin.images.names import read_tag
from firkin.images.tag import tag_image

USAGE = "[OPTIONS] IMAGE NAME[:TAG]..."
ABOUT = (
    "Give an image of the store further names. A name that is taken moves; the image that had it stays, and is listed "
    "as `<none>` if that was its last name."
)
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Let the names point to the image. Raises UsageError."""
    if len(invocation.arguments.operands) < 2:
        raise UsageError("`firkin tag` needs an image and a name")
    image, *names = invocation.arguments.operands
    references = tuple(map(read_tag, names))
    store, _ = open_store(invocation)
    with store:
        tag_image(store, find_image(store, image), references)
    return 0
