"""Pause and unpause containers. Does I/O. Mirrors: moby daemon/pause.go."""

from __future__ import annotations

from firkin.containers.home.finder import not_running
from firkin.containers.link.connection import ask_monitor
from firkin.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.containers.home.engine import Engine


def pause(engine: Engine, text: str) -> None:
    """Freeze all processes of a container. Raises ContainerError."""
    id = engine.finder.identify(text)
    if not ask_monitor(engine, id, "pause"):
        raise not_running(id)


def unpause(engine: Engine, text: str) -> None:
    """Let the processes of a container go on. Raises ContainerError."""
    id = engine.finder.identify(text)
    if not ask_monitor(engine, id, "unpause"):
        raise ContainerError(f"Container {id} is not paused", kind="failed", code="container-state")
