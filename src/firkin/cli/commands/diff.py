"""`firkin diff`: what differs between two images, or in a container. Does I/O. Only `cli.run` may import it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import msgspec

from firkin.cli.command import Invocation
from firkin.cli.commands import container_diff
from firkin.cli.exploring import ABOUT_IMAGE, EXPLORING, Explorer, Output, explore, shown_mode, shown_name
from firkin.cli.options import Option
from firkin.errors import UsageError
from firkin.images.diff import ConfigChange, FileChange, config_changes, file_changes
from firkin.images.explore.files import ImageFiles
from firkin.images.explore.report import entry_document, path_document
from firkin.layer.change import Entry

USAGE = "[OPTIONS] IMAGE IMAGE    firkin diff CONTAINER"
ABOUT = (
    "With one argument, list what a container changed (`firkin container diff`). With two, show what differs between "
    "two images: a line for each setting and each file, A for added, C for changed, D for "
    f"deleted. {ABOUT_IMAGE} Layers at the bottom that both have are not compared. Ends with 0 (with `--exit-code`: 1 "
    "if anything differs) or, after an error, 2 or more."
)
OPTIONS = (
    Option(("--exit-code",), "exit_code", "flag", "end with 1 if anything differs, as diff(1) does", takes_value=False),
    Option(("--json",), "json", "flag", "print a JSON object for each difference", takes_value=False),
    Option(("--times",), "times", "flag", "compare times as well", takes_value=False),
    *EXPLORING,
)  # fmt: skip
FINE_EXIT_CODES = True

_LETTERS = {"added": "A", "removed": "D", "changed": "C"}


def run(invocation: Invocation) -> int:
    """Print the differences. Raises UsageError."""
    arguments = invocation.arguments
    if len(arguments.operands) == 1:
        return container_diff.run(invocation)
    if len(arguments.operands) != 2:
        raise UsageError("`firkin diff` needs two images, or a container")
    old, new = arguments.operands
    times = arguments.flag("times")

    def work(explorer: Explorer) -> int:
        before, after = explorer.fetch(lambda: (explorer.open(old), explorer.open(new)))
        output = Output(explorer.cancel)
        differs = False
        for setting in config_changes(before.image, after.image, times=times):
            differs = True
            output.line(_json(_config_document(setting)) if arguments.flag("json") else _config_line(setting))
        for change in _file_changes(explorer, before, after, times):
            differs = True
            output.line(_json(_file_document(change)) if arguments.flag("json") else _file_line(change))
        output.flush()
        return 1 if differs and arguments.flag("exit_code") else 0

    return explore(invocation, work)


def _file_changes(
    explorer: Explorer, before: ImageFiles, after: ImageFiles, times: bool
) -> Iterable[FileChange]:  # fmt: skip
    """Return the changes; all that has to be fetched is fetched, and drawn, before the first."""
    changes = file_changes(explorer.session, before, after, times=times)
    first = explorer.fetch(lambda: next(changes, None))
    return chain((first,), changes) if first is not None else ()


def _config_line(change: ConfigChange) -> str:
    name = shown_name(f"{change.field} {change.key}".rstrip())
    values = " → ".join(shown_name(value) for value in (change.old, change.new) if value is not None)
    return f"{_LETTERS[change.what]} config {name}: {values}"


def _file_line(change: FileChange) -> str:
    path = shown_name("/" + change.path)
    entry = change.new or change.old
    if change.what == "changed" or entry is None:
        return f"C {path}  {', '.join(map(shown_name, change.how))}"
    return f"{_LETTERS[change.what]} {path}  {_attributes(entry)}"


def _attributes(entry: Entry) -> str:
    text = f"{shown_mode(entry.kind, entry.mode)} {entry.uid}:{entry.gid}"
    if entry.kind == "file":
        return f"{text} {entry.size}"
    return f"{text} -> {shown_name(entry.target)}" if entry.kind == "symlink" else text


def _config_document(change: ConfigChange) -> dict[str, object]:
    return {"kind": "config", "change": change.what, "field": change.field, "key": change.key, "old": change.old,
            "new": change.new}  # fmt: skip


def _file_document(change: FileChange) -> dict[str, object]:
    document: dict[str, object] = {"kind": "file", "change": change.what, **path_document("path", "/" + change.path)}
    for name, entry, digest in (("old", change.old, change.old_sha256), ("new", change.new, change.new_sha256)):
        if entry is not None:
            document[name] = {**entry_document(entry), **({"sha256": digest} if digest else {})}
    document["how"] = list(change.how)
    return document


def _json(document: dict[str, object]) -> str:
    return msgspec.json.encode(document).decode()
