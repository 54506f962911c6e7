"""`firkin kill`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/kill.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.containers.named import for_named
from firkin.cli.options import COMMON, Option
from firkin.containers.home.engine import Engine
from firkin.containers.stop import kill
from firkin.errors import ContainerError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Send the first process of containers a signal, by default KILL, which ends them."
OPTIONS = (
    Option(("--signal", "-s"), "signal", "text", "send this signal, e.g. `HUP` or `1`", "SIGNAL"), *COMMON,)


def run(invocation: Invocation) -> int:
    """Send the signal to all at once and print their names. Raises UsageError, ContainerError."""
    signal = invocation.arguments.text("signal") or "KILL"

    def work(engine: Engine, text: str) -> None:
        try:
            kill(engine, text, signal=signal)
        except ContainerError as error:
            if error.kind != "conflict":
                raise
            raise ContainerError(
                f"cannot kill container: {text}: {error.message}", kind=error.kind, code=error.code, hints=error.hints
            ) from error

    return for_named(invocation, "kill", work)
