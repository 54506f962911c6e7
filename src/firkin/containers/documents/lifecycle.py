"""The life of a container: its states, and what each call does in each of them. Pure.

    created ─ start ─▶ running ─ exit ─▶ exited ─ start ─▶ running …      any ─ rm ─▶ removing ─▶ gone
                        │  ▲      │
                  pause ▼  │      └ exit, if the policy says so ─▶ restarting ─ back-off over ─▶ running
                      paused                                        └─ stop, kill ─▶ exited

A state is kept as flags, from which the status follows (`status_of`): paused and restarting containers are running too.
docs/dev/container-state.md says how an arrow is taken. Mirrors: moby daemon/container State.StateString.
"""

from __future__ import annotations

from typing import Literal

from firkin.containers.documents.record import ZERO_TIME, State

Status = Literal["created", "running", "paused", "restarting", "exited", "removing", "dead"]
Answer = Literal["do", "nothing", "conflict", "fail"]
"""`nothing`: it is so already, a success (304). `conflict`: the state forbids it (409). `fail`: a plain error (500)."""

_STATUSES: tuple[Status, ...] = ("created", "running", "paused", "restarting", "exited", "removing", "dead")
# One row a call; the columns are _STATUSES.
_ROWS: dict[str, tuple[Answer, ...]] = {
    "start": ("do", "nothing", "conflict", "nothing", "do", "conflict", "conflict"),
    "stop": ("nothing", "do", "do", "do", "nothing", "nothing", "nothing"),
    "restart": ("do", "do", "do", "do", "do", "fail", "fail"),
    "kill": ("conflict", "do", "do", "do", "conflict", "conflict", "conflict"),
    "pause": ("conflict", "do", "conflict", "conflict", "conflict", "conflict", "conflict"),
    "unpause": ("fail", "fail", "do", "fail", "fail", "fail", "fail"),
    "remove": ("do", "conflict", "conflict", "conflict", "do", "conflict", "do"),
    "exec": ("conflict", "do", "conflict", "conflict", "conflict", "conflict", "conflict"),
    "attach": ("do", "do", "conflict", "conflict", "do", "do", "do"),
    "logs": ("do", "do", "do", "do", "do", "conflict", "conflict"),
    "resize": ("conflict", "do", "do", "conflict", "conflict", "conflict", "conflict"),
    "top": ("conflict", "do", "do", "conflict", "conflict", "conflict", "conflict"),
    "update": ("do", "do", "do", "do", "do", "fail", "fail"),
    "export": ("do", "do", "do", "do", "do", "conflict", "conflict"),
    "commit": ("do", "do", "do", "do", "do", "conflict", "conflict"),
}


def status_of(state: State) -> Status:
    """Return the status that inspect and `ps` show."""
    if state.running:
        return "paused" if state.paused else "restarting" if state.restarting else "running"
    if state.removing:
        return "removing"
    if state.dead:
        return "dead"
    return "created" if state.started_at == ZERO_TIME else "exited"


def answer(call: str, state: State) -> Answer:
    """Return what `call` (a row of the table) does in a state."""
    return _ROWS[call][_STATUSES.index(status_of(state))]


def restarts(policy: str, most: int, state: State) -> bool:
    """Say whether a container that has just ended on its own is started again; `most` retries, 0 for any number."""
    if policy == "always":
        return True
    if policy == "unless-stopped":
        return not state.by_hand
    return policy == "on-failure" and state.exit_code != 0 and (most == 0 or state.retries < most)


def restored(policy: str, most: int, state: State) -> bool:
    """Say whether a container is started after the machine or its monitor went down; `most` retries, 0 for any number.

    One that has used up its retries stays as it is. Mirrors: moby daemon.restore, restartmanager.ShouldRestart.
    """
    if state.started_at == ZERO_TIME or state.removing or state.dead:
        return False
    if policy == "always":
        return True
    if policy == "unless-stopped":
        return not state.by_hand
    return not state.by_hand and restarts(policy, most, state)
