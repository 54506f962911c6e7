"""`firkin stop`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/stop.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.stopping import SIGNAL, TIMEOUT, seconds
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.several import at_once
from firkin.containers.stop import stop
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Stop containers: ask their processes to end, and kill those that do not."
OPTIONS = (SIGNAL, TIMEOUT, *COMMON,)


def run(invocation: Invocation) -> int:
    """Stop all at once and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin stop` needs a container")
    engine = open_engine(invocation)
    signal, timeout = arguments.text("signal") or None, seconds(arguments)

    def work(text: str) -> str:
        stop(engine, text, signal=signal, timeout=timeout)
        return text

    at_once(arguments.operands, work)
    return 0
