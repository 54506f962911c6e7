"""Explains why a step is not cached: the parts of its key that differ from those of an earlier key. Pure.

One comparison serves `build --explain`, which has the keys themselves, and records of builds, whose parts are texts of
the same names with hashes in place of values (`history/redact.py`). So values are compared, and shown only where
SHOWN has their name; what follows a NUL in a value is a hash.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from firkin.builder.graph.key import READS, Part
from firkin.text import hide_passwords

_WHAT = {
    "op": "it is another instruction",
    "platform": "the platform",
    "command": "the command",
    "workdir": "the working directory (WORKDIR)",
    "user": "the user (USER)",
    "mount": "its mounts (`--mount`)",
    "file": "the text of its heredoc",
    "network": "the network mode",
    "insecure": "`--security`",
    "hostname": "the host name",
    "sources": "its sources",
    "destination": "its destination",
    "chown": "`--chown`",
    "chmod": "`--chmod`",
    "keep_owner": "whether owners are kept",
    "unpack": "`--unpack`",
    "link": "`--link`",
    "parents": "`--parents`",
    "exclude": "`--exclude`",
    "path": "the path",
    "files": "files that it copies",
    "mounted files": "files that it mounts",
    "root": "the file system that it starts from (the base image, or a step before it)",
    "made": "the time of what it makes (SOURCE_DATE_EPOCH)",
    "times": "times that were set on the files that it copies",
}
_SHOWN = frozenset(("platform", "command", "workdir", "user", "network", "destination", "chown", "chmod", "path"))
_LONGEST = 200
VARIABLES = "environment"

Change = Literal["changed", "added", "removed", "order"]


class Difference(NamedTuple):
    """One part of a key that differs: its name and the values of before and after.

    For a variable, `subject` is its name, for files the position among the parts that stand for files.
    """

    name: str
    change: Change = "changed"
    subject: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def differences(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[Difference, ...]:
    """Return what differs between two keys, in the order of the new key's parts; () exactly if the keys are equal."""
    found: list[Difference] = []
    for name in dict.fromkeys(name for name, _ in (*new, *old)):
        before, after = _values(old, name), _values(new, name)
        if before != after:
            found += _of_part(name, before, after)
    if not found and old != new:
        found.append(Difference("op", "order"))
    return tuple(found)


def _values(parts: tuple[Part, ...], name: str) -> tuple[str, ...]:
    return tuple(value for other, value in parts if other == name)


def _of_part(name: str, before: tuple[str, ...], after: tuple[str, ...]) -> list[Difference]:
    if name == VARIABLES:
        return _variables(before, after)
    if name in READS and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [Difference(name, "changed", str(at), (a,), (b,)) for at, (a, b) in pairs if a != b]
    return [Difference(name, "changed", "", before, after)]


def comparable(old: tuple[Part, ...], new: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return both keys without the times of files, which are a part of a key only in some builds.

    They stay where nothing else differs and both keys have them.
    """
    then, now = (tuple(part for part in parts if part[0] != "times") for parts in (old, new))
    timed = then == now and len(then) < len(old) and len(now) < len(new)
    return (old, new) if timed else (then, now)


def explain(old: tuple[Part, ...], new: tuple[Part, ...]) -> str:
    """Return the first thing that changed from `old` to `new`, in words; "" when they are equal."""
    found = differences(old, new)
    return in_words(found[0]) if found else ""


def in_words(difference: Difference) -> str:
    """Return a difference in words. Values of variables are not shown: build arguments may be secret."""
    name, change, subject, before, after = difference
    if name == VARIABLES:
        if change == "order":
            return "the order of its variables (ENV and ARG) changed"
        told = f"variable `{subject}` (ENV or ARG)"
        return {"added": f"{told} is new", "removed": f"{told} is gone"}.get(change, f"the value of {told} changed")
    what = _WHAT.get(name, f"`{name}`")
    if name == "op":
        return what
    text = f"{what} changed"
    if name in _SHOWN and len(before) == len(after) == 1:
        shown = [_short(value.partition("\0")[0]) for value in (*before, *after)]
        if shown[0] != shown[1]:
            text += f": `{shown[0]}` → `{shown[1]}`"
    return text


def _variables(before: tuple[str, ...], after: tuple[str, ...]) -> list[Difference]:
    """Return the variables of the environment (ENV or ARG) that have changed."""
    old, new = dict(map(_split, before)), dict(map(_split, after))
    found = [Difference(VARIABLES, "added", name) for name in new if name not in old]
    found += [Difference(VARIABLES, "removed", name) for name in old if name not in new]
    found += [Difference(VARIABLES, "changed", name) for name in new if name in old and old[name] != new[name]]
    return found or [Difference(VARIABLES, "order")]


def _split(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value


def _short(value: str) -> str:
    value = hide_passwords(value)
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
