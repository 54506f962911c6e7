"""The process that starts commands when no interpreter can be started any more. Does I/O.

    worker ── fork, before its first thread ──▶ launcher ── fork, one per RUN ──▶ A of `init`

The launcher has the code of `init` in memory and reads no file afterwards. It also has the worker's memory from the
time of the fork, so neither process is dumpable: no command may look into them.
Messages over a socket: `run` with four descriptors (plan, status, output, error) ─▶, ◀─ the pid, ◀─ `ended`.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.linux import syscalls
from firkin.linux.server import fork_server
from firkin.sandbox.operations import pack
from firkin.sandbox.spawn import emulated_codes, plan_file

if TYPE_CHECKING:
    from _socket import socket as Socket
    from types import CodeType
    from typing import Any, NoReturn

    from firkin.sandbox.operations import Plan
    from firkin.sandbox.spawn import Descriptors


class Launched:
    """One process A; `kill` and `wait` as for a child process."""

    def __init__(self, pid: int, launcher: Launcher) -> None:
        self._launcher = launcher
        try:
            self._pidfd = syscalls.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1

    def kill(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass  # it has just ended

    def wait(self) -> None:
        """Wait until the process ends."""
        self._launcher.finish()
        if self._pidfd >= 0:
            os.close(self._pidfd)


class Launcher:
    """The worker's side of the launcher. Runs one command at a time."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel
        self._busy = threading.Lock()

    def start(self, plan: Plan, fds: Descriptors) -> Launched:
        """Start a plan; the descriptors stay the caller's. Waits for the previous command. Raises HostError."""
        self._busy.acquire()
        file = plan_file(pack(plan))
        try:
            socket.send_fds(self._channel, [b"run"], [file, fds.status, fds.stdio.stdout, fds.stdio.stderr])
            answer = self._channel.recv(64)
        except OSError as error:
            self._busy.release()
            raise _gone() from error
        finally:
            os.close(file)
        if not answer.isdigit():
            self._busy.release()
            raise _gone()
        return Launched(int(answer), self)

    def finish(self) -> None:
        """Wait until the running command has ended."""
        try:
            self._channel.recv(64)
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the launcher."""
        self._channel.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # somebody else has waited for all children


_current: Launcher | None = None


def start_launcher() -> Launcher:
    """Fork the launcher; this process must have one thread. `current_launcher` returns it later."""
    global _current
    serve = partial(_serve, emulated_codes())
    pid, own = fork_server(serve, on_stop=signal.SIG_DFL, with_parent=signal.SIGTERM)
    _current = Launcher(pid, socket.socket(fileno=own.detach()))
    return _current


def current_launcher() -> Launcher:
    """Return the launcher of this process. Raises HostError."""
    if _current is None:
        raise HostError("commands on the container's own root need a process that was not started", code="launcher")
    return _current


def _gone() -> HostError:
    return HostError("the process that starts commands has ended", code="launcher")


def _serve(codes: tuple[CodeType, ...], end: Socket) -> NoReturn:
    os.setsid()
    channel = socket.socket(fileno=end.detach())
    names: dict[str, Any] = {"__name__": "firkin_init"}
    for code in codes:
        exec(code, names)
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 16, 4)
        if message != b"run" or len(fds) != 4:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            try:
                _become(channel, names, *fds)
            finally:
                os._exit(70)
        for fd in fds:
            os.close(fd)
        channel.send(str(pid).encode())
        os.waitpid(pid, 0)
        channel.send(b"ended")


def _become(
    channel: socket.socket, names: dict[str, Any], plan_fd: int, status_fd: int, output_fd: int, error_fd: int
) -> NoReturn:
    channel.close()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(error_fd, 2)
    for fd in (null, output_fd, error_fd):
        os.close(fd)
    with open(plan_fd, "rb") as file:
        plan = marshal.loads(file.read())
    os._exit(names["main"](plan, status_fd))
