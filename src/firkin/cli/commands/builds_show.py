"""`firkin builds show`, docker's `buildx history inspect`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from firkin.builder.history.record import BuildRecord, StepEntry
from firkin.builder.history.shelf import Shelf
from firkin.cli.command import Invocation
from firkin.cli.commands.builds_ls import BUILDER, took
from firkin.cli.options import COMMON, Option
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.errors import UsageError
from firkin.events import Log, Vertex
from firkin.render.text import decode, human_seconds, safe, vertex_title
from firkin.render.units import rfc3339

USAGE = "[OPTIONS] [BUILD]"
ABOUT = (
    "Show what is recorded of a build; without BUILD, of the last one. BUILD is an id or its beginning, a name, or "
    "`^N`. Values of build arguments and secrets are not recorded."
)
OPTIONS = (
    Option(("--format",), "format", "text", "`pretty` (default), `json` or a Go template", "FORMAT"),
    BUILDER,
    *COMMON,
)  # fmt: skip
_STATUS = {"cancelled": "canceled"}
_LAST_LINES = 16
_TAB = 8


def run(invocation: Invocation) -> int:
    """Print one record. Raises UsageError."""
    arguments, ambient = invocation
    operands = arguments.operands
    if operands[:1] == ("attachment",):
        raise UsageError("builds have no attachments: firkin makes no attestations yet")
    if len(operands) > 1:
        raise UsageError("`firkin builds show` takes one build")
    shelf = Shelf(settings_of(arguments, ambient).root)
    record = shelf.find("".join(operands))
    steps = shelf.steps(record)
    format = arguments.text("format", "pretty")
    if format == "json":
        import msgspec

        encoded = msgspec.json.encode(document_of(record, steps, ambient.now_s))
        write_out(msgspec.json.format(encoded, indent=2).decode() + "\n")
    elif format != "pretty":
        from firkin.templates.template import parse_template
        from firkin.templates.values import Record

        document = {**_EMPTY, **document_of(record, steps, ambient.now_s)}
        write_out(parse_template(format).execute(Record(document)) + "\n")
    else:
        lines = _pretty(record, steps, ambient.now_s, with_ref=not operands)
        write_out("\n".join([*lines, *_failure(shelf, record, steps), _LOGS.format(id=record.id)]) + "\n")
    return 0


_LOGS = "Print build logs: firkin builds logs {id}"
_EMPTY: dict[str, Any] = {
    "Name": "", "Ref": "", "Context": "", "Dockerfile": "", "VCSRepository": "", "VCSRevision": "", "Target": "",
    "Platform": [], "KeepGitDir": False, "NamedContexts": [], "Error": None, "BuildArgs": [], "Labels": [],
    "Materials": [], "Attachments": [], "Errors": [], "CompletedAt": None, "Images": [], "Warnings": [],
}  # fmt: skip


def document_of(record: BuildRecord, steps: tuple[StepEntry, ...], now_s: float) -> dict[str, Any]:
    """Return the document of `--format json`: buildx's fields, without those that are empty, and firkin's own after."""
    running = record.status == "running"
    error = record.error
    document: dict[str, Any] = {
        "Name": record.name,
        "Ref": record.id,
        "Context": record.context,
        "Dockerfile": record.dockerfile,
        "VCSRepository": record.context if "://" in record.context else "",
        "Target": record.target,
        "Platform": list(record.platforms) or [image.platform for image in record.images],
        "NamedContexts": _pairs(record.named_contexts),
        "StartedAt": rfc3339(record.started_s),
        "CompletedAt": "" if running else rfc3339(record.ended_s),
        "Duration": int(((now_s if running else record.ended_s) - record.started_s) * 1e9),
        "Status": _STATUS.get(record.status, record.status),
        "Error": {} if error is None else {"Code": error.exit_code, "Name": error.code, "Message": error.message},
        "BuildArgs": _names(name for name, _ in record.build_args),
        "Labels": _names(record.labels),
        "Materials": [{"URI": uri, "Digests": [digest]} for uri, digest in _materials(steps)],
        **_of_firkin(record, steps),
    }
    counts = {
        "NumCompletedSteps": record.completed_steps,
        "NumTotalSteps": record.total_steps,
        "NumCachedSteps": record.cached_steps,
        "Config": {name: value for name, _, value in _config(record)},
    }
    return {name: value for name, value in document.items() if value} | counts


def _of_firkin(record: BuildRecord, steps: tuple[StepEntry, ...]) -> dict[str, Any]:
    """Return the fields that buildx does not have."""
    return {
        "Images": [
            {"Digest": made.digest, "Config": made.config_digest, "Platform": made.platform, "Size": made.size_bytes}
            for made in record.images
        ],
        "Names": list(record.names),
        "Warnings": [{"Code": kept.code, "Message": kept.message, "Line": kept.line} for kept in record.warnings],
        "Steps": [_step_document(step) for step in steps if step.status],
    }


def _names(names: Iterable[str]) -> list[dict[str, str]]:
    return [{"Name": name} for name in names]


def _step_document(step: StepEntry) -> dict[str, Any]:
    found = {
        "ID": step.id, "Name": step.title, "Stage": step.stage, "Number": step.number, "Status": step.status,
        "Duration": int(step.seconds * 1e9), "Key": step.key, "Layer": step.layer, "FoundBy": step.place,
        "Error": step.detail if step.status == "failed" else "",
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in pairs]


def _materials(steps: tuple[StepEntry, ...]) -> list[tuple[str, str]]:
    """Return address and digest of each base image."""
    origins = dict.fromkeys(step.origin for step in steps if step.kind == "pull" and "@" in step.origin)
    return [(origin.rpartition("@")[0], origin.rpartition("@")[2]) for origin in origins]


def _config(record: BuildRecord) -> list[tuple[str, str, Any]]:
    """Return name in JSON, name for people and value of the options that are set."""
    found = [
        ("Network", "Network", record.network),
        ("MultiPlatform", "Multi-Platform", len(record.platforms) > 1),
        ("NoCache", "No Cache", record.no_cache),
        ("NoCacheFilter", "No Cache Filter", list(record.no_cache_filter)),
        ("SourceDateEpoch", "Source Date Epoch", "" if record.source_date_epoch is None
         else str(record.source_date_epoch)),
    ]  # fmt: skip
    return [row for row in found if row[2]]


def _pretty(record: BuildRecord, steps: tuple[StepEntry, ...], now_s: float, *, with_ref: bool) -> list[str]:
    """Return the blocks of buildx's inspect as lines."""
    about = [
        ("Name:", record.name), ("Ref:", record.id if with_ref else ""), ("Context:", record.context),
        ("Dockerfile:", record.dockerfile), ("Target:", record.target), ("Platforms:", ", ".join(record.platforms)),
    ]  # fmt: skip
    config = [(f"{name}:", _shown(value)) for _, name, value in _config(record)]
    lines = [*_block(about), *_table("NAMED CONTEXT", record.named_contexts)]
    lines += [*_block(_course(record, now_s)), *_block(config)]
    lines += _table("BUILD ARG", [(name, "(not recorded)") for name, _ in record.build_args])
    lines += _table("LABEL", [(name, "(not recorded)") for name in record.labels])
    listed = {
        ("Materials:", "URI", "DIGEST"): _materials(steps),
        ("Images:", "DIGEST", "PLATFORM"): [(image.digest, image.platform) for image in record.images],
        ("Steps:", "STATUS", "STEP"): [(_status_of(step), _title_of(step)) for step in steps if step.status],
    }
    for (title, *heads), rows in listed.items():
        lines += [title, *_block([(heads[0], heads[1]), *rows])] if rows else []
    return lines


def _course(record: BuildRecord, now_s: float) -> list[tuple[str, str]]:
    percent = record.cached_steps / record.total_steps * 100 if record.total_steps else 0
    ended = {
        "failed": ("Error:", record.error.message if record.error else "failed"),
        "cancelled": ("Status:", "Canceled"),
        "killed": ("Status:", "Killed"),
    }
    return [
        ("Started:", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_s))),
        ("Duration:", took(record, now_s).rstrip("+") + (" (running)" if record.status == "running" else "")),
        ended.get(record.status, ("", "")),
        ("Build Steps:", f"{record.completed_steps}/{record.total_steps} ({percent:.0f}% cached)"),
    ]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _status_of(step: StepEntry) -> str:
    return f"done {human_seconds(step.seconds)}" if step.status == "done" else step.status


def _title_of(step: StepEntry) -> str:
    return vertex_title(Vertex(step.id, step.title, step.stage, step.number, step.total))


def _block(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return the rows that have a value, in columns as Go's tabwriter makes them, and an empty line."""
    rows = [row for row in rows if row[1]]
    width = (max((len(row[0]) for row in rows), default=0) // _TAB + 1) * _TAB
    lines = [f"{label}{chr(9) * -(-(width - len(label)) // _TAB)}{safe(value)}" for label, value in rows]
    return [*lines, ""]


def _table(title: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    pairs = sorted(pairs)
    return _block([(title, "VALUE"), *pairs]) if pairs else []


def _failure(shelf: Shelf, record: BuildRecord, steps: tuple[StepEntry, ...]) -> list[str]:
    """Return the last output of the step that failed."""
    failed = next((step for step in steps if step.status == "failed"), None)
    if failed is None:
        return []
    output = b"".join(event.data for event in shelf.events(record) if isinstance(event, Log) and event.id == failed.id)
    lines = output.rstrip(b"\n").split(b"\n")[-_LAST_LINES:] if output.strip() else []
    if not lines:
        return []
    return ["Logs:", f"> => {safe(_title_of(failed))}:", *(f"> {safe(decode(line))}" for line in lines), ""]
