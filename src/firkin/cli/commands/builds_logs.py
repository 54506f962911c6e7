"""`firkin builds logs`, docker's `buildx history logs`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.builder.history.shelf import Shelf
from firkin.cli.command import Invocation
from firkin.cli.commands.builds_ls import BUILDER
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_message
from firkin.errors import UsageError
from firkin.render import make_renderer

USAGE = "[OPTIONS] [BUILD]"
ABOUT = (
    "Print the log of a build that is recorded; without BUILD, of the last one. BUILD is an id or its beginning, a "
    "name, or `^N`. As when it was built, the log goes to standard error; json goes to standard output."
)
OPTIONS = (
    Option(("--progress",), "progress", "choice", "how to print it (default: plain)",
           "auto|plain|tty|rawjson|json", choices=("auto", "plain", "tty", "rawjson", "json")),
    BUILDER,
    *COMMON,
)  # fmt: skip


def run(invocation: Invocation) -> int:
    """Draw the events of a record. Raises UsageError."""
    arguments, ambient = invocation
    if len(arguments.operands) > 1:
        raise UsageError("`firkin builds logs` takes one build")
    shelf = Shelf(settings_of(arguments, ambient).root)
    record = shelf.find("".join(arguments.operands))
    progress = arguments.text("progress", "plain")
    # A build that is over has nothing to draw in place: a terminal gets its lines as well.
    name = progress if progress in ("rawjson", "json") else "plain"
    descriptor = 1 if name == "json" else 2
    renderer = make_renderer(name, descriptor, terminal=os.isatty(descriptor))
    for event in shelf.events(record):
        renderer.event(event)
    renderer.close(record.status != "completed")
    if name == "plain" and record.error is not None:
        place = f"Dockerfile:{record.error.line}: " if record.error.line else ""
        write_message(f"error: {place}{record.error.message}\n")
    return 0
