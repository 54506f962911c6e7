"""`firkin explain`. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from firkin.builder.history.explain import Reason, change_in_words
from firkin.builder.history.record import BuildRecord, StepEntry
from firkin.builder.history.shelf import Shelf
from firkin.cli.command import Invocation
from firkin.cli.options import COMMON
from firkin.cli.requests import settings_of
from firkin.cli.run import write_out
from firkin.errors import UsageError
from firkin.events import Vertex
from firkin.render.text import safe, vertex_title

USAGE = "[OPTIONS] [BUILD [STEP]]"
ABOUT = (
    "Say why the steps of a build did not come from the cache. BUILD is an id or its beginning, a name, or `^N` for "
    "the Nth build before the last; without it, the last build. Each step is compared with the nearest earlier record. "
    "STEP is a number, or the beginning of an instruction; with it, everything that differs is listed, and steps "
    "that came from the cache are shown as well."
)
OPTIONS = COMMON
_MOST_FILES = 100


def run(invocation: Invocation) -> int:
    """Print a reason for each step that ran. Raises UsageError."""
    operands = invocation.arguments.operands
    if len(operands) > 2:
        raise UsageError("`firkin explain` takes a build and a step")
    shelf = Shelf(settings_of(invocation.arguments, invocation.ambient).root)
    records = shelf.records()
    record = shelf.find(operands[0] if operands else "", records)
    reasons = shelf.explain(record, records)
    if len(operands) == 2:
        chosen = [reason for reason in reasons if _is_meant(operands[1], reason.step)]
        if not chosen:
            raise UsageError(
                f"build `{record.id}` has no step `{operands[1]}`",
                hints=(f"`firkin builds show {record.id}` lists its steps",),
            )
        write_out("".join(_whole(reason) for reason in chosen))
    else:
        write_out(_text(record, reasons))
    return 0


def _is_meant(text: str, step: StepEntry) -> bool:
    """Say whether a text means a step: its number, `STAGE:NUMBER`, or how its instruction begins."""
    stage, _, number = text.rpartition(":")
    if number.isascii() and number.isdigit() and len(number) < 10:
        return int(number) == step.number and stage in ("", step.stage)
    return step.title.lower().startswith(text.lower())


def _text(record: BuildRecord, reasons: tuple[Reason, ...]) -> str:
    ran = [reason for reason in reasons if reason.kind != "cached"]
    lines = [f"build {record.id} of {safe(record.name)}: {record.status}"]
    for reason in ran:
        lines += [_head(reason.step), f"    {safe(reason.texts[0])}"]
    if not reasons:
        lines.append(f"it ended before its first step: `firkin builds logs {record.id}` prints its log")
    elif not ran:
        lines.append("every step came from the cache")
    else:
        builds = [build for build in dict.fromkeys(reason.build for reason in ran) if build]
        compared = f"; compared with {', '.join(f'build {build}' for build in builds)}" if builds else ""
        lines.append(f"{len(ran)} of {len(reasons)} steps did not come from the cache{compared}")
    return "\n".join(lines) + "\n"


def _whole(reason: Reason) -> str:
    """Return all that is known about one step."""
    step = reason.step
    lines = [_head(step), f"    {step.status or 'not run'}, key {step.key}"]
    if reason.build:
        lines.append(f"    compared with build {reason.build}:")
    lines += [f"    {safe(text)}" for text in reason.texts]
    if len(reason.files) > 1:
        lines += [f"        {safe(change_in_words(change))}" for change in reason.files[:_MOST_FILES]]
    if len(reason.files) > _MOST_FILES:
        lines.append(f"        … and {len(reason.files) - _MOST_FILES} more")
    return "\n".join(lines) + "\n"


def _head(step: StepEntry) -> str:
    return safe(vertex_title(Vertex(step.id, step.title, step.stage, step.number, step.total)))
