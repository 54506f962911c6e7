"""`firkin restart`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/restart.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.stopping import SIGNAL, TIMEOUT, seconds
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.containers.stop import restart
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Stop containers, and start them again."
OPTIONS = (SIGNAL, TIMEOUT, *COMMON,)


def run(invocation: Invocation) -> int:
    """Restart one after the other and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin restart` needs a container")
    engine = open_engine(invocation)
    signal, timeout = arguments.text("signal") or None, seconds(arguments)

    def work(text: str) -> None:
        restart(engine, text, signal=signal, timeout=timeout)
        write_out(f"{text}\n")

    each(arguments.operands, work)
    return 0
