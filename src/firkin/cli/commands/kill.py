"""`firkin kill`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/kill.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.several import at_once
from firkin.containers.stop import kill
from firkin.errors import ContainerError, UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Send the first process of containers a signal, by default KILL, which ends them."
OPTIONS = (
    Option(("--signal", "-s"), "signal", "text", "send this signal, e.g. `HUP` or `1`", "SIGNAL"), *COMMON,)


def run(invocation: Invocation) -> int:
    """Send the signal to all at once and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin kill` needs a container")
    engine = open_engine(invocation)
    signal = arguments.text("signal") or "KILL"

    def work(text: str) -> str:
        try:
            kill(engine, text, signal=signal)
        except ContainerError as error:
            if error.kind != "conflict":
                raise
            raise ContainerError(
                f"cannot kill container: {text}: {error.message}", kind=error.kind, code=error.code, hints=error.hints
            ) from error
        return text

    at_once(arguments.operands, work)
    return 0
