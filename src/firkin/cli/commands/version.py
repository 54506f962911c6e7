"""`firkin version`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import sys

from firkin import __version__
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.run import write_out

USAGE = ""
ABOUT = "Show the version of firkin and of the interpreter it runs on."
OPTIONS = tuple(row for row in COMMON if row.dest in ("help", "debug"))


def run(invocation: Invocation) -> int:
    """Print the versions."""
    write_out(f"firkin {__version__} (Python {sys.version.split()[0]})\n")
    return 0
