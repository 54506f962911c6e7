"""What the next command does for a container whose monitor died, or whose removal was interrupted. Does I/O.

docs/dev/container-state.md, "Transitions", says who mends what. The exit code of such a container is unknown: 255. It
is told once, by whoever writes it under the container's lock.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

import msgspec

from firkin.containers.documents.lifecycle import restarts
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.home.home import Busy
from firkin.containers.home.times import now_text
from firkin.containers.limits.leftover import clear_groups
from firkin.containers.remove import finish_removal
from firkin.errors import ContainerError, FirkinError
from firkin.store.boot import read_boot_id

UNKNOWN_EXIT = 255
_DYING_S = 5.0  # until a killed process is gone


def mend(engine: Engine, id: str) -> State | None:
    """Return the state of a container that should have a monitor and has none, once it is true; None if it is gone.

    While another command holds the container, that one sees to it: then the state is returned as it is.
    """
    home = engine.home
    try:
        with home.locked(id, wait=False):
            state = home.written_state(id)
            if state is None or home.has_monitor(id):
                return state
            if state.removing:
                finish_removal(engine, id, volumes=home.record(id).host_config.auto_remove)
                return None
            if not state.running:
                return state
            return _ended(engine, home.record(id), state)
    except Busy:
        return home.written_state(id)
    except ContainerError as error:
        if error.kind != "missing":
            raise
        return None


def _ended(engine: Engine, record: Record, state: State) -> State | None:
    """Write how a container ended whose monitor died, and carry out what it has asked for in that case."""
    same_boot = state.boot == read_boot_id()
    if same_boot:
        clear_groups(record, engine.cgroups())  # also what is frozen, which no signal ends
        kill_rest(state)
    waiting = state.restarting
    ended = msgspec.structs.replace(
        state, running=False, paused=False, restarting=False, pid=0, monitor=0, started_ticks=0,
        exit_code=state.exit_code if waiting else UNKNOWN_EXIT,
        finished_at=state.finished_at if waiting else now_text(),
    )  # fmt: skip
    engine.home.write_state(record.id, ended)
    if not waiting:
        engine.container_event("die", record, {"exitCode": str(UNKNOWN_EXIT)})
    if record.host_config.auto_remove:
        finish_removal(engine, record.id, volumes=True)
        return None
    policy = record.host_config.restart_policy
    if same_boot and restarts(policy.name, policy.maximum_retry_count, ended):
        return _started_again(engine, record.id, ended)
    return ended


def _started_again(engine: Engine, id: str, ended: State) -> State | None:
    """Start a container as its policy says, which counts. Why that failed stands in its state."""
    from firkin.containers.start import start

    counted = msgspec.structs.replace(ended, restart_count=ended.restart_count + 1, retries=ended.retries + 1)
    engine.home.write_state(id, counted)
    with suppress(FirkinError):
        start(engine, id, by_policy=True)
    return engine.home.written_state(id)


def kill_rest(state: State) -> None:
    """Kill the first process of a container, if it is still the one that the state tells of, and wait for its end."""
    if not state.pid or _started(state.pid) != state.started_ticks:
        return
    try:
        descriptor = os.pidfd_open(state.pid)
    except OSError:
        return
    try:
        if _started(state.pid) == state.started_ticks:  # the descriptor is of this process, then
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(_DYING_S * 1000)
    finally:
        os.close(descriptor)


def _started(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 if it is gone. proc_pid_stat(5), starttime."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
