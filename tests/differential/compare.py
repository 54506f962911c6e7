"""Tells where two outcomes differ, and which differences of a BuildKit are known. Pure.

A difference is a line of text: where, what BuildKit has, what firkin has. `KNOWN` says of which there are reasons; what is
left is a fault, of firkin or of this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from differential.cases import Case
from differential.images import Entry, Made

# What is younger was set by a clock (generate.NEWEST): BuildKit leaves it to chance, so there is nothing to compare.
SET_BEFORE = 1_600_000_000

RUNTIME = (
    "Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes", "StopSignal", "Shell",
    "OnBuild", "Healthcheck",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """`place` is a path, a field of the configuration or `outcome`; the others are what each builder has there."""

    place: str
    what: str
    buildkit: str
    firkin: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: BuildKit {self.buildkit}, firkin {self.firkin}"


@dataclass(frozen=True)
class Known:
    """A difference with a reason. `until` is the first version that has it no more; () is every one."""

    reason: str
    applies: Callable[[Case, Difference], bool]
    until: tuple[int, ...] = ()


def compare(theirs: Made, ours: Made) -> Iterator[Difference]:
    """Yield all differences: of failing, of trees, of configurations."""
    if ours.error.startswith("internal error"):
        yield Difference("outcome", "build", "", ours.error)
        return
    if theirs.error or ours.error:
        if bool(theirs.error) != bool(ours.error):
            yield Difference("outcome", "build", _last(theirs.error), _last(ours.error))
        return
    assert theirs.tree is not None and ours.tree is not None and theirs.config is not None and ours.config is not None
    for path in sorted(theirs.tree.keys() | ours.tree.keys()):
        yield from _entries(path, theirs.tree.get(path), ours.tree.get(path))
    for name in RUNTIME:
        one, two = (made.config["config"].get(name) or None for made in (theirs, ours) if made.config)
        if one != two:
            yield Difference(f"config.{name}", "value", repr(one), repr(two))
    for field in ("architecture", "os", "author"):
        if theirs.config.get(field) != ours.config.get(field):
            yield Difference(field, "value", repr(theirs.config.get(field)), repr(ours.config.get(field)))
    one, two = _history(theirs.config), _history(ours.config)
    for number in range(max(len(one), len(two))):
        pair = [lines[number] if number < len(lines) else "nothing" for lines in (one, two)]
        if pair[0] != pair[1]:
            yield Difference("history", f"line {number}", *pair)


def _last(error: str) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    if not lines:
        return "builds"
    return "fails: " + next((line for line in lines if line.startswith("error:")), lines[-1])


def _entries(path: str, theirs: Entry | None, ours: Entry | None) -> Iterator[Difference]:
    if theirs is None or ours is None:
        yield Difference(path, "entry", _shown(theirs), _shown(ours))
        return
    for field in ("kind", "mode", "owner", "content", "link", "same", "xattrs"):
        one, two = getattr(theirs, field), getattr(ours, field)
        if field == "same" and theirs.kind == "link":
            continue
        if one != two:
            yield Difference(
                path, field, f"{one:o}" if field == "mode" else repr(one), f"{two:o}" if field == "mode" else repr(two)
            )
    if theirs.mtime < SET_BEFORE and theirs.mtime != ours.mtime:
        yield Difference(path, f"mtime of a {ours.kind}", str(theirs.mtime), str(ours.mtime))


def _shown(entry: Entry | None) -> str:
    return "nothing" if entry is None else f"a {entry.kind}"


def _history(config: dict[str, Any]) -> list[str]:
    lines = config.get("history", ())
    return [line.get("created_by", "") + " (empty)" * line.get("empty_layer", False) for line in lines]


def unknown(case: Case, version: tuple[int, ...], found: Iterator[Difference]) -> list[Difference]:
    """Return the differences that nothing in KNOWN explains."""
    table = [known for known in KNOWN if not known.until or version < known.until]
    return [difference for difference in found if not any(known.applies(case, difference) for known in table)]


def _fails_with(text: str) -> Callable[[Case, Difference], bool]:
    return lambda case, difference: difference.place == "outcome" and text in difference.buildkit


def _flags_in_history(case: Case, difference: Difference) -> bool:
    return difference.place == "history" and difference.buildkit == re.sub(r"--ch(own|mod)=\S+ ", "", difference.firkin)


def _healthcheck_text(case: Case, difference: Difference) -> bool:
    return difference.place == "history" and difference.firkin.startswith("HEALTHCHECK {")


def _special_bits(case: Case, difference: Difference) -> bool:
    if difference.what != "mode" or "--chmod=" not in case.dockerfile:
        return False
    return int(difference.buildkit, 8) & 0o777 == int(difference.firkin, 8) & 0o777


def _made_by_chmod(case: Case, difference: Difference) -> bool:
    return difference.what == "mode" and difference.buildkit == "755" and "--chmod=" in case.dockerfile


def _ports(case: Case, difference: Difference) -> bool:
    return difference.place == "history" and difference.buildkit.startswith("EXPOSE map[")


def _arguments(case: Case, difference: Difference) -> bool:
    if difference.place != "history" or not (difference.buildkit + difference.firkin).startswith("ARG "):
        return False
    unset = difference.buildkit.removesuffix(" (empty)") + "="
    return difference.firkin.startswith((unset, *(f"ARG {name}={value} " for name, value in case.arguments.items())))


def _existing_directory(case: Case, difference: Difference) -> bool:
    return difference.what == "mtime of a dir" and re.search(r"^(COPY|ADD)", case.dockerfile, re.M) is not None


def _maybe_included(case: Case, difference: Difference) -> bool:
    ignored = [item.text for item in case.context if item.path == ".dockerignore"]
    if not ignored or "!" not in ignored[0]:
        return False
    return (difference.what, difference.firkin) == ("entry", "nothing") or (
        difference.buildkit == "builds" and difference.firkin.endswith("not found")
    )


def _fifo(case: Case, difference: Difference) -> bool:
    return (difference.what, difference.buildkit, difference.firkin) == ("entry", "nothing", "a fifo")


def _owner_of_member(case: Case, difference: Difference) -> bool:
    owners = {str((member.owner, member.owner)) for item in case.context for member in item.members}
    added = re.search(r"^ADD .*--chown=", case.dockerfile, re.M) is not None
    return difference.what == "owner" and added and difference.buildkit in owners


def _dated_through_link(case: Case, difference: Difference) -> bool:
    for item in case.context:
        folders = {member.path.strip("/"): member.mtime for member in item.members if member.kind == "dir"}
        links = {member.path.strip("/") for member in item.members if member.kind == "link"}
        if difference.buildkit in {str(folders[path]) for path in folders.keys() & links}:
            return difference.what.startswith("mtime")
    return False


KNOWN = (
    Known("the time of an archive's directory went through the link that replaced it", _dated_through_link),
    Known("members of an archive kept their owners, whatever --chown said", _owner_of_member, (25,)),
    Known("--chown and --chmod stand in the history since Dockerfile 1.5", _flags_in_history, (24,)),
    Known("HEALTHCHECK is written with the names of its fields since Dockerfile 1.7", _healthcheck_text, (26,)),
    Known("--chmod kept the special bits of the source, and dropped its own", _special_bits, (25,)),
    Known("directories made for a destination have the mode of --chmod since fsutil of 2024", _made_by_chmod, (28,)),
    Known("pipes of a stage were left out, without a word", _fifo, (25,)),
    Known("`${x+y}` and `${x-y}` without a colon are known since Dockerfile 1.4", _fails_with("missing ':' in"), (23,)),
    Known("EXPOSE was written as Go prints a map", _ports, (26,)),
    Known("ARG was written with its own default, whatever its value was", _arguments, (26,)),
    Known("an existing directory kept its time when a directory was copied onto it", _existing_directory, (25,)),
    Known(
        "exceptions of an ignore file also held below directories that nothing before them had matched, and "
        "directories were sent that hold nothing in the end",
        _maybe_included,
        (23,),
    ),
    Known("an owner by name needed /etc/passwd, or /etc/group", _fails_with("no such file or directory"), (25,)),
    Known("the client looked for names in what is no directory", _fails_with("error from sender: readdir")),
    Known("the client gave up on links that lead in circles, which nothing copies", _fails_with("too many levels of")),
)
