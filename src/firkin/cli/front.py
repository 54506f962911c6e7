"""The front process: starts the worker, draws its events, passes signals on. Does I/O. Only `cli` may import it.

The worker is a fork without exec: the request stays in memory. A first SIGINT or SIGTERM asks the worker to stop, a
second one to stop at once; the worker sees to that (linux/ending.py). If it has not ended after GRACE_S, the front
kills it. After LIMIT_S the front ends in any case: it may hang on a terminal that takes no output. The worker dies
with the front.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from firkin.builder.request import BuildRequest, BuildResult
from firkin.cli.hints import COMMAND_LINE
from firkin.errors import Cancelled, FirkinError, InternalError
from firkin.events import in_words
from firkin.worker.client import Ending, Worker, fork_worker
from firkin.worker.messages import INPLACE_GRACE_S, Success, error_of

if TYPE_CHECKING:
    from types import FrameType

    from firkin.events import Event
    from firkin.hints import Texts
    from firkin.render import Renderer

GRACE_S = 1.6
LIMIT_S = 1.7
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def build_in_worker(
    request: BuildRequest, make_renderer: Callable[[], Renderer], texts: Texts = COMMAND_LINE
) -> tuple[BuildResult | FirkinError, Renderer]:
    """Let a worker answer a request and draw its events; return the result or the error, and the closed renderer.

    The renderer is made after the fork, so that the worker starts first and inherits nothing of it. Raises FirkinError
    when no worker can be started. Hints are in the words of `texts`, both in events and in the error.
    """
    signals = _Signals()
    try:
        worker = fork_worker(request, signals.forget)
        signals.pass_to(worker)
        renderer = make_renderer()
        failed = True
        try:
            came = _result_of(worker.watch(_Front(renderer, signals, texts)), signals.asked)
            failed = isinstance(came, FirkinError)
            if isinstance(came, FirkinError):
                came.put(texts)
        finally:
            renderer.close(failed)
    finally:
        signals.restore()
    return came, renderer


def _result_of(ending: Ending, asked: int) -> BuildResult | FirkinError:
    """Return the result or the error of a build; `asked` is the signal that stopped it, or 0."""
    if isinstance(ending.last, Success):
        return ending.last.result
    if asked:
        return Cancelled("the build was cancelled", exit_code=128 + asked)
    if ending.last is not None:
        return error_of(ending.last)
    if ending.status == -signal.SIGKILL:
        return InternalError(
            "the worker was killed (SIGKILL)",
            hints=("the kernel does this when memory runs out; see `dmesg`",),
        )
    return InternalError(f"the worker ended without a result (status {ending.status})")


class _Signals:
    """Passes signals on to the worker at once, and writes their numbers to a pipe, which ends the wait for events."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.set_blocking(self._write_end, False)
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self.asked = 0  # the first signal
        self._grace_s, self._limit_s = GRACE_S, LIMIT_S
        self._worker: Worker | None = None
        numbers = [*_STOPPING, signal.SIGWINCH, signal.SIGALRM]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            numbers.remove(signal.SIGHUP)  # `nohup` asks for this
        self._before = {number: signal.signal(number, self._came) for number in numbers}

    def pass_to(self, worker: Worker) -> None:
        """Pass signals on to the worker from now on, first the one that came before."""
        from firkin.linux.harden import in_executor_image

        self._worker = worker
        if in_executor_image():  # the worker must first put its root back
            self._grace_s = self._limit_s = INPLACE_GRACE_S
        if self.asked:
            worker.kill_after(self._grace_s)
            self._tell(self.asked)

    def waiting(self) -> bytes:
        """Return the numbers of the signals that have come since the last call."""
        try:
            return os.read(self.read_end, 64)
        except BlockingIOError:
            return b""

    def _came(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; it may interrupt the front anywhere."""
        if number in _STOPPING:
            if not self.asked:
                self.asked = number
                signal.setitimer(signal.ITIMER_REAL, self._limit_s)
                if self._worker is not None:
                    self._worker.kill_after(self._grace_s)
            self._tell(number)
        elif number == signal.SIGALRM and self.asked:
            if self._worker is not None:
                self._worker.kill()
            os._exit(128 + self.asked)

    def _tell(self, number: int) -> None:
        if self._worker is not None:
            self._worker.send(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def forget(self) -> None:
        """Undo everything in the fork, before the fork has its own handlers."""
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


class _Front:
    """Draws the events of a worker."""

    def __init__(self, renderer: Renderer, signals: _Signals, texts: Texts) -> None:
        self._renderer = renderer
        self._signals = signals
        self._texts = texts
        self._said = False
        self.descriptor = signals.read_end

    def event(self, event: Event) -> None:
        """Draw an event."""
        self._renderer.event(in_words(event, self._texts))

    def wait_s(self) -> float | None:
        """Return the interval at which the drawing changes by itself, None for never."""
        return self._renderer.interval_s or None

    def look(self, worker: Worker) -> None:
        """Say once that the build is being stopped, and draw what changes with time alone."""
        for number in self._signals.waiting():
            if number in _STOPPING and not self._said:
                self._said = True
                if number == signal.SIGINT:
                    self._renderer.message("stopping; press Ctrl-C again to kill")
        if self._renderer.interval_s:
            self._renderer.tick(time.time())
