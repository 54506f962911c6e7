"""A command to run: RunSpec, its mounts, and the look-up of its user's uid and gids. Pure.

Ids are as the command sees them (inside its user namespace). Targets of mounts are paths in the image, sources are
paths on the host.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from firkin.oci.run_settings import DEFAULT_SHM_BYTES, DEFAULT_UMASK, Network, Security, Ulimit
from firkin.oci.users import NoSuchId, find_user
from firkin.text import Pairs


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
    The supplementary groups always include the primary one (CVE-2023-25173). Without an entry, root lives in /root.
    Raises UserError for an unknown name. Mirrors: moby/sys user.GetExecUser, buildkit oci.GetUser.
    """
    try:
        uid, gid, groups, home = find_user(text, passwd, group)
    except NoSuchId as error:
        what = error.what
        if not error.missing:
            raise UserError(f"{what} id {error.text} is out of range", code=f"{what}-range") from error
        file = "passwd" if what == "user" else "group"
        raise UserError(
            f"unable to find {what} `{error.text}`: no such name in the image's /etc/{file}",
            code=f"{what}-unknown",
            hints=(f"create the {what} in an earlier RUN step, or give its number",),
        ) from error
    return ResolvedUser(uid, gid, groups, home or ("/" if uid else "/root"))
