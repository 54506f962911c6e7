"""A front beside a command: its output to ours, our input to it, signals and the terminal's size. Does I/O.

One thread waits for everything. The front may be killed at any moment: the command goes on, but for the terminal, which
only SIGKILL leaves as it is. Mirrors: docker/cli cli/command/container/hijack.go, signals.go, tty.go.
"""

from __future__ import annotations

import os
import select

from firkin.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import TracebackType

    from firkin.containers.link.attach import Attached, Exit
else:
    import _signal as signal  # `signal` itself takes 3 ms to load

_CHUNK = 1 << 16
_MOST_UNSENT = 1 << 18
# What is passed on. Faults of this process itself, ends of children and broken pipes are not; TTIN and TTOU keep their
# meaning, or a front in the background would ask for its terminal again and again.
_PASSED = tuple(
    number
    for number in signal.valid_signals()
    if number not in {
        signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGSEGV, signal.SIGBUS,
        signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGTTIN, signal.SIGTTOU,
        signal.SIGPROF, signal.SIGVTALRM,
    }
)  # fmt: skip


class Size(NamedTuple):
    """What fits on a terminal."""

    rows: int
    columns: int


def terminal_size(descriptor: int) -> Size:
    """Return the size of a terminal, (0, 0) if it is none."""
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        return Size(0, 0)
    return Size(rows, columns)


class Manner(NamedTuple):
    """How a front is attached. `keys` detach (b"": none do); `proxy`: signals go to the command."""

    stdin: bool = False
    output: bool = True
    keys: bytes = b""
    proxy: bool = False
    redraw: bool = False


class Detached(Exception):
    """The keys that detach were typed; the command goes on."""


class Signals:
    """Collects signals during a block, so that none is lost between the start of a command and `follow`.

    `proxy`: all that can be passed on; `tty`: changes of the terminal's size.
    """

    def __init__(self, *, proxy: bool, tty: bool) -> None:
        numbers = {signal.SIGWINCH} if tty else set()
        if proxy:
            numbers |= {number for number in _PASSED if signal.getsignal(number) != signal.SIG_IGN}
        self._numbers = numbers
        self._came: list[int] = []

    def __enter__(self) -> Signals:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._signal) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read_end)
        os.close(self._write_end)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal comes."""
        return self._read_end

    def take(self) -> list[int]:
        """Return the numbers that came since the last call."""
        os.read(self._read_end, 256)
        came, self._came = self._came, []
        return came

    def _signal(self, number: int, frame: object) -> None:
        self._came.append(number)


def follow(attached: Attached, manner: Manner, signals: Signals) -> Exit | None:
    """Pass everything on until the command ends, and return how; None if the connection broke.

    Without `output` it ends with the input. Raises Detached, BrokenPipeError when nobody reads our output.
    """
    return _Session(attached, manner, signals).run()


class _Session:
    def __init__(self, attached: Attached, manner: Manner, signals: Signals) -> None:
        self._attached = attached
        self._manner = manner
        self._signals = signals
        self._stdin = manner.stdin
        self._keys: Callable[[bytes], tuple[bytes, bool]] | None = None

    def run(self) -> Exit | None:
        manner = self._manner
        if not (self._attached.tty and manner.stdin):
            return self._follow()
        from firkin.cli.terminal import DetachKeys, RawTerminal

        self._keys = DetachKeys(manner.keys).pass_on if manner.keys else None
        with RawTerminal():
            return self._follow()

    def _follow(self) -> Exit | None:
        attached, manner = self._attached, self._manner
        if attached.tty:
            self._resize(redraw=manner.redraw)
        while not attached.ended and (manner.output or self._stdin or attached.unsent):
            self._turn()
        return attached.exit

    def _turn(self) -> None:
        attached, wakeup = self._attached, self._signals.fileno()
        if attached.waiting:
            self._output()
            return
        poll = select.poll()
        poll.register(attached.fileno(), select.POLLIN | (select.POLLOUT if attached.unsent else 0))
        poll.register(wakeup, select.POLLIN)
        if self._stdin and attached.unsent < _MOST_UNSENT:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll())
        if wakeup in ready:
            self._pass_signals()
        events = ready.get(attached.fileno(), 0)
        if events & select.POLLOUT:
            attached.flush()
        if events & ~select.POLLOUT:
            self._output()
        if ready.get(0, 0) and not attached.ended:
            self._input()

    def _output(self) -> None:
        """Write what came; pieces of one stream in one write."""
        waiting: list[bytes] = []
        last = 0
        for stream, data in self._attached.receive():
            if stream != last and waiting:
                write_all(last, b"".join(waiting))
                waiting.clear()
            last = stream
            waiting.append(data)
        if waiting:
            write_all(last, b"".join(waiting))

    def _input(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # the terminal is gone
        if not data:
            self._stdin = False
            self._attached.close_stdin()
            return
        detach = False
        if self._keys is not None:
            data, detach = self._keys(data)
        if data:
            self._attached.write_stdin(data)
        if detach:
            self._attached.detach()
            raise Detached

    def _pass_signals(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGWINCH and self._attached.tty:
                self._resize()
            elif self._manner.proxy:
                self._attached.signal(number)

    def _resize(self, *, redraw: bool = False) -> None:
        size = terminal_size(1)
        if size.rows and size.columns:
            if redraw:  # a size that changes makes programs draw everything again
                self._attached.resize(size.rows + 1, size.columns + 1)
            self._attached.resize(*size)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also where somebody has made the descriptor non-blocking. Raises BrokenPipeError, OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
