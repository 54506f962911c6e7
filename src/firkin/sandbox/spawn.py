"""Start the program `init` with a plan; signal, resize and wait for its command; start a second one. Does I/O.

    process = spawn(plan, Stdio(None, output, output), python_starter(sys.executable))
    result = process.wait()
"""

from __future__ import annotations

import fcntl
import functools
import marshal
import os
import signal
import struct
import termios
import threading
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from firkin.errors import HostError
from firkin.linux.interpreter import read_only_program
from firkin.sandbox.operations import pack
from firkin.sandbox.status import understand

if TYPE_CHECKING:
    from types import CodeType

    from firkin.sandbox.operations import Plan
    from firkin.sandbox.result import RunResult

_PLACE = os.path.dirname(os.path.abspath(__file__))
# The parts of the stand-alone program: for all commands, then for some.
_ALWAYS = (
    "operations", "init/kernel", "init/image_root", "init/mount_calls", "init/confine", "init/command",
    "init/supervisor", "init/main",
)  # fmt: skip
_WITH_MOUNTS = ("init/real_mounts",)
_WITHOUT_MOUNTS = ("../linux/sparse", "init/carry", "init/emulated_mounts")
_ANSWERING = ("init/listener",)
_ONE_ID = ("init/owners",)
# A script would be compiled at every start, so the code objects come with the plan. The loader reads them at once:
# marshal.load calls the file's read for each value.
_LOADER = (
    "import marshal, sys; codes, arguments = marshal.loads(open(3, 'rb').read())\n"
    "for code in codes: exec(code)\n"
    "sys.exit(main(*arguments))"
)
_STATUS, _HANDLE, _JOINED = 4, 5, 6  # descriptors of that program
_CHUNK = 1 << 16


class Stdio(NamedTuple):
    """Descriptors for a command, which stay the caller's; `stdin` None is /dev/null.

    If they are one end of a terminal, `terminal` is the other end (posix_openpt(3)), for `Process.resize`.
    """

    stdin: int | None
    stdout: int
    stderr: int
    terminal: int = -1


class Descriptors(NamedTuple):
    """The connections of a process A: the command's descriptors, the status pipe, and two that are rarely needed.

    Over the socket `handle` it sends a descriptor of the command (a pidfd); `joined` is a descriptor of the command
    whose namespaces it enters; -1 for none.
    """

    stdio: Stdio
    status: int
    handle: int
    joined: int


class Child(Protocol):
    """A process A."""

    def kill(self, number: int) -> None:
        """Send the process a signal."""

    def wait(self) -> None:
        """Wait until the process ends."""


class Starter(Protocol):
    """Starts a process A that performs a plan."""

    def __call__(self, plan: Plan, fds: Descriptors) -> Child:
        """Start the process; the descriptors stay the caller's. Raises HostError."""
        ...


class Namespaces(NamedTuple):
    """The namespaces of a running command: a descriptor of it (pidfd_open(2)), and their kinds (flags of clone(2))."""

    pidfd: int
    flags: int


class Process:
    """A running command. `pidfd` becomes readable when it ends; it is -1 if the command is not `reachable`, and
    after `wait`."""

    def __init__(self, child: Child, status: int, plan: Plan, stdio: Stdio) -> None:
        self.pidfd = -1
        self._pidfd_lock = threading.Lock()  # or another thread could signal whoever has the number after `close`
        self._child: Child | None = child
        self._status = status
        self._flags = plan.namespaces
        self._terminal = stdio.terminal

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces in which `NamespaceSandbox.join` starts a second command. Raises HostError after the end."""
        if self.pidfd < 0:
            raise HostError("the command has ended, so nothing can join it", code="sandbox-ended")
        return Namespaces(self.pidfd, self._flags)

    def signal(self, number: int) -> None:
        """Send a signal to the command, which must be reachable; does nothing if it has ended."""
        with self._pidfd_lock:
            if self.pidfd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.pidfd, number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the command's terminal; the command gets SIGWINCH."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def stop(self) -> None:
        """Kill the command and everything it started; then their surroundings are removed in order."""
        if self._child is not None:
            self._child.kill(signal.SIGTERM)

    def kill(self) -> None:
        """Also kill the program around the command; without namespaces, its surroundings may be left behind."""
        if self._child is not None:
            self._child.kill(signal.SIGKILL)

    def wait(self, *, cancelled: bool = False) -> RunResult:
        """Wait until the command and everything it started have ended; return how it ended. Call once.

        `cancelled`: the end was intended. Raises HostError when the command never ran, or its sandbox died.
        """
        status = b""
        try:
            while chunk := os.read(self._status, _CHUNK):
                status += chunk
        except BaseException:
            self.kill()
            raise
        finally:
            self.close()
        return understand(status, cancelled)

    def close(self) -> None:
        """Wait, but ignore how it ended."""
        child, self._child = self._child, None
        if child is not None:
            child.wait()
            os.close(self._status)
            with self._pidfd_lock:
                pidfd, self.pidfd = self.pidfd, -1
                if pidfd >= 0:
                    os.close(pidfd)


def spawn(plan: Plan, stdio: Stdio, start: Starter, *, reachable: bool = False, joined: int = -1) -> Process:
    """Start a command. A `reachable` one can be signalled and joined as soon as this returns.

    `joined` is a descriptor of the command whose namespaces the plan joins. Raises HostError.
    """
    status, status_end = os.pipe()
    handle = None
    ends = [status_end]
    try:
        if reachable:
            from socket import socketpair

            handle, handle_end = socketpair()
            ends.append(handle_end.detach())
        child = start(plan, Descriptors(stdio, status_end, ends[1] if handle else -1, joined))
    except BaseException:
        os.close(status)
        if handle is not None:
            handle.close()
        raise
    finally:
        for fd in ends:
            os.close(fd)
    process = Process(child, status, plan, stdio)
    if handle is not None:
        from socket import recv_fds

        with handle:
            _, found, _, _ = recv_fds(handle, 1, 1)
        if not found:
            process.wait()  # raises the error of the failed operation
            raise HostError("the sandbox of a step ended without a result", code="sandbox-died")
        os.set_inheritable(found[0], False)  # recv_fds leaves it open for every program that is started
        process.pidfd = found[0]
    return process


def plan_file(content: Any) -> int:
    """Return a descriptor of a file in memory, at its start; a plan in it is not visible in argv."""
    fd = os.memfd_create("firkin-run")
    with open(fd, "wb", closefd=False) as file:
        marshal.dump(content, file)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class _Spawned:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def kill(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self) -> None:
        os.waitpid(self._pid, 0)


def python_starter(python: str) -> Starter:
    """Return a Starter that runs process A in a new interpreter, with the parts of the program that a plan needs."""

    def start(plan: Plan, fds: Descriptors) -> Child:
        names = _ALWAYS + (_WITHOUT_MOUNTS if plan.emulated else _WITH_MOUNTS)
        if plan.questions is not None:
            names += _ANSWERING + (_ONE_ID if plan.questions.owners else ())
        optional = [number if fd >= 0 else -1 for fd, number in ((fds.handle, _HANDLE), (fds.joined, _JOINED))]
        file = plan_file((tuple(map(_code, names)), (pack(plan), _STATUS, *optional)))
        try:
            return _Spawned(_posix_spawn(python, file, fds))
        finally:
            os.close(file)

    return start


def _posix_spawn(python: str, file: int, fds: Descriptors) -> int:
    # posix_spawn runs no Python between fork and exec, which a threaded process must not do, and does not copy the
    # page tables. Descriptors stay non-inheritable here, or the init of another step would hold them open. They are
    # first moved to high numbers, as dup2 onto 3 could close the descriptor that is to become 4.
    stdin, stdout, stderr, _ = fds.stdio
    wanted = {1: stdout, 2: stderr, 3: file, _STATUS: fds.status, _HANDLE: fds.handle, _JOINED: fds.joined}
    if stdin is not None:
        wanted[0] = stdin
    lifted = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32) for place, fd in wanted.items() if fd >= 0}
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, fd, place) for place, fd in lifted.items()
    ]
    if stdin is None:
        actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
    program = read_only_program(python)  # of a low number it would be closed for the command's descriptors
    held = [*lifted.values(), *((program,) if program >= 0 else ())]
    try:
        if program >= 0:
            held.append(fcntl.fcntl(program, fcntl.F_DUPFD_CLOEXEC, 32))
        path = f"/proc/self/fd/{held[-1]}" if program >= 0 else python
        return os.posix_spawn(path, [python, "-I", "-S", "-c", _LOADER], {}, file_actions=actions, setsigmask=[])
    except OSError as error:
        why = (error.strerror or "").lower()
        raise HostError(f"cannot start the interpreter `{python}`: {why}", code="sandbox-start") from error
    finally:
        for fd in held:
            os.close(fd)


def emulated_codes() -> tuple[CodeType, ...]:
    """Return the stand-alone program for commands without mounts, compiled."""
    return tuple(map(_code, _ALWAYS + _ANSWERING + _WITHOUT_MOUNTS))


def mounting_codes() -> tuple[CodeType, ...]:
    """Return the parts of the stand-alone program that perform mount operations, compiled."""
    return tuple(map(_code, ("operations", "init/kernel", "init/image_root", "init/mount_calls", *_WITH_MOUNTS)))


@functools.cache
def _code(name: str) -> CodeType:
    # Compiled once per process, or read from the interpreter's cache of compiled modules.
    path = os.path.normpath(f"{_PLACE}/{name}.py")
    module = "firkin_" + os.path.basename(name)
    code = SourceFileLoader(module, path).get_code(module)
    if code is None:
        raise HostError(f"`{path}` is missing from this installation", code="sandbox-start")
    return code
