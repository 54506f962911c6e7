"""The front process: starts the worker, draws its events, passes signals on. I; only `cli` may import it.

The worker is a fork without exec: the request stays in memory. A first SIGINT or SIGTERM asks the worker to stop, a
second to do so at once; it sees to that itself (linux/ending.py). When it has not ended after GRACE_S the front kills
it, and after LIMIT_S ends itself, whatever it is doing: a terminal may take no output. The worker dies with it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firkin.builder.request import BuildResult
from firkin.errors import Cancelled, FirkinError, InternalError
from firkin.worker import INPLACE_GRACE_S, Failure, Success, decode_line, error_of

if TYPE_CHECKING:
    from types import FrameType

    from firkin.render import Renderer

GRACE_S = 1.6
LIMIT_S = 1.7
_CHUNK = 1 << 16
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# (what the worker does first, where it writes events) → its pid
Start = Callable[[Callable[[], None], int], int]


def build_in_worker(
    start: Start, make_renderer: Callable[[], Renderer]
) -> tuple[BuildResult | FirkinError, Renderer]:
    """Start a worker and draw its events; return what came of it and the closed renderer.

    The renderer is made after the fork, so that the worker starts first and holds none of it.
    """
    read_end, write_end = os.pipe()
    signals = _Signals()
    try:

        def prepare() -> None:
            os.close(read_end)
            signals.forget()
            os.setsid()  # a terminal's Ctrl-C reaches the front only; steps have no terminal

        try:
            pid = start(prepare, write_end)
        finally:
            os.close(write_end)
        signals.pass_to(pid)
        renderer = make_renderer()
        ending = _Front(pid, read_end, renderer, signals).run()
    finally:
        signals.restore()
        os.close(read_end)
    return ending, renderer


class _Signals:
    """Passes signals on to the worker at once, and has them as bytes on a pipe, to be waited for with the events."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self.asked = 0  # the first signal
        self.grace_s, self._limit_s = GRACE_S, LIMIT_S
        self._pid = 0
        numbers = [*_STOPPING, signal.SIGWINCH, signal.SIGALRM]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            numbers.remove(signal.SIGHUP)  # as `nohup` wants it
        self._before = {number: signal.signal(number, self._came) for number in numbers}

    def pass_to(self, pid: int) -> None:
        """Pass on to the worker from now on, beginning with what came before."""
        from firkin.linux.harden import in_executor_image

        self._pid = pid
        if in_executor_image():  # there is a root to be put back
            self.grace_s = self._limit_s = INPLACE_GRACE_S
        if self.asked:
            self._tell(self.asked)

    def _came(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the middle of whatever the front is doing."""
        if number in _STOPPING:
            if not self.asked:
                self.asked = number
                signal.setitimer(signal.ITIMER_REAL, self._limit_s)
            self._tell(number)
        elif number == signal.SIGALRM and self.asked:
            self.kill()
            os._exit(128 + self.asked)

    def _tell(self, number: int) -> None:
        if self._pid:
            _send(self._pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def kill(self) -> None:
        """Kill the worker and the programs that it started and did not end; steps have a session of their own."""
        if self._pid:
            _send(self._pid, signal.SIGKILL)
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it had no time to lead a group

    def forget(self) -> None:
        """Undo everything in the fork, before it has handlers of its own."""
        self.restore()
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)

    def restore(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.read_end)
        os.close(self._write_end)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class _Front:
    """One worker being watched."""

    def __init__(self, pid: int, events: int, renderer: Renderer, signals: _Signals) -> None:
        self._pid = pid
        self._events = events
        self._renderer = renderer
        self._signals = signals
        self._said = False
        self._kill_at_s = float("inf")
        self._rest = b""
        self._last: Success | Failure | None = None

    def run(self) -> BuildResult | FirkinError:
        failed = True
        try:
            try:
                self._watch()
            except BaseException:
                self._kill()
                raise
            ending = self._ending()
            failed = isinstance(ending, FirkinError)
            return ending
        finally:
            self._renderer.close(failed)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        poll.register(self._signals.read_end, select.POLLIN)
        while self._last is None:
            for descriptor, _ in poll.poll(self._timeout_ms()):
                if descriptor == self._signals.read_end:
                    for number in os.read(descriptor, 64):
                        self._signalled(number)
                elif not self._receive():
                    return
            if time.monotonic() >= self._kill_at_s:
                self._signals.kill()
                return
            if self._renderer.interval_s:
                self._renderer.tick(time.time())

    def _timeout_ms(self) -> float | None:
        waits = []
        if self._renderer.interval_s:
            waits.append(self._renderer.interval_s)
        if self._kill_at_s != float("inf"):
            waits.append(max(0.05, self._kill_at_s - time.monotonic()))
        return min(waits) * 1000 if waits else None

    def _receive(self) -> bool:
        data = os.read(self._events, _CHUNK)
        if not data:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = decode_line(line)
            if isinstance(event, (Success, Failure)):
                self._last = event
            else:
                self._renderer.event(event)
        return True

    def _signalled(self, number: int) -> None:
        if number not in _STOPPING or self._said:
            return
        self._said = True
        self._kill_at_s = time.monotonic() + self._signals.grace_s
        if number == signal.SIGINT:
            self._renderer.message("stopping; press Ctrl-C again to kill")

    def _kill(self) -> None:
        """End the worker when the front itself has to give up."""
        self._signals.kill()
        os.waitpid(self._pid, 0)

    def _ending(self) -> BuildResult | FirkinError:
        if self._signals.asked:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)  # its number still leads the group
            self._signals.kill()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if isinstance(self._last, Success):
            return self._last.result
        if self._signals.asked:
            return Cancelled("the build was cancelled", exit_code=128 + self._signals.asked)
        if self._last is not None:
            return error_of(self._last)
        if status == -signal.SIGKILL:
            return InternalError(
                "the worker was killed (SIGKILL)",
                hints=("the kernel does this when memory runs out; see `dmesg`",),
            )
        return InternalError(f"the worker ended without a result (status {status})")
