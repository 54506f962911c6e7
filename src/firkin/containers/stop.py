"""Stop, kill and restart containers. Does I/O. Mirrors: moby daemon/stop.go, kill.go, restart.go.

Whoever asks may go away: the monitor carries it out all the same.
"""

from __future__ import annotations

from firkin.containers.documents.signals import parse_signal
from firkin.containers.home.finder import not_running
from firkin.containers.link.connection import MonitorGone, ask_monitor, connect
from firkin.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine


def stop(engine: Engine, text: str, *, signal: str | None = None, timeout: int | None = None) -> bool:
    """Stop a container and wait until it has ended; return whether it ran.

    `signal` and `timeout` (seconds, -1 for ever) None are the container's own. Raises ContainerError.
    """
    id = engine.finder.identify(text)
    number = None if signal is None else parse_signal(signal)
    link = connect(engine.finder, id)
    while link is None:
        with engine.home.locked(id):
            if not engine.home.state(id).running:  # mends it, and starts it again if the policy says so
                return False
            link = connect(engine.finder, id)
    try:
        return not link.ask("stop", signal=number, timeout=timeout)["already"]
    except MonitorGone:
        return False
    finally:
        link.close()


def kill(engine: Engine, text: str, *, signal: str = "KILL") -> None:
    """Send a container's command a signal; KILL waits for the end. Raises ContainerError (`conflict`: not running)."""
    id = engine.finder.identify(text)
    if not ask_monitor(engine, id, "signal", number=parse_signal(signal)):
        raise not_running(id)


def restart(engine: Engine, text: str, *, signal: str | None = None, timeout: int | None = None) -> None:
    """Stop and start a container, or start it; as `stop`. Raises ContainerError."""
    from firkin.containers.documents.lifecycle import answer, status_of
    from firkin.containers.link.launch import monitor_of

    record = engine.home.find(text)
    number = None if signal is None else parse_signal(signal)
    while True:
        with engine.home.locked(record.id):
            state = engine.home.state(record.id)
            if answer("restart", state) == "fail":
                message = f"Cannot restart container {record.id}: it is {status_of(state)}"
                raise ContainerError(message, kind="failed", code="container-state")
            link = monitor_of(engine, record)
        try:
            link.ask("restart", signal=number, timeout=timeout)
            return
        except MonitorGone:
            continue
        finally:
            link.close()
