"""`firkin top`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/top.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON
from firkin.cli.run import write_out
from firkin.containers.top import top
from firkin.errors import UsageError
from firkin.render.cells import aligned, one_line

USAGE = "[OPTIONS] CONTAINER [PS OPTIONS]"
ABOUT = "Show the processes of a container, as this machine's `ps` does. PS OPTIONS (default: `-ef`) go to it."
OPTIONS = COMMON
INTERSPERSED = False
_CELLS = 20


def run(invocation: Invocation) -> int:
    """Print a table. Raises UsageError, ContainerError."""
    operands = invocation.arguments.operands
    if not operands:
        raise UsageError("`firkin top` needs a container")
    found = top(open_engine(invocation), operands[0], " ".join(operands[1:]))
    lines = ("\t".join(map(one_line, row)) for row in (found.titles, *found.rows))
    write_out(aligned("\n".join(lines), least=_CELLS) + "\n")
    return 0
