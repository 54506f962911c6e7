"""`firkin export`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os

from firkin.ambient import absolute
from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.store import with_interrupts
from firkin.errors import UsageError
from firkin.images.archive import output_file, standard_output
from firkin.tasks.cancel import Cancel

USAGE = "[OPTIONS] CONTAINER"
ABOUT = (
    "Write the files of a container, running or not, as one tar, without its volumes. `firkin import` makes an image "
    "of one layer of it."
)
OPTIONS = (
    Option(("--output", "-o"), "output", "text", "write to FILE instead of standard output", "FILE"),
    *COMMON,
)


def run(invocation: Invocation) -> int:
    """Write the tar; to a file whole, or not at all. Raises UsageError, ContainerError."""
    from firkin.containers.export import export

    arguments, ambient = invocation
    if len(arguments.operands) != 1:
        raise UsageError("`firkin export` needs one container")
    output = arguments.text("output")
    if not output and os.isatty(1):
        raise UsageError("cowardly refusing to save to a terminal. Use the -o flag or redirect",
                         hints=("name a file with `-o FILE`",))  # fmt: skip
    engine = open_engine(invocation)
    record = engine.home.find(arguments.operands[0])

    def work(cancel: Cancel) -> int:
        dest = absolute(ambient.cwd, output) if output else "-"
        with export(engine, record) as chunks, output_file(dest, standard_output(dest), private=True) as file:
            for chunk in chunks:
                cancel.check()
                file.write(chunk)
        return 0

    return with_interrupts(work)
