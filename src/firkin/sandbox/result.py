"""How a command ended. Pure."""

from __future__ import annotations

import msgspec


class ExecError(msgspec.Struct, frozen=True):
    """The command could not be executed: `errno`, and the `path` that was tried."""

    errno: int
    path: str


class RunResult(msgspec.Struct, frozen=True):
    """How a command ended; `signal` is 0 unless a signal killed it.

    `covered` are paths of the root that were covered for a while in place of a mount. `owners` are the owners that the
    command gave to files by chown where files can have only one owner: path, uid, gid; -1 is an unchanged id. `unheard`
    is the errno that kept firkin from noting owners or judging sockets of 32-bit programs; 0 otherwise.
    """

    exit_code: int
    signal: int = 0
    exec_error: ExecError | None = None
    cancelled: bool = False
    warnings: tuple[str, ...] = ()
    covered: tuple[str, ...] = ()
    owners: tuple[tuple[str, int, int], ...] = ()
    unheard: int = 0
