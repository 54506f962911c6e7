"""What a command consists of, and how one is loaded. Does I/O. Only `cli` may import it."""

from __future__ import annotations

import sys

from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from firkin.ambient import Ambient
    from firkin.cli.arguments import Arguments
    from firkin.cli.options import Option
else:
    Protocol = object


class Invocation(NamedTuple):
    """One call of a command."""

    arguments: Arguments
    ambient: Ambient


class Command(Protocol):
    """A module of `cli.commands`.

    A module with `FINE_EXIT_CODES = True` ends with the exit code of its error (`firkin.errors`); the others end with
    docker's: 1, or 125 for an option that is unknown or malformed. With `INTERSPERSED = False` the first operand ends
    the options, since what follows are the words of another command.
    """

    USAGE: str
    ABOUT: str
    OPTIONS: tuple[Option, ...]
    run: Callable[[Invocation], int]


def load_command(module: str) -> Command:
    """Import a command."""
    name = f"firkin.cli.commands.{module}"
    __import__(name)  # `importlib` would have to be loaded
    found: Command = sys.modules[name]
    return found
