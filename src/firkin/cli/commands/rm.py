"""`firkin rm`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/rm.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.cli.store import say
from firkin.containers.remove import remove
from firkin.errors import ContainerError, UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Remove containers that do not run; with `--force` also those that do, which are killed."
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "kill a container that runs; one that is not there is no error",
           takes_value=False),
    Option(("--volumes", "-v"), "volumes", "flag", "remove the volumes that it made without a name, too",
           takes_value=False),
    Option(("--link", "-l"), "", "refused", "there are no links between containers", takes_value=False),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Remove each; what failed is told at the end. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    force, volumes = arguments.flag("force"), arguments.flag("volumes")
    if not arguments.operands:
        raise UsageError("`firkin rm` needs a container")
    engine = open_engine(invocation)

    def work(text: str) -> None:
        try:
            remove(engine, text.strip("/"), force=force, volumes=volumes)
        except ContainerError as error:
            if not force or error.kind != "missing":
                raise
            say(f"warning: {error.message} ({error.code})")
        else:
            write_out(f"{text}\n")

    each(arguments.operands, work)
    return 0
