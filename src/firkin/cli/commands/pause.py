"""`firkin pause`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/pause.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.several import at_once
from firkin.containers.pause import pause
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Freeze all processes of containers."
OPTIONS = (*COMMON,)


def run(invocation: Invocation) -> int:
    """Freeze all and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin pause` needs a container")
    engine = open_engine(invocation)

    def work(text: str) -> str:
        pause(engine, text)
        return text

    at_once(arguments.operands, work)
    return 0
