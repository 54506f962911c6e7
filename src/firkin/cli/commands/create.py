"""`firkin create`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.making import Wish, make
from firkin.cli.containers.options import CREATE
from firkin.cli.engine import open_engine
from firkin.cli.run import write_out

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
ABOUT = "Make a container and print its id. `firkin start` starts it."
OPTIONS = CREATE
INTERSPERSED = False


def run(invocation: Invocation) -> int:
    """Make a container, pull its image before if it is not here. Raises FirkinError."""
    wish = Wish(invocation, "create")
    write_out(f"{make(wish, open_engine(invocation), wish.request)}\n")
    return 0
