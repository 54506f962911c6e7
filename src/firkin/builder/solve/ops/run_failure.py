"""The errors of a RUN that failed, and their hints. Does I/O. `ops.run` loads it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from firkin.builder.graph import ops
from firkin.errors import Cancelled, StepFailed
from firkin.hints import AnyHint, Hint
from firkin.layer.view import StackView, resolve_path
from firkin.oci.run import RunSpec
from firkin.sandbox.result import RunResult
from firkin.store.layout import is_full

_TAIL_BYTES = 4096
_ALL_IDS = 2**32 - 1
# Spec: ELF, e_machine; by Docker's names.
_MACHINES = {3: "386", 8: "mips", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64",
             258: "loong64"}


class Tail:
    """Passes a command's output on and keeps the end of it."""

    def __init__(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive
        self.end = b""

    def __call__(self, data: bytes) -> None:
        """Take a piece of the output."""
        self.end = data[-_TAIL_BYTES:] if len(data) >= _TAIL_BYTES else (self.end + data)[-_TAIL_BYTES:]
        self._receive(data)


def fail(op: ops.Run, result: RunResult, described: RunSpec, view: StackView, said: bytes, store: str) -> NoReturn:
    """Raise StepFailed with the command's exit code, or Cancelled. `said` is the end of what the command printed."""
    if result.cancelled:
        raise Cancelled("the command was stopped", exit_code=130)
    command = " ".join(op.argv)
    if result.exec_error is not None:
        missing = result.exec_error
        what = os.strerror(missing.errno).lower()
        raise StepFailed(
            f"process `{command}` could not start: exec `{missing.path}`: {what}",
            code="run-exec",
            exit_code=127 if missing.errno == errno.ENOENT else 126,
            hints=(_exec_hint(op, missing.errno, missing.path, described, view),),
        )
    if result.signal:
        name = signal.Signals(result.signal).name if result.signal in set(signal.Signals) else str(result.signal)
        raise StepFailed(
            f"process `{command}` did not complete successfully: exit code: {128 + result.signal}: killed by {name}",
            code="run-killed",
            exit_code=128 + result.signal,
            hints=_full_hints(store),
        )
    raise StepFailed(
        f"process `{command}` did not complete successfully: exit code: {result.exit_code}",
        code="run-failed",
        exit_code=result.exit_code,
        hints=(*_full_hints(store), *_owner_hints(said)),
    )


def _full_hints(store: str) -> tuple[Hint, ...]:
    # Not every command says that the disk is full. It still is here: the files that the command wrote still exist.
    if not is_full(store):
        return ()
    return (Hint.of("store-full-step", store=store),)


def _owner_hints(said: bytes) -> tuple[str, ...]:
    """Explain the error of `chown`, tar and package managers for an owner that the user namespace does not have."""
    last = _last_id() if b"nvalid argument" in said else None
    if last is None:
        return ()
    return (
        f"owners above {last} do not exist in this user namespace, and `chown` to them is an invalid argument: "
        "give the user more subordinate ids in /etc/subuid and /etc/subgid",
    )


def _last_id() -> int | None:
    """Return the highest id that this user namespace has, None if it has all ids or that cannot be read."""
    try:
        with open("/proc/self/uid_map") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        return None
    if not ranges or sum(count for _, _, count in ranges) >= _ALL_IDS:
        return None
    return max(first + count for first, _, count in ranges) - 1


def _exec_hint(op: ops.Run, number: int, path: str, described: RunSpec, view: StackView) -> AnyHint:
    if number == errno.ENOENT and op.argv and "/" in op.argv[0]:
        return f"the image has no `{op.argv[0]}`, or the interpreter in its first line is missing"
    if number == errno.ENOENT:
        search = dict(described.env).get("PATH", "")
        return f"`{op.argv[0] if op.argv else ''}` is in none of the directories of PATH={search}"
    if number == errno.ENOEXEC:
        return _format_hint(path, _start(view, path))
    return "the file is there but cannot be executed: check its mode and architecture"


def _format_hint(path: str, start: bytes) -> AnyHint:
    if start.startswith(b"\x7fELF") and len(start) >= 20:
        machine = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
        kind = _MACHINES.get(machine, f"machine {machine}")
        return Hint.of("build-for-this-machine", path=path, machine=kind)
    if start and not start.startswith(b"#!"):
        return f"`{path}` is no program, and as a script it would begin with `#!` and its interpreter"
    return "the file is there but cannot be executed: check its mode and architecture"


def _start(view: StackView, path: str) -> bytes:
    """Return how a file of the image begins, b"" where it cannot be read."""
    place = resolve_path(view, path)
    entry = view.lstat(place)
    if entry is None or entry.kind != "file":
        return b""
    content = view.content(place)
    if isinstance(content, bytes):
        return content[:64]
    try:
        descriptor = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return file.read(64)
    except OSError:
        return b""
