"""`firkin events`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/system/events.go."""

from __future__ import annotations

import time
from collections.abc import Callable

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.filters import parse_filters, parse_when
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_out
from firkin.containers.home.journal import FILTERS, Event, EventFilter, follow_events
from firkin.errors import UsageError

USAGE = "[OPTIONS]"
ABOUT = "Print what happens to containers, images and volumes, as it happens; with `--since` also what happened before."
OPTIONS = (
    Option(("--filter", "-f"), "filter", "many",
           "only events that fit: `container=`, `event=`, `image=`, `label=`, `type=`, `volume=`", "KEY=VALUE"),
    Option(("--format",), "format", "text", "`json`, or a Go template for each event", "FORMAT"),
    Option(("--since",), "since", "text", "begin with what happened since", "TIME"),
    Option(("--until",), "until", "text", "end at a time", "TIME"),
    *COMMON,
)  # fmt: skip
_SECOND = 10**9


def run(invocation: Invocation) -> int:
    """Print a line for each event. Raises UsageError, ContainerError, TemplateError."""
    arguments, ambient = invocation
    if arguments.operands:
        raise UsageError("`firkin events` takes no arguments")
    wanted = EventFilter(parse_filters(arguments.many("filter"), FILTERS).values)
    since, until = (_when(arguments.text(name), ambient.now_s) for name in ("since", "until"))
    line = _line_of(arguments.text("format"))
    engine = open_engine(invocation)
    engine.ensure_store()
    for event in follow_events(engine.root, since, until):
        if wanted.fits(event):
            write_out(line(event) + "\n")
    return 0


def _when(text: str, now_s: float) -> int | None:
    return int(parse_when(text, now_s) * _SECOND) if text else None


def _line_of(format: str) -> Callable[[Event], str]:
    """Return what writes an event. Raises TemplateError."""
    if not format:
        return _plain
    from firkin.templates.template import parse_template
    from firkin.templates.values import Record, json_text

    if format == "json":
        return json_text
    template = parse_template(format)

    def line(event: Event) -> str:
        record = Record({"status": "", "id": "", "from": "", **event, "Actor": Record(event["Actor"])})
        record.filled = [name for name in record if name not in event]
        return template.execute(record)

    return line


def _plain(event: Event) -> str:
    seconds, rest = divmod(int(event["timeNano"]), _SECOND)
    local = time.localtime(seconds)
    offset = time.strftime("%z", local)
    zone = "Z" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:]}"
    when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{zone}"
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(event["Actor"]["Attributes"].items()))
    what = f"{when} {event['Type']} {event['Action']} {event['Actor']['ID']}"
    return f"{what} ({attributes})" if attributes else what
