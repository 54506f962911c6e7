"""`firkin stop`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/stop.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.named import for_named
from firkin.cli.containers.stopping import SIGNAL, TIMEOUT, seconds
from firkin.cli.options import COMMON
from firkin.containers.stop import stop

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Stop containers: ask their processes to end, and kill those that do not."
OPTIONS = (SIGNAL, TIMEOUT, *COMMON,)


def run(invocation: Invocation) -> int:
    """Stop all at once and print their names. Raises UsageError, ContainerError."""
    signal, timeout = invocation.arguments.text("signal") or None, seconds(invocation.arguments)
    return for_named(
        invocation, "stop", lambda engine, text: stop(engine, text, signal=signal, timeout=timeout)
    )
