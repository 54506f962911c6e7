"""`firkin pause`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/pause.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.named import for_named
from firkin.cli.options import COMMON
from firkin.containers.pause import pause

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Freeze all processes of containers."
OPTIONS = (*COMMON,)


def run(invocation: Invocation) -> int:
    """Freeze all and print their names. Raises UsageError, ContainerError."""
    return for_named(invocation, "pause", pause)
