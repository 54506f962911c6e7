"""`firkin service uninstall`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.cli.service import USER, asked_of
from firkin.containers.service import uninstall

USAGE = "[OPTIONS]"
ABOUT = (
    "Take away the unit that `firkin service install` wrote. Containers that run go on. A user's systemd goes on "
    "running without them if it did; `loginctl disable-linger` ends that."
)
OPTIONS = (USER, *COMMON)


def run(invocation: Invocation) -> int:
    """Take it away, and print where it was. Raises HostError, UsageError."""
    asked = asked_of(invocation)
    path = uninstall(asked)
    if path:
        write_out(f"{path}\n")
    return 0
