"""Explains why a step is not cached: the first part of its key that differs from an earlier key. Pure."""

from __future__ import annotations

from firkin.builder.graph.key import Part
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
}
_SHOWN = frozenset(("platform", "command", "workdir", "user", "network", "destination", "chown", "chmod", "path"))
_LONGEST = 200


def explain(old: tuple[Part, ...], new: tuple[Part, ...]) -> str:
    """Return what changed from `old` to `new`, in words; "" when they are equal.

    Values of variables are not shown: build arguments may be secret.
    """
    for name in dict.fromkeys(name for name, _ in (*new, *old)):
        before = tuple(value for other, value in old if other == name)
        after = tuple(value for other, value in new if other == name)
        if before == after:
            continue
        if name == "environment":
            return _variables(before, after)
        what = _WHAT.get(name, f"`{name}`")
        text = what if name == "op" else f"{what} changed"
        if name in _SHOWN and len(before) == len(after) == 1:
            text += f": `{_short(before[0])}` → `{_short(after[0])}`"
        return text
    return ""


def _variables(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Say which variable of the environment (ENV or ARG) has changed."""
    old, new = dict(map(_split, before)), dict(map(_split, after))
    for name in new:
        if name not in old:
            return f"variable `{name}` (ENV or ARG) is new"
    for name in old:
        if name not in new:
            return f"variable `{name}` (ENV or ARG) is gone"
    for name, value in new.items():
        if old[name] != value:
            return f"the value of variable `{name}` (ENV or ARG) changed"
    return "the order of its variables (ENV and ARG) changed"


def _split(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value


def _short(value: str) -> str:
    value = hide_passwords(value)
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
