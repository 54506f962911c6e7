"""`firkin logs`. Does I/O. Only `cli.run` may import it. Mirrors: docker/cli cli/command/container/logs.go."""

from __future__ import annotations

import time

from firkin.cli.command import Invocation
from firkin.cli.engine import open_engine
from firkin.cli.options import COMMON, Option
from firkin.cli.run import write_bytes
from firkin.containers.log_files import LogEntry
from firkin.containers.logs import STREAMS, LogQuery, line_bytes, read_logs
from firkin.errors import UsageError

USAGE = "[OPTIONS] CONTAINER"
ABOUT = "Print what a container wrote, its standard error to standard error."
OPTIONS = (
    Option(("--details",), "details", "flag", "print what `--log-opt` asked to keep with each line", takes_value=False),
    Option(("--follow", "-f"), "follow", "flag", "go on with what is written, until the container ends",
           takes_value=False),
    Option(("--since",), "since", "text", "print lines since TIME, e.g. `2024-01-31T13:23:37Z` or `42m` (ago)", "TIME"),
    Option(("--tail", "-n"), "tail", "text", "print the last N lines only (default: all)", "N"),
    Option(("--timestamps", "-t"), "timestamps", "flag", "print the time of each line", takes_value=False),
    Option(("--until",), "until", "text", "print lines before TIME", "TIME"),
    *COMMON,
)  # fmt: skip

_FRACTION = r"(?a)(?:T\d\d:\d\d:\d\d|^\d+)\.(\d{1,9})(?=Z|[+-]|$)"


def run(invocation: Invocation) -> int:
    """Print the lines. Raises UsageError, ContainerError."""
    arguments = invocation.arguments
    if len(arguments.operands) != 1:
        raise UsageError("`firkin logs` takes one container")
    engine = open_engine(invocation)
    record = engine.home.find(arguments.operands[0])
    tail = arguments.text("tail", "all")
    query = LogQuery(
        since_ns=_time_ns(invocation, "since"),
        until_ns=_time_ns(invocation, "until"),
        tail=int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 10 else None,
        follow=arguments.flag("follow"),
    )
    timestamps, details = arguments.flag("timestamps"), arguments.flag("details")
    for lines in read_logs(engine, record, query):
        _write(lines, timestamps, details)
    return 0


def _write(lines: list[LogEntry], timestamps: bool, details: bool) -> None:
    """Write lines, those of one stream that follow one another at once."""
    stream, gathered = "", list[bytes]()
    for line in lines:
        if line.stream != stream and gathered:
            write_bytes(STREAMS.get(stream, 1), b"".join(gathered))
            gathered = []
        stream = line.stream
        gathered.append(line_bytes(line, timestamps=timestamps, details=details))
    write_bytes(STREAMS.get(stream, 1), b"".join(gathered))


def _time_ns(invocation: Invocation, name: str) -> int | None:
    text = invocation.arguments.text(name)
    if not text:
        return None
    import re

    from firkin.cli.filters import parse_when

    # Times come back from `--timestamps` with nine digits, which a float does not have.
    whole, fraction = text, ""
    match = re.search(_FRACTION, text)
    if match is not None:
        whole, fraction = text[: match.start(1) - 1] + text[match.end(1) :], match[1]
    try:
        return int(parse_when(whole, time.time()) * 10**9) + int(fraction.ljust(9, "0") or 0)
    except UsageError as error:
        message = f'invalid value for "{name}": failed to parse value as time or duration: "{text[:40]}"'
        raise UsageError(message, hints=error.hints) from error
