"""`firkin wait`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/wait.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.containers.wait import wait
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Wait until containers end, and print their exit codes."
OPTIONS = (*COMMON,)


def run(invocation: Invocation) -> int:
    """Wait for one after the other. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin wait` needs a container")
    engine = open_engine(invocation)
    each(arguments.operands, lambda text: write_out(f"{wait(engine, text).status}\n"))
    return 0
