"""How a command ended. Pure."""

from __future__ import annotations

import msgspec


class ExecError(msgspec.Struct, frozen=True):
    """The command could not be executed: `errno` and the `path` that was tried."""

    errno: int
    path: str


class RunResult(msgspec.Struct, frozen=True):
    """How a command ended; `signal` is 0 unless it was killed by one.

    `covered` are paths of the root that something else was put over for a while, in place of a mount. `owners` are
    what the command gave files by chown where they can have one owner only: path, uid, gid, -1 for what it left as
    it was. `unheard` is the errno of why they could not be noted, or sockets of 32-bit programs judged; 0 otherwise.
    """

    exit_code: int
    signal: int = 0
    exec_error: ExecError | None = None
    cancelled: bool = False
    warnings: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()
    owners: tuple[tuple[str, int, int], ...] = ()
    unheard: int = 0
