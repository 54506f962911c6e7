"""Start a container's monitor. Does I/O.

    nursling = spawn_monitor()              its interpreter takes as long to start as making a container
    … make a container …
    link = nursling.launch(document)        connection.py: what can be asked of it

`firkin run` calls `spawn_early` before it loads anything else, so this module loads little itself.
docs/dev/monitor.md has the document.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket, socketpair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firkin.containers.link.connection import Link

_LINK = 3  # the descriptor of that program
_MOST_COMPLAINT = 1 << 16
NOT_STARTED = "monitor-start"

_early: Nursling | None = None


class Nursling:
    """A monitor that waits for its document; it ends when it gets none."""

    def __init__(self, pid: int, connection: socket, program: int) -> None:
        self._pid = pid
        self._socket: socket | None = connection
        self._program = program  # what the interpreter complained about comes after it
        self._size = os.fstat(program).st_size

    def launch(self, document: dict[str, Any]) -> Link:
        """Make it the monitor of a container. Raises ContainerError if the container has one, and HostError."""
        import marshal

        from firkin.containers.link.connection import Link, MonitorGone
        from firkin.containers.monitor.wire import LAUNCH
        from firkin.errors import HostError

        connection, self._socket = self._socket, None
        if connection is None:
            raise HostError("this monitor was launched before", code="monitor-start")
        link = Link(connection)
        link.send(LAUNCH, marshal.dumps(document))
        os.waitpid(self._pid, 0)
        try:
            link.monitor = link.answer()["pid"]
        except MonitorGone:
            link.close()
            message = f"the monitor of the container did not start{self._complaint(document['home'])}"
            raise HostError(message, code=NOT_STARTED) from None
        return link

    def _complaint(self, home: str) -> str:
        """Return the last line of what an interpreter or a monitor that ended had to say."""
        from firkin.linux.files import read_named

        said = os.pread(self._program, _MOST_COMPLAINT, self._size)
        if not said.strip():
            try:
                said = read_named(f"{home}/monitor.log")
            except OSError:
                pass
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self) -> None:
        """Let it end, if it was not launched."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
            os.waitpid(self._pid, 0)
        program, self._program = self._program, -1
        if program >= 0:
            os.close(program)


def spawn_early() -> None:
    """Spawn the monitor that the next `spawn_monitor` of this process returns. By a process of one thread."""
    global _early
    try:
        _early = spawn_monitor()
    except Exception:  # noqa: BLE001  `spawn_monitor` says it to whoever can tell it
        _early = None


def spawn_monitor() -> Nursling:
    """Start the interpreter of a monitor. Raises HostError."""
    global _early
    early, _early = _early, None
    if early is not None:
        return early
    from firkin.containers.link.program import loader

    own, other = socketpair(AF_UNIX, SOCK_STREAM)
    file = os.memfd_create("firkin-monitor")
    try:
        os.write(file, loader(_LINK))
        return Nursling(_posix_spawn(file, other.fileno()), own, file)
    except BaseException:
        own.close()
        os.close(file)
        raise
    finally:
        other.close()


def _posix_spawn(file: int, link: int) -> int:
    """Start an interpreter. Its standard error is the file, behind its program; its arguments stay in its memory."""
    from firkin.linux.interpreter import read_only_program

    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, file, 2),
        (os.POSIX_SPAWN_DUP2, link, _LINK),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_RDWR, 0),
    ]
    keep = ("-B",) if sys.dont_write_bytecode else ()
    text = f"import os; exec(os.pread(2, {os.fstat(file).st_size}, 0))"
    interpreter = _elsewhere(read_only_program(sys.executable))
    try:
        path = sys.executable if interpreter < 0 else f"/proc/self/fd/{interpreter}"
        words = [sys.executable, "-I", "-S", *keep, "-c", text]
        return os.posix_spawn(path, words, {}, file_actions=actions, setsigmask=[])
    except OSError as error:
        from firkin.errors import HostError

        why = (error.strerror or "").lower()
        raise HostError(f"cannot start the interpreter `{sys.executable}`: {why}", code="monitor-start") from error
    finally:
        if interpreter >= 0:
            os.close(interpreter)


def _elsewhere(fd: int) -> int:
    """Return a descriptor that does not have the number that the link is to have."""
    if fd != _LINK:
        return fd
    other = os.dup(fd)
    os.close(fd)
    return other
