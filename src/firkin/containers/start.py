"""Start a container. Does I/O.

    attached = start(engine, "web", attach=AttachTo())

Mirrors: moby daemon/start.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from firkin.containers.documents.lifecycle import answer, status_of
from firkin.containers.link.attach import Attached, AttachTo, attach_link
from firkin.containers.link.connection import MonitorGone
from firkin.containers.link.launch import monitor_of
from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.containers.link.monitoring import Nursling


class Started(msgspec.Struct, frozen=True):
    """A container that runs; `already`: it did before. `attached` is there if that was asked for."""

    id: str
    already: bool
    pid: int
    attached: Attached | None = None


def start(
    engine: Engine,
    text: str,
    *,
    attach: AttachTo | None = None,
    spawned: Nursling | None = None,
    by_policy: bool = False,
) -> Started:
    """Start a container, or do nothing if it runs. An attached front misses nothing of its output.

    `spawned` is a monitor that was spawned earlier, to save time. `by_policy`: nobody asked (the machine came up), so
    the count of restarts and whether it was stopped by hand stay. Raises ContainerError: `conflict` when the state
    forbids it; with `exit_code` 125, 126 or 127 when the command cannot be run.
    """
    record = engine.home.find(text)
    with engine.home.locked(record.id):
        while True:
            try:
                return _start(engine, record, attach, spawned, new=not by_policy)
            except MonitorGone:
                spawned = None  # the one before has just ended


def _start(engine: Engine, record: Record, to: AttachTo | None, spawned: Nursling | None, *, new: bool) -> Started:
    state = engine.home.state(record.id)
    if answer("start", state) == "conflict":
        raise _cannot_start(record, status_of(state))
    if engine.backend().sandbox != "namespaces":
        from firkin.containers.foreground import refuse_start

        refuse_start()
    try:
        link = monitor_of(engine, record, spawned)
    except Exception:
        if record.host_config.auto_remove and status_of(state) == "created":  # there is no monitor that would do it
            from firkin.containers.remove import finish_removal

            finish_removal(engine, record.id, volumes=True)
        raise
    try:
        attached = None if to is None else attach_link(link, to)
        said = link.ask("start", new=new)
    except BaseException:
        link.close()
        raise
    if attached is None:
        link.close()
    return Started(record.id, said["already"], said["pid"], attached)


def _cannot_start(record: Record, status: str) -> ContainerError:
    if status == "paused":
        message = "cannot start a paused container, try unpause instead"
    else:
        message = f"container {record.id} is marked for removal and cannot be started"
    return ContainerError(message, kind="conflict", code="container-state")
