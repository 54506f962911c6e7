"""`firkin service install`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.cli.service import USER, asked_of
from firkin.cli.store import warn_plainly
from firkin.containers.service import install

USAGE = "[OPTIONS]"
ABOUT = (
    "Write a unit of systemd that starts containers when the machine starts, as their restart policies ask for, and "
    "enable it. For users other than root it is one of their own systemd, which is made to run without them being "
    "logged in, where they may ask for that. To repeat it does no harm."
)
OPTIONS = (USER, *COMMON)


def run(invocation: Invocation) -> int:
    """Install it. Raises HostError where systemd is not there, UsageError."""
    done = install(asked_of(invocation))
    write_out(f"{done.path}\n")
    if done.lingers is False:
        warn_plainly(
            "no-linger",
            "containers end when you log out, and start when you log in, until root says "
            f"`loginctl enable-linger {asked_of(invocation).user}`",
        )
    return 0
