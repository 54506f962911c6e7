"""`firkin buildx rm`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.builders import checked_name
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option, by_flag
from firkin.cli.store import say

USAGE = "[OPTIONS] [BUILDER...]"
ABOUT = (
    "Remove no builder, since firkin itself is the one; say for each name that it is gone. So jobs that clean up go on."
)
OPTIONS = (
    Option(("--all-inactive",), "", "ignored", "there is none", takes_value=False),
    Option(("--force", "-f"), "", "ignored", "nothing is asked", takes_value=False),
    Option(("--keep-daemon",), "", "ignored", "there is no daemon", takes_value=False),
    Option(("--keep-state",), "", "ignored", "the cache stays; `firkin builder prune` removes it", takes_value=False),
    Option(("--timeout",), "", "ignored", "there is nothing to wait for"),
    by_flag(BUILD)["--builder"],
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Check the names, and say that they are removed. Raises UsageError."""
    for name in invocation.arguments.operands:
        say(f"{checked_name(name)} removed")
    return 0
