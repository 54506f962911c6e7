"""`firkin volume prune`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/volume/prune.go."""

from __future__ import annotations

from firkin.cli.asking import confirmed
from firkin.cli.command import Invocation
from firkin.cli.commands.container_prune import deleted_text
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.filters import parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.containers.prune import prune_volumes
from firkin.errors import UsageError
from firkin.render.units import size4

USAGE = "[OPTIONS]"
ABOUT = "Remove volumes without a name that no container mounts; with `--all` those with a name as well."
OPTIONS = (
    Option(("--all", "-a"), "all", "flag", "remove volumes that have a name as well", takes_value=False),
    Option(("--force", "-f"), "force", "flag", "do not ask", takes_value=False),
    Option(("--filter",), "filter", "many", "only volumes that fit: `label=KEY[=VALUE]`, `label!=…`, `all=true`",
           "KEY=VALUE"),
    *COMMON,
)  # fmt: skip
KEYS = ("all", "label", "label!")
WARNINGS = {
    False: "WARNING! This will remove anonymous local volumes not used by at least one container.",
    True: "WARNING! This will remove all local volumes not used by at least one container.",
}


def run(invocation: Invocation) -> int:
    """Ask, prune, tell. Raises UsageError, ContainerError."""
    arguments, ambient = invocation
    filters = parse_filters(read_docker_config(ambient).prune_words(arguments.many("filter")), KEYS)
    if arguments.flag("all") and filters.of("all"):
        raise UsageError("conflicting options: cannot specify both --all and --filter all=1")
    named = bool(filters.flag("all", arguments.flag("all")))
    if not arguments.flag("force") and not confirmed(WARNINGS[named]):
        return 0
    pruned = prune_volumes(
        open_engine(invocation), named=named, fits=lambda volume: filters.labels_fit(volume.labels or {})
    )
    write_out(deleted_text("Volumes", pruned) + f"Total reclaimed space: {size4(pruned.freed_bytes)}\n")
    return 0
