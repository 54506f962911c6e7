"""`firkin volume inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from typing import Any

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.cli.several import each
from firkin.containers.volume_list import describe
from firkin.containers.volumes.shelf import Volumes
from firkin.errors import FirkinError, UsageError
from firkin.render.documents import documents_text
from firkin.templates.values import NO_MAP

USAGE = "[OPTIONS] VOLUME..."
ABOUT = "Show what volumes are, as the JSON of docker's Engine. What is found is printed also when others are missing."
OPTIONS = (
    Option(("--format", "-f"), "format", "text", "`json` (on one line), or a Go template for each volume", "FORMAT"),
    *COMMON,
)
SHAPE: dict[str, Any] = {
    "CreatedAt": "", "Driver": "", "Labels": NO_MAP, "Mountpoint": "", "Name": "", "Options": NO_MAP, "Scope": "",
}  # fmt: skip
"""What a template finds where a document has nothing."""


def run(invocation: Invocation) -> int:
    """Print a JSON array, or text of a template. Raises UsageError, ContainerError, TemplateError."""
    arguments = invocation.arguments
    if not arguments.operands:
        raise UsageError("`firkin volume inspect` needs a volume")
    shelf = Volumes(open_engine(invocation))
    documents: list[dict[str, object]] = []
    failure: FirkinError | None = None
    try:
        each(arguments.operands, lambda name: documents.append(describe(shelf, shelf.find(name))))
    except FirkinError as error:
        failure = error
    write_out(documents_text(arguments.text("format"), documents, SHAPE))
    if failure is not None:
        raise failure
    return 0
