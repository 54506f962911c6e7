"""`firkin buildx use`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.builders import checked_name
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option, by_flag
from firkin.errors import UsageError

USAGE = "[OPTIONS] BUILDER"
ABOUT = "Do nothing: every name of a builder means firkin itself, which is always in use."
OPTIONS = (
    Option(("--default",), "", "ignored", "it is the default", takes_value=False),
    Option(("--global",), "", "ignored", "it is the same for every context", takes_value=False),
    by_flag(BUILD)["--builder"],
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Check the name. Raises UsageError."""
    if len(invocation.arguments.operands) != 1:
        raise UsageError("`firkin buildx use` needs one builder")
    checked_name(*invocation.arguments.operands)
    return 0
