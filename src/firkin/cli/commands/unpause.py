"""`firkin unpause`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/unpause.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.several import at_once
from firkin.containers.pause import unpause
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Let the processes of paused containers go on."
OPTIONS = (*COMMON,)


def run(invocation: Invocation) -> int:
    """Thaw all and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin unpause` needs a container")
    engine = open_engine(invocation)

    def work(text: str) -> str:
        unpause(engine, text)
        return text

    at_once(arguments.operands, work)
    return 0
