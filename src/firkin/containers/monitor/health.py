"""When a container is probed, and what the probes say of it. Pure.

A part of the stand-alone program `monitor`; all parts share its global names. Times are seconds of a clock that is
handed in. Mirrors: moby daemon/health.go.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_ENTRIES = 5
MOST_OUTPUT = 4096
STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


class Health:
    """What is known of a container's health; `document` has its form in state.json.

    `settings` is `health` of the launch document: interval, timeout, start_period, start_interval (seconds), retries.
    """

    def __init__(self, settings: dict[str, Any], document: dict[str, Any] | None) -> None:
        self.settings = settings
        self.document: dict[str, Any] = {"Status": STARTING, "FailingStreak": 0, "Log": []}
        if document:
            self.document["Log"] = list(document["Log"])
        self.began = 0.0

    def begin(self, now: float) -> None:
        """The container has just started. What was probed before stays in the log."""
        self.began = now
        self.document.update(Status=STARTING, FailingStreak=0)

    def interval(self, now: float) -> float:
        """Return how long to wait before the next probe, from the start or the end of the last probe."""
        settings = self.settings
        early = now - self.began < settings["start_period"]
        wanted = "start_interval" if early and self.document["Status"] == STARTING else "interval"
        return float(settings[wanted])

    def probed(self, started: float, entry: dict[str, Any]) -> str:
        """Take the result of a probe that began at `started`; return the status if it is another one now, or ""."""
        document = self.document
        before = document["Status"]
        document["Log"] = [*document["Log"], entry][-MOST_ENTRIES:]
        if entry["ExitCode"] == 0:
            document.update(Status=HEALTHY, FailingStreak=0)
        elif before != STARTING or started - self.began >= self.settings["start_period"]:
            document["FailingStreak"] += 1
            if document["FailingStreak"] >= self.settings["retries"]:
                document["Status"] = UNHEALTHY
        return document["Status"] if document["Status"] != before else ""

    def stop(self) -> None:
        """Nobody probes any more: the container has ended or is paused."""
        self.document["Status"] = UNHEALTHY


def shortened(output: bytes) -> str:
    """Return the output of a probe as it is kept."""
    text = output[:MOST_OUTPUT].decode("utf-8", "replace")
    return f"{text}..." if len(output) > MOST_OUTPUT else text


def timeout_text(seconds: float, output: bytes) -> str:
    """Return what is kept of a probe that took too long."""
    said = f"Health check exceeded timeout ({duration_text(seconds)})"
    return f"{said}: {shortened(output)}" if output else said


def duration_text(seconds: float) -> str:
    """Return a duration as Go prints it: 30s, 1m30s, 1.5s, 250ms."""
    if seconds < 1:
        return f"{seconds * 1000:.9g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.9g}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
