"""Changes limits and the restart policy of a container, which goes on running. Does I/O.

Mirrors: moby daemon/update.go, container.UpdateContainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from errno import EBUSY
from typing import Any, NamedTuple

import msgspec

from firkin.containers.documents.checks import check_resources, check_restart_policy
from firkin.containers.documents.config import HostConfig
from firkin.containers.documents.lifecycle import answer
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.link.connection import MonitorGone, connect
from firkin.errors import ContainerError
from firkin.linux.cgroups import write_values
from firkin.linux.files import read_named

FIELDS = (
    "blkio_weight", "cpu_period", "cpu_quota", "cpu_realtime_period", "cpu_realtime_runtime", "cpu_shares",
    "cpuset_cpus", "cpuset_mems", "memory", "memory_reservation", "memory_swap", "nano_cpus", "pids_limit",
    "restart_policy",
)  # fmt: skip
"""What can be changed, as fields of HostConfig."""
_USAGES = ("usage_in_bytes", "max_usage_in_bytes")
_CONFLICTS = (
    ("nano_cpus", "cpu_period", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("nano_cpus", "cpu_quota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("cpu_period", "nano_cpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("cpu_quota", "nano_cpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)


def update(engine: Engine, text: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Give a container other settings, by FIELDS, and return warnings. What is empty or zero stays as it is.

    Raises ContainerError: `missing`, `invalid`, `conflict` for what contradicts the settings that it has, `unsupported`
    for a limit that cannot be set here.
    """
    home = engine.home
    with home.locked(home.find(text).id):
        record = home.find(text)
        state = home.state(record.id)
        if answer("update", state) == "fail":
            message = 'container is marked for removal and cannot be "update"'
            raise ContainerError(f"Cannot update container {record.id}: {message}", kind="failed", code="update")
        host = changed(record, changes)
        updated = msgspec.structs.replace(record, host_config=host)
        limits = _limits(engine, record, updated)
        if state.running:
            _apply(engine, updated, state, limits)
        home.write_record(updated)
    engine.container_event("update", updated)
    return limits.warnings


def changed(record: Record, changes: Mapping[str, Any]) -> HostConfig:
    """Return the settings of a container after the changes. Raises ContainerError."""
    _check(record, changes)
    chosen = {name: value for name, value in changes.items() if name in FIELDS and value not in (None, 0, "")}
    limit = changes.get("pids_limit")
    if limit is not None:
        chosen["pids_limit"] = limit if limit > 0 else None
    host = msgspec.structs.replace(record.host_config, **chosen)
    check_resources(host)
    return host


def _check(record: Record, changes: Mapping[str, Any]) -> None:
    """Raise ContainerError for changes that contradict what a container has."""
    host = record.host_config
    for wanted, there, message in _CONFLICTS:
        if changes.get(wanted) and getattr(host, there):
            raise _conflict(record, f"Conflicting options: {message}")
    if (changes.get("memory") or 0) > host.memory_swap and not changes.get("memory_swap"):
        raise _conflict(
            record,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        )
    policy = changes.get("restart_policy")
    if policy is None:
        return
    check_restart_policy(policy.name, policy.maximum_retry_count)
    if host.auto_remove and policy.name not in ("", "no"):
        raise _conflict(record, "Restart policy cannot be updated because AutoRemove is enabled for the container")


def _conflict(record: Record, message: str) -> ContainerError:
    return ContainerError(f"Cannot update container {record.id}: {message}", kind="conflict", code="update")


class _Limits(NamedTuple):
    """What an update means for control groups: [[file, text]…] to write, to go back, and for the next start."""

    warnings: tuple[str, ...]
    change: list[list[str]]
    undo: list[list[str]]
    whole: dict[str, list[list[str]]] | None


def _limits(engine: Engine, old: Record, new: Record) -> _Limits:
    """Return what is written to control groups for the difference. Raises ContainerError."""
    from firkin.containers.limits.devices import read_devices
    from firkin.containers.limits.plan import plan_limits
    from firkin.containers.limits.values import updated_values

    facts = engine.cgroups()
    plan = plan_limits(new.id, new.host_config, facts, new.limits, read_devices(new.host_config))
    if plan.groups is None:
        return _Limits(plan.warnings, [], [], None)
    paths = plan.groups["paths"]
    change = updated_values(old.host_config, plan.host, facts, paths)
    undo = updated_values(plan.host, old.host_config, facts, paths)
    return _Limits(plan.warnings, change, undo, {key: plan.groups[key] for key in ("values", "later")})


def _apply(engine: Engine, record: Record, state: State, limits: _Limits) -> None:
    """Tell the kernel and the monitor. A container that ended meanwhile gets its settings at its next start."""
    try:
        if not state.restarting:
            write_values(limits.change)
    except FileNotFoundError:
        pass
    except OSError as error:
        for value in limits.undo:  # what was written before the one that was refused
            with suppress(OSError):
                write_values([value])
        raise ContainerError(
            f"Cannot update container {record.id}: {_refusal(error, limits.change)}", kind="failed", code="update"
        ) from error
    policy = record.host_config.restart_policy
    link = connect(engine.home, record.id)
    if link is None:
        return
    try:
        restart = {"name": policy.name, "most": policy.maximum_retry_count}
        link.ask("update", restart=restart, limits=limits.whole)
    except MonitorGone:
        pass
    finally:
        link.close()


def _refusal(error: OSError, values: list[list[str]]) -> str:
    """Return why the kernel refuses a value; of a limit of memory below what is used, in runc's words."""
    file = str(error.filename)
    folder, _, name = file.rpartition("/")
    if error.errno == EBUSY and name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        kind = name.removesuffix("limit_in_bytes")
        with suppress(OSError):
            used, peak = (read_named(f"{folder}/{kind}{what}").decode().strip() for what in _USAGES)
            text = next(text for path, text in values if path == file)
            return f"unable to set memory limit to {text} (current usage: {used}, peak usage: {peak})"
    return f"{name}: {(error.strerror or '').lower()}"
