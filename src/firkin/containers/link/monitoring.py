"""Start a container's monitor. Does I/O.

    link = spawn_monitor().launch(document)        containers/link.py: what can be asked of it

docs/dev/monitor.md has the document.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket, socketpair

from firkin.containers.link.connection import Link, MonitorGone
from firkin.containers.monitor.wire import LAUNCH
from firkin.errors import HostError
from firkin.linux.files import read_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The first process ends at once, so that the monitor is nobody's child; only then the program is loaded. What is loaded
# stays, so nothing looks for garbage in it.
_LOADER = (
    "import gc, marshal, os\n"
    "os.fork() and os._exit(0)\n"
    "gc.disable()\n"
    "codes = marshal.loads(open(3, 'rb').read())\n"
    "for code in codes: exec(marshal.loads(code))\n"
    "del codes, code\n"
    "gc.freeze()\n"
    "gc.enable()\n"
    "serve(4)"
)
_PROGRAM, _LINK = 3, 4  # descriptors of that program
_MOST_COMPLAINT = 1 << 16
NOT_STARTED = "monitor-start"


class Nursling:
    """A monitor that waits for its document; it ends when it gets none."""

    def __init__(self, pid: int, connection: socket, program: int) -> None:
        self._pid = pid
        self._socket: socket | None = connection
        self._program = program  # what the interpreter complained about comes after it
        self._size = os.fstat(program).st_size

    def launch(self, document: dict[str, Any]) -> Link:
        """Make it the monitor of a container. Raises ContainerError if the container has one."""
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


def spawn_monitor() -> Nursling:
    """Start the interpreter of a monitor, which takes as long as making a container. Raises HostError."""
    from firkin.containers.link.program import program

    own, other = socketpair(AF_UNIX, SOCK_STREAM)
    file = os.memfd_create("firkin-monitor")
    try:
        os.write(file, program())
        os.lseek(file, 0, os.SEEK_SET)
        return Nursling(_posix_spawn(file, other.fileno()), own, file)
    except BaseException:
        own.close()
        os.close(file)
        raise
    finally:
        other.close()


def _posix_spawn(file: int, link: int) -> int:
    # First to high numbers, as dup2 onto 3 could close the descriptor that is to become 4.
    lifted = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32) for place, fd in ((_PROGRAM, file), (_LINK, link))}
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, place, "/dev/null", os.O_RDWR, 0) for place in range(2)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in lifted.items()]
    actions.append((os.POSIX_SPAWN_DUP2, lifted[_PROGRAM], 2))
    words = [sys.executable, "-I", "-S", "-c", _LOADER]
    interpreter = _read_only(sys.executable)
    try:
        path = sys.executable if interpreter < 0 else f"/proc/self/fd/{interpreter}"
        return os.posix_spawn(path, words, {}, file_actions=actions, setsigmask=[])
    except OSError as error:
        why = (error.strerror or "").lower()
        raise HostError(f"cannot start the interpreter `{sys.executable}`: {why}", code="monitor-start") from error
    finally:
        for fd in (*lifted.values(), interpreter):
            if fd >= 0:
                os.close(fd)


def _read_only(path: str) -> int:
    """Return a descriptor of a program on a read-only mount of its own, -1 where that cannot be.

    What enters a container runs this program until it becomes the command, and one that is called `/proc/self/exe` is
    the program again (CVE-2019-5736). A container's root that is the machine's could write to it, but not so. One that
    finds libraries relative to itself would not find them there.
    """
    if os.geteuid() != 0 or _has_shared_library():
        return -1
    from firkin.linux.syscalls import MOUNT_ATTR_RDONLY, mount_setattr, open_tree_clone

    fd = -1
    try:
        fd = open_tree_clone(path)
        mount_setattr(fd, MOUNT_ATTR_RDONLY)
        return fd
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1


def _has_shared_library() -> bool:
    """Say whether the interpreter's library is elsewhere than where every program finds it."""
    with open("/proc/self/maps", "rb") as maps:
        paths = (line.rpartition(b" ")[2] for line in maps if b"/libpython" in line)
        return not all(path.startswith((b"/usr/", b"/lib")) for path in paths)
