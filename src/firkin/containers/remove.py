"""Removes containers. Does I/O. Mirrors: moby daemon.ContainerRm, cleanupContainer.

A container that is being removed says so, loses its name, is renamed to `gone-ID`, and is deleted with what it holds
elsewhere. Each step can be the last one of a process: the next command goes on with it
(containers/keeping/leftovers.py).
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from firkin.containers.documents.lifecycle import answer, status_of
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.home.finder import missing
from firkin.containers.keeping.leftovers import GONE, VOLUMES_TOO, discard, sweep
from firkin.errors import ContainerError


def remove(engine: Engine, text: str, *, force: bool = False, volumes: bool = False) -> str:
    """Remove the container that a name or id means, and return its id. `volumes`: its anonymous volumes, too.

    With `force` one that runs is killed. Raises ContainerError: `missing`; `conflict` for one that runs (without
    `force`) or is being removed already.
    """
    home = engine.home
    damaged = home.unreadable(text) if force else ""
    if damaged:
        return _remove_unreadable(engine, damaged, volumes)
    record = home.find(text)
    sweep(engine)
    state = home.state(record.id)
    if state.removing and not force:
        raise _in_progress(record)
    volumes = volumes or record.host_config.auto_remove
    try:
        while True:
            if state.running:
                _check(record, state, force)
                _kill(engine, record.id)
            with home.locked(record.id):
                state = home.state(record.id)
                if not state.running:  # else it was just started
                    finish_removal(engine, record.id, volumes=volumes)
                    return record.id
    except ContainerError as error:
        if not force or error.kind != "missing":  # else it removed itself, or another command was quicker
            raise
    return record.id


def _remove_unreadable(engine: Engine, id: str, volumes: bool) -> str:
    """Remove a container whose record is damaged."""
    from firkin.containers.link.connection import MonitorGone, connect

    link = connect(engine.home, id)
    if link is not None:
        with suppress(MonitorGone):
            link.ask("signal", number=9)
        link.close()
    with engine.home.locked(id):
        finish_removal(engine, id, volumes=volumes)
    return id


def _kill(engine: Engine, id: str) -> None:
    """Kill a container and wait until it has ended; one that has just ended is as good. Raises ContainerError."""
    from firkin.containers.stop import kill  # most removals need no monitor

    try:
        kill(engine, id)
    except ContainerError as error:
        if error.kind != "conflict":
            raise


def _mark(place: str) -> None:
    """Note that the anonymous volumes go as well. Raises OSError."""
    os.close(os.open(f"{place}/{VOLUMES_TOO}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def finish_removal(engine: Engine, id: str, *, volumes: bool = False) -> None:
    """Remove a container that does not run, or go on with that; by whoever holds its lock. Raises ContainerError."""
    home = engine.home
    place, gone = home.directory(id), f"{home.containers}/{GONE}{id}"
    state = home.written_state(id)
    if state is None:
        raise missing(id)
    if volumes:
        _mark(place)
    if not state.removing:
        with suppress(ContainerError):  # a full disk must not keep anything from being removed
            home.write_state(id, msgspec.structs.replace(state, removing=True))
    with home.all_locked():
        os.rename(place, gone)
    _tell_waiting(engine, id)
    discard(engine, gone)


def _tell_waiting(engine: Engine, id: str) -> None:
    """Tell who waits for a container that does not run: it has a monitor for as long."""
    if not os.path.exists(f"{engine.home.runtime(id)}/socket"):
        return
    from firkin.containers.link.connection import MonitorGone, connect

    link = connect(engine.home, id)
    if link is not None:
        with suppress(MonitorGone, ContainerError):
            link.ask("removed")
        link.close()


def _check(record: Record, state: State, force: bool) -> None:
    """Raise ContainerError (`conflict`) unless a container in this state may be removed."""
    if force or answer("remove", state) == "do":
        return
    if state.removing:
        raise _in_progress(record)
    what = status_of(state)
    why = (
        "container is paused and must be unpaused first"
        if what == "paused"
        else f"container is {what}: stop the container before removing or force remove"
    )
    raise ContainerError(f'cannot remove container "/{record.name}": {why}', kind="conflict", code="container-running")


def _in_progress(record: Record) -> ContainerError:
    return ContainerError(
        f"removal of container {record.id} is already in progress", kind="conflict", code="container-removing"
    )
