"""`firkin container prune`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Callable

from firkin.cli.asking import confirmed
from firkin.cli.command import Invocation
from firkin.cli.docker_config import read_docker_config
from firkin.cli.engine import open_engine
from firkin.cli.filters import Filters, parse_filters
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.containers.home.home import Entry
from firkin.containers.prune import Pruned, prune_containers
from firkin.render.units import size4
from firkin.text import seconds_of

USAGE = "[OPTIONS]"
ABOUT = "Remove all containers that do not run."
OPTIONS = (
    Option(("--force", "-f"), "force", "flag", "do not ask", takes_value=False),
    Option(("--filter",), "filter", "many", "only containers that fit: `until=TIME`, `label=KEY[=VALUE]`, `label!=…`",
           "KEY=VALUE"),
    *COMMON,
)  # fmt: skip
KEYS = ("label", "label!", "until")
WARNING = "WARNING! This will remove all stopped containers."


def run(invocation: Invocation) -> int:
    """Ask, prune, tell. Raises UsageError, ContainerError."""
    arguments, ambient = invocation
    filters = parse_filters(read_docker_config(ambient).prune_words(arguments.many("filter")), KEYS)
    fits = fitting(filters, ambient.now_s)
    if not arguments.flag("force") and not confirmed(WARNING, gap="\n"):
        return 0
    pruned = prune_containers(open_engine(invocation), fits)
    write_out(deleted_text("Containers", pruned) + f"Total reclaimed space: {size4(pruned.freed_bytes)}\n")
    return 0


def fitting(filters: Filters, now_s: float) -> Callable[[Entry], bool]:
    """Return the test of filters for one container. Raises UsageError."""
    before_s = filters.before_s(now_s)

    def fits(entry: Entry) -> bool:
        if not filters.labels_fit(entry.record.config.labels or {}):
            return False
        return before_s is None or (seconds_of(entry.record.created) or 0.0) < before_s

    return fits


def deleted_text(what: str, pruned: Pruned) -> str:
    """Return docker's lines about what was removed, "" for nothing."""
    lines = "".join(f"{name}\n" for name in pruned.names)
    return f"Deleted {what}:\n{lines}\n" if lines else ""
