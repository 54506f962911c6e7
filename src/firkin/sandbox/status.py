"""Interprets the status lines of the program `init`: how a command ended, or why it never ran. Pure.

The top of `init/__init__.py` lists the lines.
"""

from __future__ import annotations

import errno
from os import strerror

from firkin.errors import HostError
from firkin.hints import AnyHint, Hint
from firkin.sandbox.result import ExecError, RunResult

_MISSING = (errno.ENOENT, errno.ENOTDIR)
# The kinds of lines, with the number of their fields.
_FIELDS = {"setup": 3, "warn": 3, "exec": 2, "unheard": 1, "cover": 1, "exit": 1, "signal": 1, "undone": 0}


def understand(status: bytes, cancelled: bool) -> RunResult:
    """Return how a command ended. Raises HostError for a command that never ran, or whose sandbox died."""
    told = _lines(status)
    if told["setup"] and not cancelled:
        op, number, detail = told["setup"][0]
        raise setup_error(op, int(number), detail)
    ended = _end(told)
    if (ended is None or not told["undone"]) and not cancelled:
        raise HostError("the sandbox of a step ended without a result", code="sandbox-died")
    return RunResult(
        *(ended or (137, 9, None)),
        cancelled=cancelled,
        warnings=tuple(_warning(*fields) for fields in told["warn"]),
        covered=tuple(path.lstrip("/") for (path,) in told["cover"]),
        unheard=int(told["unheard"][-1][0]) if told["unheard"] else 0,
    )


def _lines(status: bytes) -> dict[str, list[list[str]]]:
    """Return the fields of the lines by their kind."""
    told: dict[str, list[list[str]]] = {kind: [] for kind in _FIELDS}
    for line in status.decode("utf-8", "surrogateescape").splitlines():
        kind, *fields = line.split("\0")
        if _FIELDS.get(kind) == len(fields):
            told[kind].append(fields)
    return told


def _end(told: dict[str, list[list[str]]]) -> tuple[int, int, ExecError | None] | None:
    """Return exit code, signal and why the command could not be executed; None if no line tells."""
    for (number,) in told["signal"]:
        return 128 + int(number), int(number), None
    # A process that could not exec also has an exit code, but its `exec` line says more.
    for number, path in told["exec"]:
        return 127 if int(number) in _MISSING else 126, 0, ExecError(int(number), path)
    for (code,) in told["exit"]:
        return int(code), 0, None
    return None


def _warning(op: str, number: str, detail: str) -> str:
    return f"{op} `{detail}` could not be set: {strerror(int(number)).lower()}"


def setup_error(op: str, number: int, detail: str) -> HostError:
    """Return the error for an operation of `init` that failed."""
    text = strerror(number).lower() if number else "unknown error"
    hints: tuple[AnyHint, ...] = ()
    if op == "user" and number == errno.EINVAL:
        hints = ("this number is outside the map of the user namespace: give the user more subordinate ids",)
    elif op == "attach" and number in (errno.EINVAL, errno.ENOTDIR, errno.EISDIR):
        hints = ("a directory can only be mounted on a directory, and a file on a file",)
    elif number == errno.EPERM:
        hints = (Hint.of("host-sandboxes"),)
    elif number == errno.ENOSPC:
        hints = ("the file system or a limit such as `user.max_mnt_namespaces` is exhausted",)
    return HostError(f"cannot prepare the sandbox: {op} `{detail}`: {text}", code="sandbox-setup", hints=hints)
