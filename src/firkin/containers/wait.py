"""Wait until a container ends. Does I/O. Mirrors: moby daemon/wait.go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from firkin.containers.link.attach import Exit
from firkin.containers.link.connection import MonitorGone, connect
from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine

Condition = Literal["not-running", "next-exit", "removed"]


def wait(engine: Engine, text: str, condition: str = "not-running") -> Exit:
    """Wait until a container ends and return how.

    `not-running` is true at once of one that does not run; `next-exit` waits for an end to come, `removed` for the
    removal. Nothing is polled: a container that does not run has a monitor for as long as somebody waits for it.
    Raises ContainerError.
    """
    if condition not in ("not-running", "next-exit", "removed"):
        raise ContainerError(f'invalid condition: "{condition}"', kind="invalid", code="wait-condition")
    record = engine.home.find(text)
    waited = False
    state = engine.home.state(record.id)
    while True:
        if not state.running and (condition == "not-running" or (waited and condition == "next-exit")):
            return Exit(state.exit_code, state.error)
        link = connect(engine.home, record.id)
        if link is None:
            from firkin.containers.link.launch import monitor_of

            with engine.home.locked(record.id):
                link = monitor_of(engine, record)
        try:
            said = link.ask("wait", condition=condition)
            return Exit(said["status"], said["error"])
        except MonitorGone:
            waited = True  # it died, and the command with it; or somebody else was quicker
        finally:
            link.close()
        try:
            state = engine.home.state(record.id)
        except ContainerError:
            return Exit(state.exit_code, state.error)  # it is removed
