"""`firkin run`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.containers.making_options import RUN
from firkin.containers.link.monitoring import spawn_monitor
from firkin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.cli.command import Invocation

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
ABOUT = (
    "Make a container and run a command in it, by default the image's own. The exit code is the command's: 128 and "
    "the number of a signal that ended it, 127 if it was not found, 126 if it cannot be run, 125 for everything else "
    "that fails."
)
OPTIONS = RUN
INTERSPERSED = False


def run(invocation: Invocation) -> int:
    """Pull, make, start, attach, wait. Raises FirkinError, UsageError."""
    if not invocation.arguments.operands:
        raise UsageError("`firkin run` requires at least 1 argument: the image")
    # The monitor's interpreter starts while everything else is loaded and the container is made.
    nursling = spawn_monitor()
    try:
        from firkin.cli.containers.running import run_container

        return run_container(invocation, nursling)
    finally:
        nursling.close()
