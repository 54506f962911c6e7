"""`firkin volume rm`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.containers.volumes.shelf import Volumes
from firkin.errors import UsageError

USAGE = "[OPTIONS] VOLUME..."
ABOUT = "Remove volumes with what is in them. One that a container mounts stays, also if the container does not run."
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "volumes that are not there are no error", takes_value=False),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Remove each; what failed is told at the end. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin volume rm` needs a volume")
    shelf, force = Volumes(open_engine(invocation)), arguments.flag("force")

    def remove(name: str) -> None:
        shelf.remove(name, force=force)
        write_out(f"{name}\n")

    each(arguments.operands, remove)
    return 0
