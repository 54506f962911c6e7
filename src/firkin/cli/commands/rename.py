"""`firkin rename`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.containers.rename import rename
from firkin.errors import UsageError

USAGE = "CONTAINER NEW_NAME"
ABOUT = "Give a container another name, whether it runs or not."
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """Rename it. Raises UsageError, ContainerError."""
    if len(invocation.arguments.operands) != 2:
        raise UsageError("`firkin rename` needs a container and its new name")
    rename(open_engine(invocation), *invocation.arguments.operands)
    return 0
