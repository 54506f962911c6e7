"""`firkin builds ls`, docker's `buildx history ls`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from firkin.builder.history.record import BuildRecord
from firkin.builder.history.shelf import Shelf
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.errors import UsageError
from firkin.render.rows import rows_text
from firkin.render.units import ago, rfc3339

USAGE = "[OPTIONS]"
ABOUT = (
    "List the builds that are recorded, the newest first. Filters: `ref`, `repository` and `status` (completed, "
    "running, error, canceled, killed) with `=` and `!=`; `startedAt`, `completedAt` and `duration` with `<`, `<=`, "
    "`>` and `>=` and a time (`24h`: a day ago, or RFC 3339). All of them must fit."
)
BUILDER = Option(("--builder",), "builder", "text", "has no effect: there are no builders to choose", "NAME")
OPTIONS = (
    Option(("--filter",), "filter", "many", "only builds that fit, e.g. `status=error`", "FILTER"),
    Option(("--format",), "format", "text", "`table`, `table TEMPLATE`, `json` or a Go template", "FORMAT"),
    Option(("--local",), "local", "flag", "only builds of the repository that this directory is in", takes_value=False),
    Option(("--no-trunc",), "no_trunc", "flag", "print whole names", takes_value=False),
    Option(("--quiet", "-q"), "quiet", "flag", "print ids only", takes_value=False),
    BUILDER,
    *COMMON,
)  # fmt: skip

FIELDS = {"Ref": "BUILD ID", "Name": "NAME", "Status": "STATUS", "CreatedAt": "CREATED AT", "Duration": "DURATION",
          "Link": ""}  # fmt: skip
_TABLE = "{{.Ref}}\\t{{.Name}}\\t{{.Status}}\\t{{.CreatedAt}}\\t{{.Duration}}"
_LONGEST_NAME = 36
# docker has one word for builds that failed or were cancelled, and no killed ones.
_WORDS = {"completed": "Completed", "running": "Running", "failed": "Error", "cancelled": "Error", "killed": "Killed"}
_FILTER_WORDS = {"failed": "error", "cancelled": "canceled"}
_OPERATORS = re.compile(r"(.*?)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__,
}  # fmt: skip

Fits = Callable[[BuildRecord], bool]


def run(invocation: Invocation) -> int:
    """Print a row for each build that fits."""
    arguments, ambient = invocation
    tests = [filter_of(word, ambient.now_s) for word in arguments.many("filter")]
    if arguments.flag("local"):
        tests.append(_local(ambient.cwd))
    records = Shelf(settings_of(arguments, ambient).root).records()
    found = [record for record in records if all(test(record) for test in tests)]
    found.sort(key=lambda record: record.status != "running")
    write_out(_text(found, arguments.text("format"), ambient.now_s, whole=arguments.flag("no_trunc"),
                    quiet=arguments.flag("quiet")))  # fmt: skip
    return 0


def _text(records: list[BuildRecord], format: str, now_s: float, *, whole: bool, quiet: bool) -> str:
    if quiet and not format:
        return "".join(f"{record.id}\n" for record in records)
    if format == "json":
        import msgspec

        return "".join(msgspec.json.encode(_document(record)).decode() + "\n" for record in records)
    cut = not whole and (not format or format.startswith("table"))
    return rows_text(format, FIELDS, [_row(record, now_s, cut=cut) for record in records], _TABLE)


def _row(record: BuildRecord, now_s: float, *, cut: bool) -> dict[str, str]:
    name = record.name
    if cut and len(name) > _LONGEST_NAME:
        name = ".." + name[2 - _LONGEST_NAME :]
    return {
        "Ref": record.id,
        "Name": name,
        "Status": _WORDS[record.status],
        "CreatedAt": ago(max(0.0, now_s - record.started_s)),
        "Duration": took(record, now_s),
        "Link": "",
    }


def took(record: BuildRecord, now_s: float) -> str:
    """Return how long a build took, with `+` while it runs. Mirrors: buildx formatDuration."""
    running = record.status == "running"
    seconds = max(0.0, (now_s if running else record.ended_s) - record.started_s)
    text = f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m {int(seconds) % 60:2}s"
    return text + "+" * running


def full_ref(record: BuildRecord) -> str:
    """Return BUILDER/NODE/ID, as buildx writes it where it has several builders."""
    return f"default/default/{record.id}"


def _document(record: BuildRecord) -> dict[str, object]:
    """Return the object of `--format json`, with buildx's keys, sorted."""
    ended = {} if record.status == "running" else {"completed_at": rfc3339(record.ended_s)}
    document: dict[str, object] = {
        "ref": full_ref(record),
        "name": record.name,
        "status": _WORDS[record.status],
        "created_at": rfc3339(record.started_s),
        "total_steps": record.total_steps,
        "completed_steps": record.completed_steps,
        "cached_steps": record.cached_steps,
        **ended,
    }
    return dict(sorted(document.items()))


def filter_of(word: str, now_s: float) -> Fits:
    """Return the test that a filter means. Raises UsageError. Mirrors: buildx dockerFiltersToBuildkit."""
    match = _OPERATORS.fullmatch(word)
    if match is None:
        raise UsageError(f'invalid filter "{word}"')
    key, operator, value = match.groups()
    if key in ("ref", "repository", "status"):
        if operator not in ("=", "!="):
            raise UsageError(f'invalid separator for "{word}", expected = or !=')
        return _by_text(key, operator, value)
    if key in ("startedAt", "completedAt", "duration"):
        if operator in ("=", "!="):
            raise UsageError(f'invalid separator for "{word}", expected <=, <, >= or >')
        return _by_time(key, _COMPARED[operator], value, now_s)
    raise UsageError(f'unsupported filter "{word}"')


def _by_text(key: str, operator: str, value: str) -> Fits:
    def text_of(record: BuildRecord) -> str:
        if key == "status":
            return _FILTER_WORDS.get(record.status, record.status)
        return record.id if key == "ref" else record.context

    if operator == "!=":
        return lambda record: text_of(record) != value
    if key == "status":
        return lambda record: text_of(record) == value
    return lambda record: value in text_of(record)


def _by_time(key: str, compare: Callable[[float, float], bool], value: str, now_s: float) -> Fits:
    from firkin.cli.filters import parse_when

    if key == "duration":
        limit = now_s - parse_when(value, now_s)
        return lambda record: compare(float(record.ended_s - record.started_s if record.ended_s else 0), limit)
    limit = parse_when(value, now_s)
    if key == "startedAt":
        return lambda record: compare(float(record.started_s), limit)
    return lambda record: compare(float(record.ended_s), limit)


def _local(cwd: str) -> Fits:
    """Return the test for builds whose context lies in the git repository around a directory. Raises UsageError."""
    top = cwd
    while not os.path.exists(f"{top.rstrip('/')}/.git"):
        if top == "/":
            raise UsageError("could not find git repository for local filter")
        top = os.path.dirname(top)
    return lambda record: record.context == top or record.context.startswith(top.rstrip("/") + "/")
