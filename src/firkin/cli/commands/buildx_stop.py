"""`firkin buildx stop`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.builders import checked_name
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, by_flag
from firkin.errors import UsageError

USAGE = "[OPTIONS] [BUILDER]"
ABOUT = "Do nothing: a builder that is a process of its own for each build ends with it."
OPTIONS = (by_flag(BUILD)["--builder"], *COMMON)


def run(invocation: Invocation) -> int:
    """Check the name. Raises UsageError."""
    if len(invocation.arguments.operands) > 1:
        raise UsageError("`firkin buildx stop` takes one builder")
    for name in invocation.arguments.operands:
        checked_name(name)
    return 0
