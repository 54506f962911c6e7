"""A connection to a container's monitor: frames, requests and their answers. Does I/O.

    link = connect(home, id)
    link.ask("stop", timeout=3)

docs/dev/monitor.md has the frames and the requests. An `exec` loads this and little else, so it imports next to
nothing: the frames and the JSON are those of the monitor's own program.
"""

from __future__ import annotations

import os
import select
import sys
import time
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from firkin.containers.monitor.wire import ANSWER, REQUEST, Frames, frame, from_json, to_json
from firkin.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any

    from firkin.containers.home.engine import Engine
    from firkin.containers.home.finder import Finder
    from firkin.errors import ContainerFault

    Frame = tuple[int, bytes]
else:
    from _collections import deque

_CHUNK = 1 << 17
_LISTENS_S = 5.0  # until a monitor that was asked to listen anew does
_LOOK_AGAIN_S = 0.02
_KINDS: dict[str, ContainerFault] = {"invalid": "invalid", "missing": "missing", "conflict": "conflict"}


class MonitorGone(Exception):
    """The monitor has ended: what is true of the container stands in its state."""


class Link:
    """A connection to a monitor. Not for two threads at once."""

    def __init__(self, connection: socket) -> None:
        self._socket = connection
        self._cutter = Frames()
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
        self._unsent += frame(kind, payload)
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
        self.send(REQUEST, to_json({"op": op, **fields}))

    # In

    @property
    def waiting(self) -> bool:
        """Whether frames have come that nobody has taken yet: `receive` returns them at once."""
        return bool(self._frames)

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
        try:
            return self._cutter.feed(data)
        except ValueError:
            self.ended = True
            return []

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
    found = from_json(payload)
    if found["ok"]:
        return found
    if found["code"] == "ended":
        raise MonitorGone
    status = found.get("status") or 0
    raise ContainerError(
        found["message"], kind=_KINDS.get(found["code"], "failed"), code="container-start" if status else "monitor",
        exit_code=status if status in (125, 126, 127) else 125 if status else None,
    )  # fmt: skip


def connect(home: Finder, id: str) -> Link | None:
    """Return a connection to the monitor of a container, None if it has none.

    One whose socket is not here (its user has another runtime directory now, or the directory was cleaned) says in
    `monitor.lock` where it listens, and is asked to listen anew. Raises ContainerError if that does not help.
    """
    link = _connected(f"{home.runtime(id)}/socket", home.directory(id))
    if link is not None or not home.has_monitor(id):
        return link
    deadline = time.monotonic() + _LISTENS_S
    while home.has_monitor(id):
        pid, path = _told(home, id)
        if path and (link := _connected(path, home.directory(id))) is not None:
            return link
        if time.monotonic() > deadline:
            raise ContainerError(f"the monitor of container {id} does not listen", kind="failed", code="monitor")
        if path and not os.path.exists(path):
            _ask_to_listen(home, id, pid, path)
        time.sleep(_LOOK_AGAIN_S)
    return None


def ask_monitor(engine: Engine, id: str, op: str, **fields: Any) -> bool:
    """Ask the monitor of a container for something once; False if it has none, and then its state is mended.

    Raises ContainerError for a refusal.
    """
    link = connect(engine.finder, id)
    if link is not None:
        try:
            link.ask(op, **fields)
            return True
        except MonitorGone:
            pass
        finally:
            link.close()
    engine.home.state(id)
    return False


def _ask_to_listen(home: Finder, id: str, pid: int, path: str) -> None:
    from contextlib import suppress
    from signal import SIGURG

    with suppress(OSError, ContainerError):
        home.ensure_runtime(id)
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(OSError):
        os.kill(pid, SIGURG)  # whoever has this pid after it ignores that


def _told(home: Finder, id: str) -> tuple[int, str]:
    """Return the pid of a monitor and the path of its socket; "" if it did not say so yet."""
    from firkin.linux.files import read_named

    try:
        pid, _, path = read_named(f"{home.directory(id)}/monitor.lock").decode().strip().partition(" ")
        return int(pid), path
    except (OSError, ValueError):
        return 0, ""


def _connected(path: str, directory: str) -> Link | None:
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
        _check_peer(connection, path, directory)
    except OSError:
        connection.close()
        return None
    except ContainerError:
        connection.close()
        raise
    return Link(connection)


def _check_peer(connection: socket, path: str, directory: str) -> None:
    """Refuse who listens there if they are neither this user nor the container's (unix(7), SO_PEERCRED).

    The directory of a socket is checked when it is made, and it may not have been made yet. Raises ContainerError.
    """
    uid = int.from_bytes(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)[4:8], sys.byteorder)
    if uid != os.geteuid() and uid != os.stat(directory).st_uid:
        from firkin.containers.home.finder import distrusted

        raise distrusted(path, f"is a socket of another user (uid {uid})")
