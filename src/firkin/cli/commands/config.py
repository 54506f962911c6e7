"""`firkin config`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, REGISTRY
from firkin.cli.sides import PLATFORM, open_sides, platforms_of
from firkin.cli.store import with_interrupts
from firkin.errors import UsageError
from firkin.images.copy.convert import read_whole
from firkin.images.copy.places import parse_place
from firkin.images.copy.plan import choose_image
from firkin.linux.machine import this_platform
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] IMAGE"
ABOUT = (
    "Print the exact bytes of an image's configuration. IMAGE is a name in a registry, or another place that "
    "`firkin copy` reads; of an image for several platforms, this machine's counts."
)
OPTIONS = (PLATFORM, *REGISTRY, *COMMON)


def run(invocation: Invocation) -> int:
    """Print the configuration. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin config` needs one image")
    place = parse_place(arguments.operands[0])
    platforms = platforms_of(arguments) or (this_platform(),)
    if len(platforms) > 1:
        raise UsageError("`--platform` takes one platform here")

    def work(cancel: Cancel) -> int:
        with open_sides(invocation, cancel) as sides, sides.opener(place).source(place) as source:
            data = read_whole(source, choose_image(source, source.root(), platforms[0]).config)
        while data:
            data = data[os.write(1, data) :]
        return 0

    return with_interrupts(work)
