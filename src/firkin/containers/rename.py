"""Gives a container another name. Does I/O. Mirrors: moby daemon.ContainerRename."""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from firkin.containers.documents.record import Record
from firkin.containers.home.engine import Engine
from firkin.containers.home.names import check_name, take
from firkin.containers.link.connection import MonitorGone, connect
from firkin.errors import ContainerError


def rename(engine: Engine, text: str, name: str) -> Record:
    """Rename a container, running or not, and return its record.

    Raises ContainerError: `missing`, `invalid` for a name that cannot be one or is its own, `conflict` for one that is
    taken.
    """
    if not text or not name:
        raise ContainerError("Neither old nor new names may be empty", kind="invalid", code="container-name")
    home = engine.home
    wanted = check_name(name)
    with home.locked(home.find(text).id):
        record = home.find(text)
        if record.name == wanted:
            raise ContainerError(
                "Renaming a container with the same name as its current name", kind="invalid", code="container-name"
            )
        renamed = msgspec.structs.replace(record, name=wanted)
        with home.all_locked():
            take(home, wanted, record.id)
            home.write_record(renamed)  # from here on the new link counts, and no longer the old one
            with suppress(FileNotFoundError):
                os.unlink(f"{home.containers}/names/{record.name}")
        _tell(engine, renamed)
    engine.container_event("rename", renamed, {"oldName": f"/{record.name}"})
    return renamed


def _tell(engine: Engine, record: Record) -> None:
    """Tell the monitor of a container that runs: it writes events, and may remove the container."""
    link = connect(engine.home, record.id)
    if link is None:
        return
    try:
        link.ask("update", name=record.name)
    except MonitorGone:
        pass  # it has just ended
    finally:
        link.close()
