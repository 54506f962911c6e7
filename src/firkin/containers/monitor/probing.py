"""Probes a container's health by second commands, and does what an unhealthy one asks for. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from firkin.containers.monitor.clock import short_time_text
    from firkin.containers.monitor.execs import Execs, Second
    from firkin.containers.monitor.health import MOST_OUTPUT, UNHEALTHY, Health, shortened, timeout_text
    from firkin.containers.monitor.loop import Alarm, Loop
    from firkin.containers.monitor.notes import Notes


class Catcher:
    """Stands in for a log: keeps the output of a probe."""

    def __init__(self) -> None:
        self.output = b""

    def write(self, kind: int, data: bytes) -> None:
        if len(self.output) <= MOST_OUTPUT:
            self.output += data[: MOST_OUTPUT + 1]

    def flush(self, kind: int) -> None:
        pass

    def close(self) -> None:
        pass


class Prober:
    """Probes one container while it runs. `unhealthy` is called when it has just become that."""

    def __init__(
        self, loop: Loop, settings: dict[str, Any], notes: Notes, execs: Execs, unhealthy: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.notes = notes
        self.execs = execs
        self.unhealthy = unhealthy
        self.health = Health(settings, notes.state["health"])
        self.timer: Alarm | None = None
        self.on = False
        self.second: Second | None = None

    def begin(self) -> None:
        """The container has started."""
        self.health.begin(time.monotonic())
        self.notes.state["health"] = self.health.document
        self.go_on()

    def go_on(self) -> None:
        """Probe from now on, after one interval."""
        self.on = True
        self.plan()

    def plan(self) -> None:
        if self.on:
            self.timer = self.loop.after(self.health.interval(time.monotonic()), self.probe)

    def stop(self) -> None:
        """Probe no more; a probe that runs has no result."""
        self.on = False
        self.cancel()
        second, self.second = self.second, None
        if second is not None:
            second.on_end = self.nothing
            second.kill()
        self.health.stop()

    def nothing(self) -> None:
        """A probe has ended that nobody wants to know of any more."""

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def probe(self) -> None:
        started, started_ns = time.monotonic(), time.time_ns()
        catcher = Catcher()
        second = self.second = self.execs.create({"argv": self.settings["test"], "stdout": True, "stderr": True})
        second.streams.log = catcher  # type: ignore[assignment]
        timed_out: list[bool] = []

        def began(status: int, text: str) -> None:
            if status:
                catcher.output = text.encode("utf-8", "replace")
            elif self.second is second:
                self.timer = self.loop.after(float(self.settings["timeout"]), too_late)

        def too_late() -> None:
            timed_out.append(True)
            second.kill()

        def ended() -> None:
            self.cancel()
            self.second = None
            self.execs.forget(second)
            late, said = bool(timed_out), catcher.output
            output = timeout_text(float(self.settings["timeout"]), said) if late else shortened(said)
            entry = {
                "Start": short_time_text(started_ns), "End": short_time_text(time.time_ns()),
                "ExitCode": -1 if late else second.exit_code, "Output": output,
            }  # fmt: skip
            self.take(started, entry)

        second.on_end = ended
        second.start(None, began)

    def take(self, started: float, entry: dict[str, Any]) -> None:
        """Note a result, and wait for the next probe."""
        changed = self.health.probed(started, entry)
        self.notes.save(health=self.health.document)
        if changed:
            self.notes.event(f"health_status: {changed}")
        self.plan()
        if changed == UNHEALTHY:
            self.unhealthy()
