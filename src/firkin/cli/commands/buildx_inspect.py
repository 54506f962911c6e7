"""`firkin buildx inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.builders import find_builder
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option, by_flag
from firkin.cli.run import write_out
from firkin.errors import UsageError

USAGE = "[OPTIONS] [BUILDER]"
ABOUT = "Show the builder. There is one, firkin itself; every name means it."
OPTIONS = (
    Option(("--bootstrap",), "", "ignored", "it is always running", takes_value=False),
    by_flag(BUILD)["--builder"],
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Print the builder as buildx does. Raises UsageError."""
    operands = invocation.arguments.operands
    if len(operands) > 1:
        raise UsageError("`firkin buildx inspect` takes one builder")
    builder = find_builder(*operands)
    # Without a line `BuildKit version`: jobs would add attestations for the versions that make them.
    write_out(
        f"Name:   {builder.name}\n"
        f"Driver: {builder.driver}\n"
        "\n"
        "Nodes:\n"
        f"Name:           {builder.name}\n"
        f"Endpoint:       {builder.endpoint}\n"
        f"Status:         {builder.status}\n"
        f"firkin version: {builder.version}\n"
        f"Platforms:      {', '.join(builder.platforms)}\n"
    )
    return 0
