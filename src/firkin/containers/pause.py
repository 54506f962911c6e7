"""Pause and unpause containers. Does I/O. Mirrors: moby daemon/pause.go."""

from __future__ import annotations

from firkin.containers.home.finder import not_running
from firkin.containers.link.connection import MonitorGone, connect
from firkin.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine


def pause(engine: Engine, text: str) -> None:
    """Freeze all processes of a container. Raises ContainerError."""
    id = engine.finder.identify(text)
    if not _ask(engine, id, "pause"):
        raise not_running(id)


def unpause(engine: Engine, text: str) -> None:
    """Let the processes of a container go on. Raises ContainerError."""
    id = engine.finder.identify(text)
    if not _ask(engine, id, "unpause"):
        raise ContainerError(f"Container {id} is not paused", kind="failed", code="container-state")


def _ask(engine: Engine, id: str, op: str) -> bool:
    link = connect(engine.finder, id)
    if link is None:
        engine.home.state(id)
        return False
    try:
        link.ask(op)
        return True
    except MonitorGone:
        return False
    finally:
        link.close()
