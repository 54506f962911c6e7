"""`firkin volume create`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/volume/create.go."""

from __future__ import annotations

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.containers.volumes.make import make_volume
from firkin.errors import UsageError

USAGE = "[OPTIONS] [VOLUME]"
ABOUT = (
    "Make a volume, and print its name; without one it gets a long name. One that is there already stays as it is."
)
_SWARM = "volumes of a cluster need a swarm, which firkin does not have"
OPTIONS = (
    Option(("--driver", "-d"), "driver", "text", "only `local`: there are no plugins", "DRIVER"),
    Option(("--label",), "label", "many", "a label", "KEY[=VALUE]"),
    Option(("--opt", "-o"), "opt", "many", "what to mount there: `type=`, `device=` and `o=`, as for mount(8)",
           "KEY=VALUE"),
    Option(("--name",), "name", "text", "the same as the argument", "VOLUME"),
    *(
        Option((flag,), "", "refused", _SWARM)
        for flag in (
            "--availability", "--group", "--limit-bytes", "--required-bytes", "--scope", "--secret", "--sharing",
            "--topology-preferred", "--topology-required", "--type",
        )
    ),
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Make it. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if len(arguments.operands) > 1:
        raise UsageError("`firkin volume create` makes one volume")
    name = (*arguments.operands, "")[0]
    if arguments.text("name"):
        if name:
            raise UsageError(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
            )
        name = arguments.text("name")
    labels, options = pairs(arguments.many("label")), pairs(arguments.many("opt"))
    volume = make_volume(open_engine(invocation), name, arguments.text("driver"), labels, options)
    write_out(f"{volume.name}\n")
    return 0


def pairs(words: tuple[str, ...]) -> dict[str, str]:
    """Return `KEY=VALUE` words as a mapping; a word without `=` has the value "". Raises UsageError."""
    found = {}
    for word in words:
        key, _, value = word.partition("=")
        if not key:
            raise UsageError(f"`{word}` is no KEY=VALUE")
        found[key] = value
    return found
