"""What commands do for all containers that are named. Does I/O. Only `cli` may import it."""

from __future__ import annotations

from firkin.cli.engine import open_engine
from firkin.cli.several import at_once
from firkin.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.cli.command import Invocation
    from firkin.containers.home.engine import Engine


def for_named(invocation: Invocation, command: str, work: Callable[[Engine, str], object]) -> int:
    """Do the work for all at once, print their names, and return the exit code.

    Raises UsageError if none is named, and what the work raises.
    """
    operands = invocation.arguments.operands
    if not operands:
        raise UsageError(f"`firkin {command}` needs a container")
    engine = open_engine(invocation)

    def one(text: str) -> str:
        work(engine, text)
        return text

    at_once(operands, one)
    return 0
