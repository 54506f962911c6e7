"""`firkin container diff`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.errors import UsageError

USAGE = "CONTAINER"
ABOUT = (
    "List the files that a container changed of its image's: A added, C changed, D deleted. What is mounted in it is "
    "not among them. (`firkin diff` compares two images.)"
)
OPTIONS = COMMON


def run(invocation: Invocation) -> int:
    """List the changes. Raises ContainerError."""
    from firkin.containers.changes import file_changes

    if len(invocation.arguments.operands) != 1:
        raise UsageError("`firkin container diff` needs one container")
    engine = open_engine(invocation)
    found = file_changes(engine, engine.home.find(invocation.arguments.operands[0]))
    write_out("".join(f"{each.letter} {each.path}\n" for each in found))
    return 0
