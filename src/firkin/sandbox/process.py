"""Start `init.py`, stream what comes out of it and understand how it ended. Does I/O. The sandboxes import it."""

from __future__ import annotations

import errno
import fcntl
import functools
import marshal
import os
import select
import signal
import time
from contextlib import nullcontext
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from firkin.errors import HostError
from firkin.hints import AnyHint, Hint
from firkin.linux.ending import held
from firkin.sandbox.result import ExecError, RunResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_PLACE = os.path.dirname(os.path.abspath(__file__))
# The stand-alone program, and its parts for some commands only.
_ALWAYS = ("init", "confine", "image_root")
_ANSWERING = ("listener",)
_WITHOUT_MOUNTS = ("../linux/sparse", "carry", "fixtures")
_ONE_ID = ("owners",)
# A script would be compiled at every start; its code objects come with the plan instead.
_LOADER = (
    "import marshal; codes, plan = marshal.load(open(3, 'rb'))\nfor code in codes: exec(code)\nsys.exit(main(plan, 4))"
)
_CHUNK = 1 << 16
_KILL_AFTER_S = 1.5
_KILL_UNDOING_AFTER_S = 60  # what was put in place has to be taken out: a cache may have to be copied


class Child(Protocol):
    """The process that performs a plan."""

    def kill(self, number: int) -> None:
        """Send it a signal."""

    def wait(self) -> None:
        """Wait for its end."""


class _Spawned:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def kill(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self) -> None:
        os.waitpid(self._pid, 0)


def run_init(
    python: str,
    plan: dict[str, object],
    *,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None] | None,
    cancel_fd: int | None,
) -> RunResult:
    """Perform one plan of `ops`; blocks until the command and all it started are gone.

    Raises HostError when an operation of the plan failed.
    """

    def start(plan_fd: int, status_fd: int, output_fd: int, error_fd: int) -> Child:
        return _Spawned(_spawn(python, plan_fd, status_fd, output_fd, error_fd))

    names = _ALWAYS + (_WITHOUT_MOUNTS if plan["surroundings"] == "Fixtures" else ())
    asked = plan["asked"]
    if isinstance(asked, dict):
        names += _ANSWERING + (_ONE_ID if asked["owners"] else ())
    codes = tuple(_code(name) for name in names)
    return run_plan(start, plan, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd, codes=codes)


def run_plan(
    start: Callable[[int, int, int, int], Child],
    plan: dict[str, object],
    *,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None] | None,
    cancel_fd: int | None,
    codes: tuple[CodeType, ...] = (),
) -> RunResult:
    """Perform one plan in a process that `start` makes of descriptors (plan, status, output, error).

    `codes` go before the plan, for a process that has none yet. Raises HostError.
    """
    spec_fd = os.memfd_create("firkin-run")
    with open(spec_fd, "wb", closefd=False) as file:
        marshal.dump((codes, plan) if codes else plan, file)
    os.lseek(spec_fd, 0, os.SEEK_SET)
    # One pipe for both streams keeps the order in which they are written; nothing else does.
    output_fd, output_end = os.pipe()
    error_fd, error_end = os.pipe() if on_error is not None else (-1, output_end)
    for fd in {output_end, error_end}:
        os.fchmod(fd, 0o622)  # whichever user the command has, it may open /dev/stdout; runc changes the owner instead
    status_fd, status_end = os.pipe()
    takers = {output_fd: on_output} if on_error is None else {output_fd: on_output, error_fd: on_error}
    try:
        try:
            child = start(spec_fd, status_end, output_end, error_end)
        finally:
            for fd in {spec_fd, status_end, output_end, error_end}:
                os.close(fd)
        patience_s = _KILL_AFTER_S if plan["namespaces"] else _KILL_UNDOING_AFTER_S
        # What undoes itself outside of namespaces needs its scratch until it is through.
        with nullcontext() if plan["namespaces"] else held():
            cancelled, status = _attend(child, takers, status_fd, cancel_fd, patience_s)
    finally:
        for fd in (*takers, status_fd):
            os.close(fd)
    return _understand(status, cancelled)


def init_codes() -> tuple[CodeType, ...]:
    """Return the stand-alone program for commands without mounts, compiled."""
    return tuple(_code(name) for name in _ALWAYS + _ANSWERING + _WITHOUT_MOUNTS)


@functools.cache
def _code(name: str) -> CodeType:
    # Compiled once in a process, or read from the interpreter's own cache of compiled modules.
    path = os.path.normpath(f"{_PLACE}/{name}.py")
    module = "firkin_" + os.path.basename(name)
    code = SourceFileLoader(module, path).get_code(module)
    if code is None:
        raise HostError(f"`{path}` is missing from this installation", code="sandbox-start")
    return code


def _spawn(python: str, spec_fd: int, status_fd: int, output_fd: int, error_fd: int) -> int:
    # posix_spawn: no Python between fork and exec, which a threaded process must not run, and no copy
    # of the page tables. Descriptors stay non-inheritable here, or the init of another step would
    # hold them open; they are lifted out of the way first, as dup2 onto 3 could close what goes to 4.
    lifted = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32) for fd in (output_fd, error_fd, spec_fd, status_fd)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(lifted, 1)),
    ]
    try:
        return os.posix_spawn(python, [python, "-I", "-S", "-c", _LOADER], {}, file_actions=actions, setsigmask=[])
    except OSError as error:
        why = (error.strerror or "").lower()
        raise HostError(f"cannot start the interpreter `{python}`: {why}", code="sandbox-start") from error
    finally:
        for fd in lifted:
            os.close(fd)


def _attend(
    child: Child,
    takers: dict[int, Callable[[bytes], None]],
    status_fd: int,
    cancel_fd: int | None,
    patience_s: float,
) -> tuple[bool, bytes]:
    """Pass output on until nobody holds the pipes any more, then reap; return (cancelled, status lines)."""
    poll = select.poll()
    for fd in takers:
        poll.register(fd, select.POLLIN)
    if cancel_fd is not None:
        poll.register(cancel_fd, select.POLLIN)
    cancelled = False
    kill_at: float | None = None
    status = b""
    open_fds = len(takers)
    try:
        while open_fds:
            wait_ms = None if kill_at is None else max(0.0, kill_at - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(wait_ms)]
            if not ready:
                child.kill(signal.SIGKILL)
                kill_at = None
                continue
            if cancel_fd in ready:
                cancelled = True
                poll.unregister(cancel_fd)
                child.kill(signal.SIGTERM)
                kill_at = time.monotonic() + patience_s
            for fd in ready:
                if fd not in takers:
                    continue
                chunk = os.read(fd, _CHUNK)
                if chunk:
                    takers[fd](chunk)
                else:
                    poll.unregister(fd)
                    open_fds -= 1
        while chunk := os.read(status_fd, _CHUNK):
            status += chunk
    except BaseException:
        child.kill(signal.SIGKILL)
        raise
    finally:
        child.wait()
    return cancelled, status


def _understand(status: bytes, cancelled: bool) -> RunResult:
    warnings: list[str] = []
    covered: list[str] = []
    unheard = 0
    result: RunResult | None = None
    undone = False
    for line in status.decode("utf-8", "surrogateescape").splitlines():
        kind, *fields = line.split("\0")
        match kind, fields:
            case "setup", [op, number, detail]:
                if not cancelled:
                    raise setup_error(op, int(number), detail)
            case "warn", [op, number, detail]:
                warnings.append(f"{op} `{detail}` could not be set: {os.strerror(int(number)).lower()}")
            case "undone", []:
                undone = True
            case "unheard", [number]:
                unheard = int(number)
            case "cover", [path]:
                covered.append(path.lstrip("/"))
            case "exec", [number, path]:
                code = 127 if int(number) in (errno.ENOENT, errno.ENOTDIR) else 126
                result = RunResult(code, 0, ExecError(int(number), path))
            case "exit", [code]:
                # The process that could not exec has an exit code too, and said more before.
                result = result or RunResult(int(code))
            case "signal", [number]:
                result = RunResult(128 + int(number), int(number))
    if not (result and undone) and not cancelled:
        raise HostError("the sandbox of a step ended without a result", code="sandbox-died")
    if result is None:
        result = RunResult(137, 9)
    return replace(
        result, cancelled=cancelled, warnings=tuple(warnings), covered=tuple(covered), unheard=unheard
    )


def setup_error(op: str, number: int, detail: str) -> HostError:
    """Return the error for an operation of `init.py` that failed."""
    text = os.strerror(number).lower() if number else "unknown error"
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
