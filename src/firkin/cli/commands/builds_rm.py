"""`firkin builds rm`, docker's `buildx history rm`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.builder.history.shelf import Shelf
from firkin.cli.command import Invocation
from firkin.cli.commands.builds_ls import BUILDER
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.errors import UsageError

USAGE = "[OPTIONS] [BUILD...]"
ABOUT = "Remove records of builds. Images and layers stay; so do the records of builds that run."
OPTIONS = (
    Option(("--all",), "all", "flag", "remove all records", takes_value=False),
    BUILDER,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Remove records. Each argument is tried; raises UsageError with all that failed."""
    arguments, ambient = invocation
    words = arguments.operands
    if not words and not arguments.flag("all"):
        raise UsageError("`firkin builds rm` needs a build, or `--all`")
    if words and arguments.flag("all"):
        raise UsageError("rm requires either --all or at least one argument")
    shelf = Shelf(settings_of(arguments, ambient).root)
    if arguments.flag("all"):
        shelf.clear(ambient.now_s)
        return 0
    records = shelf.records()
    failed: list[UsageError] = []
    for word in words:
        try:
            shelf.remove(shelf.find(word, records).id)
        except UsageError as error:
            failed.append(error)
    shelf.drop_lists(ambient.now_s)
    if failed:
        raise UsageError("\n".join(error.message for error in failed), code="no-build", hints=failed[0].hints)
    return 0
