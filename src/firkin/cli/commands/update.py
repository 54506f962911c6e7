"""`firkin update`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/update.go."""

from __future__ import annotations

from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.containers.making_options import CONTAINER
from firkin.cli.containers.requests import restart_policy
from firkin.cli.containers.resources import limits
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_message, write_out
from firkin.cli.several import each
from firkin.containers.update import FIELDS, update
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER..."
ABOUT = "Change limits and restart policies of containers, which go on running."
_WANTED = (
    "--blkio-weight", "--cpu-period", "--cpu-quota", "--cpu-rt-period", "--cpu-rt-runtime", "--cpu-shares", "--cpus",
    "--cpuset-cpus", "--cpuset-mems", "--kernel-memory", "--memory", "--memory-reservation", "--memory-swap",
    "--pids-limit",
)  # fmt: skip
OPTIONS = (
    *(row for row in CONTAINER if row.flags[0] in _WANTED),
    Option(("--restart",), "restart", "text", "start it again when it ends: no, always, unless-stopped, on-failure",
           "POLICY[:MAX]"),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Change one after the other and print their names. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin update` needs a container")
    if not any(arguments.given(row.dest) for row in OPTIONS if row not in COMMON):
        raise UsageError("you must provide one or more flags when using this command")
    changes: dict[str, Any] = {name: value for name, value in limits(arguments).items() if name in FIELDS}
    if arguments.given("restart"):
        changes["restart_policy"] = restart_policy(arguments.text("restart"))
    engine = open_engine(invocation)

    def work(text: str) -> None:
        warnings = update(engine, text, changes)
        write_out(f"{text}\n")
        for warning in warnings:
            write_message(f"warning: {warning}\n")

    each(arguments.operands, work)
    return 0
