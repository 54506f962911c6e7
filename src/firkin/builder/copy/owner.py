"""Resolves `user[:group]` to a uid and gid in a root. Pure. The copy planner imports it.

Mirrors: moby/buildkit client/llb/fileop.go (WithUser), solver/llbsolver/ops/user_linux.go (readUser).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from firkin.builder.copy.select import follow
from firkin.errors import StepFailed
from firkin.layer.change import Content, View
from firkin.text import LARGEST_ID, whole_number


class Owner(NamedTuple):
    """A uid and a gid."""

    uid: int
    gid: int


def find_owner(
    text: str,
    root: View | None,
    read: Callable[[Content], bytes],
    warn: Callable[[str, str], None],
    option: str,
    *,
    link: bool = False,
) -> Owner:
    """Resolve `user[:group]`; "" is 0:0. `root` is None with --link (`link`) and for a first layer.

    A user name alone implies the primary group of its passwd entry. A number alone is the gid as well. An empty
    part before or after a colon is 0. An unknown name counts as 0 (an unknown group leaves the gid as it is) with
    a warning, as in BuildKit, even if the root has no passwd at all. Raises StepFailed for a name if `root` is
    None, and for a passwd or group that is a directory.
    """
    if not text:
        return Owner(0, 0)
    user, colon, group = text.partition(":")
    uid = gid = 0
    number = _number(user)
    if number is not None:
        uid = gid = number
    elif user or not colon:
        fields = _find(root, "etc/passwd", user, read, option, "user", link)
        if fields is None:
            warn("unknown-user", f"{option}: no user `{user}` in /etc/passwd, so the owner is 0")
        else:
            uid, gid = _field(fields, 2), _field(fields, 3)
    if colon:
        number = _number(group or "0")
        if number is not None:
            gid = number
        else:
            fields = _find(root, "etc/group", group, read, option, "group", link)
            if fields is None:
                warn("unknown-group", f"{option}: no group `{group}` in /etc/group, so the group is {gid}")
            else:
                gid = _field(fields, 2)
    return Owner(uid, gid)


def is_numeric(text: str) -> bool:
    """Say whether `user[:group]` needs no look at /etc/passwd and /etc/group."""
    return all(not part or _number(part) is not None for part in text.split(":", 1))


def _number(text: str) -> int | None:
    if text == "root":
        return 0
    return whole_number(text, LARGEST_ID)


def _field(fields: list[str], at: int) -> int:
    """Return a numeric field of a line; 0 if it is missing or not a number. Raises StepFailed if it is too large."""
    text = fields[at] if at < len(fields) else ""
    number = whole_number(text, LARGEST_ID)
    if number is None and text.isascii() and text.isdigit():
        raise StepFailed(f"`{fields[0]}` has the id {text[:20]} in the image, which no file can belong to",
                         code="id-range")  # fmt: skip
    return number or 0


def _find(
    root: View | None, path: str, name: str, read: Callable[[Content], bytes], option: str, what: str, link: bool
) -> list[str] | None:
    """Return the fields of a name's line in passwd or group, None if there is none. Raises StepFailed."""
    if root is None and link:
        raise StepFailed(
            f"{option}: cannot look up {what} `{name}`: there is no /{path} with --link",
            code="copy-link-name",
            hints=(f"give the {what} by its number, or leave out --link",),
        )
    if root is None:
        # BuildKit fails with `invalid user index: -1`: an empty root has no passwd file to read
        raise StepFailed(
            f"{option}: cannot look up {what} `{name}`: there is no /{path} in `FROM scratch`",
            code="owner-in-empty-root",
            hints=(f"give the {what} by its number, or copy a /{path} first",),
        )
    found = follow(root.lstat, path)
    entry = root.lstat(found)
    if entry is not None and entry.kind == "dir":
        raise StepFailed(f"{option}: cannot look up {what} `{name}`: /{path} is a directory", code="owner-file")
    if entry is None or entry.kind != "file":
        return None
    for line in read(root.content(found)).decode("utf-8", "surrogateescape").split("\n"):
        fields = line.strip().split(":")
        if fields[0] == name:
            return fields
    return None
