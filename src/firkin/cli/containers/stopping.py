"""Options of `stop` and `restart`. Pure. Only `cli` may import it."""

from __future__ import annotations

from firkin.cli.arguments import Arguments
from firkin.cli.containers.values import integer
from firkin.cli.options import Option

SIGNAL = Option(("--signal", "-s"), "signal", "text", "ask them to end by this signal", "SIGNAL")
TIMEOUT = Option(("--timeout", "-t", "--time"), "timeout", "text",
                 "wait so long before they are killed; -1: for ever (default: what they were made with, else 10)",
                 "SECONDS")  # fmt: skip


def seconds(arguments: Arguments) -> int | None:
    """Return the timeout, None if it was not given. Raises UsageError."""
    return integer(arguments, "--timeout") if arguments.given("timeout") else None
