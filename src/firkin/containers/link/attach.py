"""The stream between a front and a command: its output, its input, its terminal, its end. Does I/O.

    attached = attach(engine, "web", AttachTo(stdin=True))
    while (found := attached.read()) is not None:
        stream, data = found

A front that also waits for other things polls `fileno()` for input, and for output while `unsent` is not 0, and then
calls `receive` or `flush`; it does not wait while something is `waiting`. Mirrors: moby daemon/attach.go.
"""

from __future__ import annotations

from firkin.containers.link.connection import MonitorGone, connect
from firkin.containers.monitor.wire import ANSWER, NOTICE, STDIN, STDIN_END, from_json
from firkin.errors import ContainerError
from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from firkin.containers.home.engine import Engine
    from firkin.containers.link.connection import Frame, Link

    class Past(Protocol):
        """What was written before (containers/logs.py): told how far it goes, it gives frames, and None at the end."""

        def begin(self, mark: Mapping[str, int] | None) -> None: ...
        def next(self) -> Frame | None: ...
        def close(self) -> None: ...


_MOST_INPUT = 1 << 16  # of one frame


class AttachTo(NamedTuple):
    """Which streams, and `until` when: "exit" of the command, or the container is "removed" (for `--rm`).

    `size` are rows and columns that its terminal gets, 0 for those that it has.
    """

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    until: str = "exit"
    size: tuple[int, int] = (0, 0)


class Exit(NamedTuple):
    """How a command ended: its exit code, 128 + n for signal n; `error` says why it never ran."""

    status: int
    error: str = ""


class Attached:
    """A connection to the streams of a command. Not for two threads at once, but for `close`."""

    def __init__(self, link: Link, *, tty: bool, exec_id: str = "", pid: int = 0, past: Past | None = None) -> None:
        self._link = link
        self.tty = tty
        self.exec_id = exec_id
        self.pid = pid
        self._past = past
        self.exit: Exit | None = None
        """How the command ended; set when `read` or `receive` have reached the end, None if the connection broke."""

    def fileno(self) -> int:
        return self._link.fileno()

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._past is None and (self._link.ended or self.exit is not None)

    @property
    def waiting(self) -> bool:
        """Whether output has come already: of the log, or with the answer to the start. `fileno()` may say nothing."""
        return self._past is not None or self._link.waiting

    def receive(self) -> list[Frame]:
        """Wait for output and return it: pairs of stream (1 stdout, also of a terminal; 2 stderr) and bytes.

        An empty list says that nothing is complete yet, or that it is the end (`ended`).
        """
        past = self._of_past()
        if past is not None:
            return [past]
        return [] if self.ended else self._output(self._link.receive())

    def read(self) -> Frame | None:
        """Wait for output and return one piece of it, None at the end."""
        past = self._of_past()
        if past is not None:
            return past
        while not self.ended:
            found = self._link.read()
            if found is not None:
                output = self._output([found])
                if output:
                    return output[0]
        return None

    def _of_past(self) -> Frame | None:
        found = None if self._past is None else self._past.next()
        if found is None:
            self._past = None
        return found

    def _output(self, frames: list[Frame]) -> list[Frame]:
        output = []
        for kind, payload in frames:
            if kind == NOTICE:
                said = from_json(payload)
                self.exit = Exit(said["status"], said["error"])
            elif kind != ANSWER:
                output.append((kind, payload))
        return output

    @property
    def unsent(self) -> int:
        """How many bytes of input wait until the command reads."""
        return self._link.unsent

    def write_stdin(self, data: bytes) -> None:
        """Send input; what the command does not read yet is kept (`unsent`)."""
        for start in range(0, len(data), _MOST_INPUT):
            self._link.send(STDIN, data[start : start + _MOST_INPUT])

    def close_stdin(self) -> None:
        """Say that no more input comes."""
        self._link.send(STDIN_END, b"")

    def flush(self) -> None:
        """Send what waits, as far as possible at once."""
        self._link.flush()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        self._link.request("resize", rows=rows, columns=columns)

    def signal(self, number: int) -> None:
        """Send the container's command a signal, as `kill`."""
        self._link.request("signal", number=number)

    def detach(self) -> None:
        """Leave: the command goes on."""
        try:
            self._link.ask("detach")
        except (MonitorGone, ContainerError):
            pass  # it has just ended
        self.close()

    def wait(self) -> Exit:
        """Wait for the end; output is thrown away. Raises ContainerError when the monitor died."""
        while self.read() is not None:
            pass
        if self.exit is None:
            raise ContainerError("the monitor of the container died", kind="failed", code="monitor-gone")
        return self.exit

    def close(self) -> None:
        if self._past is not None:
            self._past.close()
            self._past = None
        self._link.close()


def attach(engine: Engine, text: str, to: AttachTo, past: Past | None = None) -> Attached:
    """Attach to a container, which may be started later. Raises ContainerError.

    With `past` what the log has comes first (`logs.attach_with_log`).
    """
    from firkin.containers.documents.lifecycle import answer, status_of
    from firkin.containers.link.launch import monitor_of  # not for an exec, which must be quick

    record = engine.home.find(text)
    while True:
        state = engine.home.state(record.id)
        if answer("attach", state) == "conflict":
            way_out = "unpause the container before attach" if state.paused else "wait until the container is running"
            message = f"container {record.id} is {status_of(state)}, {way_out}"
            raise ContainerError(message, kind="conflict", code="container-state")
        link = connect(engine.home, record.id)
        if link is None:
            with engine.home.locked(record.id):
                link = monitor_of(engine, record)
        try:
            return attach_link(link, to, past)
        except MonitorGone:
            link.close()


def attach_link(link: Link, to: AttachTo, past: Past | None = None) -> Attached:
    """Attach over a connection. Raises MonitorGone and ContainerError."""
    wanted: dict[str, Any] = {"stdin": to.stdin, "stdout": to.stdout, "stderr": to.stderr, "until": to.until}
    answered = link.ask("attach", **wanted) if past is None else link.ask("attach", **wanted, logs=True)
    if past is not None:
        past.begin(answered["log"])
    tty = answered["tty"]
    if tty and all(to.size):
        link.ask("resize", rows=to.size[0], columns=to.size[1])
    return Attached(link, tty=tty, past=past)
