"""A worker as its front sees it: two ways to start one, its events, signals to it, its end. Does I/O.

`fork_worker` is for the command line, which has one thread: the request stays in memory. `spawn_worker` is for the
Python API, whose caller may have any number of threads. Both return a `Worker` and differ in nothing else.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from firkin.builder.request import BuildRequest
from firkin.errors import HostError
from firkin.events import Event
from firkin.worker.messages import Failure, Success, decode_line

# -P: the working directory may be a build context, and nothing must be imported from there.
COMMAND = ["-P", "-m", "firkin.worker"]
_CHUNK = 1 << 16


class Watcher(Protocol):
    """Watches a worker. An exception in its methods ends the worker and reaches the caller of `watch`."""

    descriptor: int
    """Readable when `look` is to be called early; -1 for none."""

    def event(self, event: Event) -> None:
        """Take the next event."""

    def wait_s(self) -> float | None:
        """Return after how many seconds to call `look` at the latest; None if events and the descriptor are enough."""

    def look(self, worker: Worker) -> None:
        """Do what is due now: stop the worker, draw."""


class Ending(NamedTuple):
    """How a worker ended: its last line, if there was one, and its status, negative for a signal."""

    last: Success | Failure | None
    status: int


class Worker:
    """A worker process that was started. `leads_group`: its programs are in a process group of their own."""

    def __init__(self, pid: int, events: int, *, leads_group: bool) -> None:
        self._pid = pid
        self._events = events
        self._leads_group = leads_group
        self._kill_at_s = float("inf")
        self._rest = b""
        self._last: Success | Failure | None = None
        self._status: int | None = None

    def watch(self, watcher: Watcher) -> Ending:
        """Hand events on until the last line, or until the worker ends without one; wait for its end.

        The worker is killed when it outlives the time that `kill_after` gave it, and when the watcher raises.
        """
        try:
            self._follow(watcher)
            status = self._wait()
        except BaseException:
            self.end()
            raise
        os.close(self._events)
        return Ending(self._last, status)

    def send(self, number: int) -> None:
        """Send the worker a signal, if it is still there."""
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            pass  # an ended child leaves no trace where the caller ignores SIGCHLD

    def kill_after(self, grace_s: float) -> None:
        """Kill the worker if it has not ended when `grace_s` seconds have passed, beginning now."""
        self._kill_at_s = time.monotonic() + grace_s

    def kill(self) -> None:
        """Kill the worker, and the programs that it started and did not end; steps have a session of their own."""
        if self._status is not None:
            return  # its number may belong to another process by now
        self.send(signal.SIGKILL)
        if self._leads_group:
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended before it led a group

    def end(self) -> None:
        """Kill the worker, wait for it, and close its events."""
        self.kill()
        self._wait()
        os.close(self._events)

    def _follow(self, watcher: Watcher) -> None:
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        if watcher.descriptor >= 0:
            poll.register(watcher.descriptor, select.POLLIN)
        while self._last is None:
            ready = poll.poll(self._timeout_ms(watcher.wait_s()))
            if any(descriptor == self._events for descriptor, _ in ready) and not self._receive(watcher):
                return
            watcher.look(self)
            if time.monotonic() >= self._kill_at_s:
                self.kill()
                return

    def _timeout_ms(self, wait_s: float | None) -> float | None:
        if self._kill_at_s != float("inf"):
            left_s = max(0.05, self._kill_at_s - time.monotonic())
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        return None if wait_s is None else wait_s * 1000

    def _receive(self, watcher: Watcher) -> bool:
        """Read the available bytes and hand on the whole lines; False at the end."""
        data = os.read(self._events, _CHUNK)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = decode_line(line)
            if isinstance(event, (Success, Failure)):
                self._last = event
            else:
                watcher.event(event)
        return bool(data)

    def _wait(self) -> int:
        if self._status is None:
            try:
                if self._kill_at_s != float("inf") and self._leads_group:
                    os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)  # its number still leads the group
                    self.kill()
                self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            except ChildProcessError:  # somebody else in this process has waited for it, or SIGCHLD is ignored
                self._status = 0
        return self._status


def fork_worker(request: BuildRequest, undo: Callable[[], None]) -> Worker:
    """Fork a worker: it imports nothing again, and the request is in its memory. Needs a process with one thread.

    The worker first calls `undo`, which takes back what only this process should have. Raises FirkinError; then the
    worker is gone.
    """
    from firkin.worker.start import start_worker

    read_end, write_end = os.pipe()

    def prepare() -> None:
        os.close(read_end)
        undo()
        os.setsid()  # a terminal's Ctrl-C reaches only the front; steps have no terminal

    try:
        pid = start_worker(request, write_end, prepare=prepare)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Worker(pid, read_end, leads_group=True)


def spawn_worker(data: bytes) -> Worker:
    """Start a worker as a program of its own and send it an encoded request. Raises HostError."""
    request_read, request_write = os.pipe()
    events_read, events_write = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, request_read, 0),
        (os.POSIX_SPAWN_DUP2, events_write, 1),
    ]
    try:
        pid = os.posix_spawn(
            sys.executable, [sys.executable, *COMMAND], os.environ, file_actions=actions, setsigdef=[signal.SIGCHLD]
        )
    except OSError as error:
        os.close(request_write)
        os.close(events_read)
        raise HostError(f"cannot start the worker {sys.executable}: {(error.strerror or '').lower()}") from error
    finally:
        os.close(request_read)
        os.close(events_write)
    worker = Worker(pid, events_read, leads_group=False)
    try:
        while data:
            data = data[os.write(request_write, data) :]
    except BrokenPipeError:
        pass  # the worker's last line, or its exit status, says why
    except BaseException:
        worker.end()
        raise
    finally:
        os.close(request_write)
    return worker
