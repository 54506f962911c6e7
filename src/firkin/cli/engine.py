"""The engine of containers of an invocation. Does I/O. `cli.commands` only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.cli.command import Invocation
from firkin.cli.requests import settings_of
from firkin.containers import opening

if TYPE_CHECKING:
    from firkin.containers.engine import Engine


def open_engine(invocation: Invocation) -> Engine:
    """Return the engine of the store that an invocation names."""
    settings = settings_of(invocation.arguments, invocation.ambient)
    return opening.open_engine(settings.root, runtime=invocation.ambient.environ.get("XDG_RUNTIME_DIR", ""))
