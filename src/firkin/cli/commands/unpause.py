"""`firkin unpause`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/unpause.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.named import for_named
from firkin.cli.options import COMMON
from firkin.containers.pause import unpause

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Let the processes of paused containers go on."
OPTIONS = (*COMMON,)


def run(invocation: Invocation) -> int:
    """Thaw all and print their names. Raises UsageError, ContainerError."""
    return for_named(invocation, "unpause", unpause)
