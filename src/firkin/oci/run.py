"""A command to run: RunSpec, its mounts, and the look-up of its user's uid and gids. Pure.

Ids are as the command sees them (inside its user namespace). Targets of mounts are paths in the image, sources are
paths on the host.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import msgspec

from firkin.oci.run_settings import DEFAULT_SHM_BYTES, DEFAULT_UMASK, Network, Security, Ulimit
from firkin.text import LARGEST_ID, Pairs, whole_number


class HostMount(msgspec.Struct, frozen=True):
    """A file or directory of the host, or the merged view of layers.

    `lowers` has one path (a directory, a file or a socket) or several layer directories, from the
    top down. `path` is looked up beneath them and cannot lead out; None means the one path itself.
    If `readonly` is false, writes reach the source, unless `discard` is set (layers always discard).
    """

    target: str
    lowers: tuple[str, ...]
    path: str | None = None
    readonly: bool = True
    discard: bool = False


class MemoryMount(msgspec.Struct, frozen=True):
    """An empty tmpfs. Without `mode` it has the mode of the directory that it covers, or 1777."""

    target: str
    size_bytes: int | None = None
    mode: int | None = None


class FileMount(msgspec.Struct, frozen=True):
    """A file with the given bytes, which are never written to a disk: a secret, a heredoc script."""

    target: str
    content: bytes
    mode: int = 0o400
    uid: int = 0
    gid: int = 0

    def __repr__(self) -> str:
        return f"FileMount({self.target!r})"  # the content may be a secret


Mount = HostMount | MemoryMount | FileMount


class RunSpec(msgspec.Struct, frozen=True):
    """One command. `env` must hold PATH if argv[0] is to be looked up.

    `terminal` says that standard input is a terminal, which becomes the command's controlling terminal.
    """

    argv: tuple[str, ...]
    hostname: str
    env: Pairs = ()
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    arg0: str | None = None
    network: Network = "default"
    security: Security = "sandbox"
    hosts: Pairs = ()  # name, address
    resolv_conf: bytes = b""
    shm_size_bytes: int = DEFAULT_SHM_BYTES
    ulimits: tuple[Ulimit, ...] = ()
    mounts: tuple[Mount, ...] = ()
    umask: int = DEFAULT_UMASK
    terminal: bool = False


class ResolvedUser(NamedTuple):
    """Ids and home directory of a user; `home` is "/" if the image has no entry for it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class UserError(ValueError):
    """A user or group that an image does not have, or a number out of range."""

    def __init__(self, message: str, *, code: str, hints: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.code, self.hints = message, code, hints


def resolve_user(text: str, passwd: bytes, group: bytes) -> ResolvedUser:
    """Return the ids for `USER text` ("user[:group]", names or numbers) in an image.

    `passwd` and `group` are the image's files, b"" where it has none. `u:g` runs with that group
    only, `u` with the primary and supplementary groups of the image; a number needs no entry.
    The supplementary groups always include the primary one (CVE-2023-25173).
    Raises UserError for an unknown name. Mirrors: moby/sys user.GetExecUser, buildkit oci.GetUser.
    """
    user_text, _, group_text = text.partition(":")
    groups = _records(group, 3)
    name, uid, gid, home = _user(user_text, _records(passwd, 6))
    if group_text:
        gid = _group(group_text, groups)
        return ResolvedUser(uid, gid, (gid,), home)
    members = (_id(record[2], "group") for record in groups if len(record) > 3 and name in record[3].split(","))
    return ResolvedUser(uid, gid, tuple(dict.fromkeys((gid, *members))), home)


def _user(text: str, users: list[list[str]]) -> tuple[str | None, int, int, str]:
    """Return the name (None without an entry), uid, primary gid and home of a user."""
    uid = _number(text or "0", "user")
    for record in users:
        if record[0] == text if uid is None else whole_number(record[2], LARGEST_ID) == uid:
            return record[0], _id(record[2], "user"), _id(record[3], "group"), record[5] or "/"
    if uid is None:
        _unknown("user", text, "passwd")
    return None, uid, 0, "/" if uid else "/root"


def _group(text: str, groups: list[list[str]]) -> int:
    gid = _number(text, "group")
    if gid is None:
        found = next((record for record in groups if record[0] == text), None) or _unknown("group", text, "group")
        gid = _id(found[2], "group")
    return gid


def _unknown(what: str, name: str, file: str) -> NoReturn:
    raise UserError(
        f"unable to find {what} `{name}`: no such name in the image's /etc/{file}",
        code=f"{what}-unknown",
        hints=(f"create the {what} in an earlier RUN step, or give its number",),
    )


def _records(text: bytes, at_least: int) -> list[list[str]]:
    """Return the lines of passwd(5) or group(5) whose numeric fields are valid."""
    records = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        record = line.strip().split(":")
        if line.startswith("#") or len(record) < at_least:
            continue
        numbers = record[2:4] if at_least == 6 else record[2:3]
        if all(number.isascii() and number.isdigit() for number in numbers):
            records.append(record)
    return records


def _number(text: str, what: str) -> int | None:
    """Return a numeric id, None for a name. Raises UserError beyond 2**31 - 1."""
    return _id(text, what) if text.isascii() and text.isdigit() else None


def _id(digits: str, what: str) -> int:
    number = whole_number(digits, LARGEST_ID)
    if number is None:
        raise UserError(f"{what} id {digits[:20]} is out of range", code=f"{what}-range")
    return number
