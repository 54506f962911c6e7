"""What a state is in words, as lists of containers show it. Pure.

Mirrors: moby daemon/container State.String.
"""

from __future__ import annotations

from firkin.containers.documents.lifecycle import status_of
from firkin.containers.documents.record import ZERO_TIME, State
from firkin.text import duration, seconds_of

_PLAIN = {"removing": "Removal In Progress", "dead": "Dead", "created": "Created"}


def status_words(state: State, now_s: float) -> str:
    """Return e.g. `Up 2 hours (Paused)`, `Restarting (1) 3 seconds ago`, `Exited (0) 5 minutes ago`."""
    status = status_of(state)
    if status == "dead" and state.error:
        return f"Dead ({state.error})"
    if status in _PLAIN:
        return _PLAIN[status]
    if status == "restarting":
        return f"Restarting ({state.exit_code}) {_since(state.finished_at, now_s)} ago"
    if status == "exited":
        return f"Exited ({state.exit_code}) {_since(state.finished_at, now_s)} ago" if _ended(state) else ""
    return f"Up {_since(state.started_at, now_s)}{_remark(state)}"


def health_of(state: State) -> str:
    """Return `starting`, `healthy` or `unhealthy`; `none` without a health check."""
    return state.health.status if state.health is not None else "none"


def _ended(state: State) -> bool:
    return state.finished_at != ZERO_TIME


def _remark(state: State) -> str:
    if state.paused:
        return " (Paused)"
    if state.health is None:
        return ""
    return " (health: starting)" if state.health.status == "starting" else f" ({state.health.status})"


def _since(time: str, now_s: float) -> str:
    return duration(max(0.0, now_s - (seconds_of(time) or 0.0)))
