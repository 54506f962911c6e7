"""`firkin buildx create`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.about.builders import create_builder
from firkin.cli.build_options import BUILD
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option, by_flag
from firkin.cli.run import write_out
from firkin.cli.store import say
from firkin.errors import UsageError

USAGE = "[OPTIONS] [CONTEXT|ENDPOINT]"
ABOUT = (
    "Make no builder, since firkin is one, but print the name that was asked for: every name means firkin itself. So "
    "jobs that make a builder first go on. A builder at another place is refused."
)
_NO_NODES = "there is one builder with one node"
OPTIONS = (
    Option(("--name",), "name", "text", "the name to print", "NAME"),
    Option(("--driver",), "driver", "text", "docker, docker-container or firkin: all mean firkin itself", "DRIVER"),
    Option(("--use",), "", "ignored", "it is always in use", takes_value=False),
    Option(("--bootstrap",), "", "ignored", "it is always running", takes_value=False),
    Option(("--buildkitd-config", "--config"), "buildkitd_config", "text",
           "not read, which a warning says: mirrors and the like are set in config.toml", "FILE"),
    Option(("--buildkitd-flags",), "", "ignored", "there is no daemon; `--allow` of a build gives its rights"),
    Option(("--driver-opt",), "", "ignored", "there is no container to make"),
    Option(("--platform",), "", "ignored", "a build runs what this machine runs"),
    Option(("--node",), "", "ignored", _NO_NODES),
    Option(("--append",), "", "ignored", _NO_NODES, takes_value=False),
    Option(("--leave",), "", "ignored", _NO_NODES, takes_value=False),
    Option(("--timeout",), "", "ignored", "there is nothing to wait for"),
    by_flag(BUILD)["--builder"],
    *(row for row in COMMON if row.dest != "config"),
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Print the builder's name. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) > 1:
        raise UsageError("`firkin buildx create` takes one context")
    name = create_builder(arguments.text("name"), arguments.text("driver"), "".join(arguments.operands))
    if arguments.given("buildkitd_config"):
        say(f"warning: {arguments.text('buildkitd_config')} is not read; mirrors and insecure registries of firkin are "
            "set in config.toml")  # fmt: skip
    write_out(f"{name}\n")
    return 0
