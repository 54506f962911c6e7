"""Waits for descriptors and times, and calls whoever wants to know. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. Nothing here wakes up without a cause.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE, WRITABLE, URGENT = select.EPOLLIN, select.EPOLLOUT, select.EPOLLPRI
LONGEST_POLL_S = 86400.0  # epoll_wait(2) takes less than 25 days, and a health check may have more


class Alarm:
    """A call at a time to come; `cancel` it as often as you like."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.live = True

    def cancel(self) -> None:
        self.live = False


class Loop:
    """One epoll, and a list of timers, of which there are few."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[Alarm] = []
        self.soon: list[Callable[[], None]] = []
        self.over = False

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` whenever something happens at a descriptor."""
        self.handlers[fd] = handler
        self.epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        if fd in self.handlers:
            self.epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Call once, after some seconds."""
        timer = Alarm(time.monotonic() + seconds, call)
        self.timers.append(timer)
        return timer

    def when_ended(self, pid: int, call: Callable[[int], None]) -> None:
        """Reap a child when it ends, and call with its wait status."""
        pidfd = os.pidfd_open(pid)

        def ended(_: int) -> None:
            self.forget(pidfd)
            os.close(pidfd)
            call(os.waitpid(pid, 0)[1])

        self.watch(pidfd, READABLE, ended)

    def run(self, report: Callable[[BaseException], None]) -> None:
        """Wait and call until `over`. A fault in a handler is reported, and the loop goes on."""
        while not self.over:
            self.timers = [timer for timer in self.timers if timer.live]
            wait_s = -1.0
            if self.soon:
                wait_s = 0.0
            elif self.timers:
                wait_s = max(0.0, min(timer.when for timer in self.timers) - time.monotonic())
                wait_s = min(wait_s, LONGEST_POLL_S)
            ready = self.epoll.poll(wait_s)
            calls, self.soon = self.soon, []
            try:
                for call in calls:
                    call()
                self.run_timers()
                for fd, events in ready:
                    handler = self.handlers.get(fd)  # an earlier one may have forgotten it
                    if handler is not None:
                        handler(events)
            except Exception as fault:  # noqa: BLE001  a monitor that ends takes its container along
                report(fault)

    def run_timers(self) -> None:
        now = time.monotonic()
        for timer in [timer for timer in self.timers if timer.when <= now]:
            if timer.live:
                timer.live = False
                timer.call()
