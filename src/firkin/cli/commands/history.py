"""`firkin history`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/image/history.go."""

from __future__ import annotations

import time
from typing import NamedTuple

from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.platforms import read_platform
from firkin.cli.run import write_out
from firkin.cli.store import find_image, open_store
from firkin.errors import UsageError
from firkin.images.history import Step, image_history
from firkin.render.cells import shortened
from firkin.render.rows import rows_text
from firkin.render.units import ago, rfc3339, short_id, size3
from firkin.text import seconds_of

USAGE = "[OPTIONS] IMAGE"
ABOUT = "Show the steps that an image was made of, the last first. SIZE is what the layer of a step unpacks to."
OPTIONS = (
    Option(("--format",), "format", "text", "`table`, `table TEMPLATE`, `json`, or a Go template", "FORMAT"),
    Option(("--human", "-H"), "human", "flag", "print sizes and times for people (default: true)", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole ids and commands", takes_value=False),
    Option(("--platform",), "platform", "text", "show this platform of the image", "OS/ARCH[/VARIANT]"),
    Option(("--quiet", "-q"), "quiet", "flag", "print ids only", takes_value=False),
    *COMMON,
)  # fmt: skip

_FIELDS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip
_TABLE = "{{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}"
_EXACT = _TABLE.replace("CreatedSince", "CreatedAt")
_NOBODY_KNOWS, _UNKNOWN = "<missing>", "N/A"
_COMMAND_CELLS = 45
_YEAR_2000_S = 946684800
"""What is as old was made without a time (SOURCE_DATE_EPOCH=0, a reproducible builder): docker shows no age either."""
_BLANKS = str.maketrans("\t\n\r", "   ")


class Look(NamedTuple):
    """How values are shown."""

    now_s: float
    human: bool
    whole: bool


def run(invocation: Invocation) -> int:
    """Print a line for each step. Raises UsageError, StoreError, TemplateError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin history` needs one image")
    look = Look(time.time(), not arguments.given("human") or arguments.flag("human"), arguments.flag("no_trunc"))
    platform = read_platform(arguments.text("platform"))
    store, _ = open_store(invocation)
    with store:
        found = find_image(store, arguments.operands[0], platform)
        steps = image_history(store, found.image)
    rows = [_row(found.id if number == 0 else _NOBODY_KNOWS, step, look) for number, step in enumerate(steps)]
    form = arguments.text("format")
    if form in ("", "table") and arguments.flag("quiet"):
        form = "{{.ID}}"
    write_out(rows_text(form, _FIELDS, rows, _TABLE if look.human else _EXACT))
    return 0


def _row(id: str, step: Step, look: Look) -> dict[str, str]:
    made = seconds_of(step.line.created)
    command = step.line.created_by.translate(_BLANKS)
    at = _UNKNOWN if made is None else rfc3339(made)
    since = _UNKNOWN if made is None or made <= _YEAR_2000_S else ago(look.now_s - made)
    return {
        "ID": id if look.whole or id == _NOBODY_KNOWS else short_id(id),
        "CreatedSince": since if look.human else at,
        "CreatedAt": at,
        "CreatedBy": command if look.whole else shortened(command, _COMMAND_CELLS),
        "Size": size3(step.size_bytes) if look.human else str(step.size_bytes),
        "Comment": step.line.comment,
    }
