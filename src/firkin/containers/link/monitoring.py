"""Start a container's monitor, or connect to it; ask it for things. Does I/O.

    link = connect(home, id) or start_monitor(document)
    link.ask("stop", timeout=3)

docs/dev/monitor.md has the frames and the requests.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import sys
import time
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_STREAM, socket, socketpair
from collections import deque
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgspec

from firkin.errors import ContainerError, HostError
from firkin.linux.files import read_named

if TYPE_CHECKING:
    from firkin.containers.home.home import Home
    from firkin.errors import ContainerFault

STDIN, STDOUT, STDERR, FAULT, REQUEST, ANSWER, NOTICE, STDIN_END, LAUNCH = 0, 1, 2, 3, 16, 17, 18, 19, 20
_HEADER = Struct(">BxxxI")
_CHUNK = 1 << 17
_MOST_BYTES = 16 << 20
_LISTENS_S = 5.0  # until a monitor that was asked to listen anew does
_LOOK_AGAIN_S = 0.02
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
_KINDS: dict[str, ContainerFault] = {"invalid": "invalid", "missing": "missing", "conflict": "conflict"}

Frame = tuple[int, bytes]


class MonitorGone(Exception):
    """The monitor has ended: what is true of the container stands in its state."""


class Link:
    """A connection to a monitor. Not for two threads at once."""

    def __init__(self, connection: socket) -> None:
        self._socket = connection
        self._rest = b""
        self._frames: deque[Frame] = deque()
        self._unsent = bytearray()
        self.ended = False
        self.monitor = 0  # the pid of a monitor that was just launched

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    # Out

    @property
    def unsent(self) -> int:
        """How many bytes wait until the monitor reads (`flush` when the descriptor is writable)."""
        return len(self._unsent)

    def send(self, kind: int, payload: bytes) -> None:
        """Send a frame, or keep it until `flush` can."""
        self._unsent += _HEADER.pack(kind, len(payload)) + payload
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as that is possible at once."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent, MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # it has ended; what it said before can still be read

    def request(self, op: str, **fields: Any) -> None:
        """Send a request and do not wait for its answer (`answer`)."""
        self.send(REQUEST, msgspec.json.encode({"op": op, **fields}))

    # In

    def receive(self) -> list[Frame]:
        """Wait until something comes and return the frames that are complete; none at the end (`ended`)."""
        if self._frames:
            found = list(self._frames)
            self._frames.clear()
            return found
        self._wait()
        try:
            data = self._socket.recv(_CHUNK)
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        return self._cut(data)

    def read(self) -> Frame | None:
        """Return the next frame, None at the end."""
        while not self._frames and not self.ended:
            self._frames.extend(self.receive())
        return self._frames.popleft() if self._frames else None

    def _wait(self) -> None:
        """Wait for input; meanwhile send what is unsent."""
        while self._unsent:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | select.POLLOUT)
            events = poll.poll()[0][1]
            if events & select.POLLOUT:
                self.flush()
            if events & ~select.POLLOUT:
                return

    def _cut(self, data: bytes) -> list[Frame]:
        data = self._rest + data if self._rest else data
        found: list[Frame] = []
        position = 0
        while len(data) - position >= _HEADER.size:
            kind, size = _HEADER.unpack_from(data, position)
            if size > _MOST_BYTES:
                self.ended = True
                break
            end = position + _HEADER.size + size
            if len(data) < end:
                break
            found.append((kind, data[position + _HEADER.size : end]))
            position = end
        self._rest = data[position:]
        return found

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to a request; frames that come before are kept for `read`.

        Raises ContainerError for a refusal, and MonitorGone.
        """
        aside: list[Frame] = []
        try:
            while (found := self.read()) is not None:
                if found[0] == ANSWER:
                    return _understood(found[1])
                aside.append(found)
        finally:
            self._frames.extendleft(reversed(aside))
        raise MonitorGone

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer. Raises ContainerError for a refusal, and MonitorGone."""
        self.request(op, **fields)
        return self.answer()


def _understood(payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(payload)
    if found["ok"]:
        return found
    if found["code"] == "ended":
        raise MonitorGone
    status = found.get("status") or 0
    raise ContainerError(
        found["message"], kind=_KINDS.get(found["code"], "failed"), code="container-start" if status else "monitor",
        exit_code=status if status in (125, 126, 127) else 125 if status else None,
    )  # fmt: skip


class Nursling:
    """A monitor that waits for its document; it ends when it gets none."""

    def __init__(self, pid: int, connection: socket) -> None:
        self._pid = pid
        self._socket: socket | None = connection

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
            raise HostError("the monitor of the container did not start", code="monitor-start") from None
        return link

    def close(self) -> None:
        """Let it end, if it was not launched."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
            os.waitpid(self._pid, 0)


def spawn_monitor() -> Nursling:
    """Start the interpreter of a monitor, which takes as long as making a container. Raises HostError."""
    from firkin.containers.link.program import program

    own, other = socketpair(AF_UNIX, SOCK_STREAM)
    file = os.memfd_create("firkin-monitor")
    try:
        os.write(file, program())
        os.lseek(file, 0, os.SEEK_SET)
        return Nursling(_posix_spawn(file, other.fileno()), own)
    except BaseException:
        own.close()
        raise
    finally:
        os.close(file)
        other.close()


def _posix_spawn(file: int, link: int) -> int:
    # First to high numbers, as dup2 onto 3 could close the descriptor that is to become 4.
    lifted = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 32) for place, fd in ((_PROGRAM, file), (_LINK, link))}
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, place, "/dev/null", os.O_RDWR, 0) for place in range(3)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in lifted.items()]
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


def connect(home: Home, id: str) -> Link | None:
    """Return a connection to the monitor of a container, None if it has none.

    One whose socket is not here (its user has another runtime directory now, or the directory was cleaned) says in
    `monitor.lock` where it listens, and is asked to listen anew. Raises ContainerError if that does not help.
    """
    link = _connected(f"{home.runtime(id)}/socket")
    if link is not None or not home.has_monitor(id):
        return link
    import signal  # rare, and slow to load

    deadline = time.monotonic() + _LISTENS_S
    while home.has_monitor(id):
        pid, path = _told(home, id)
        if path and (link := _connected(path)) is not None:
            return link
        if time.monotonic() > deadline:
            raise ContainerError(f"the monitor of container {id} does not listen", kind="failed", code="monitor")
        if path and not os.path.exists(path):
            with suppress(OSError, ContainerError):
                home.ensure_runtime(id)
            with suppress(OSError):
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with suppress(OSError):
                os.kill(pid, signal.SIGURG)  # whoever has this pid after it ignores that
        time.sleep(_LOOK_AGAIN_S)
    return None


def _told(home: Home, id: str) -> tuple[int, str]:
    """Return the pid of a monitor and the path of its socket; "" if it did not say so yet."""
    try:
        pid, _, path = read_named(f"{home.directory(id)}/monitor.lock").decode().strip().partition(" ")
        return int(pid), path
    except (OSError, ValueError):
        return 0, ""


def _connected(path: str) -> Link | None:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return Link(connection)
