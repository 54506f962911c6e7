"""Give a container a monitor: what it is to run is the launch document (docs/dev/monitor.md). Does I/O."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from firkin.containers.documents.log_options import log_plan
from firkin.containers.documents.record import State
from firkin.containers.documents.signals import parse_signal
from firkin.containers.link.connection import connect
from firkin.containers.link.monitoring import NOT_STARTED, spawn_monitor
from firkin.containers.planning.plan import Place, plan_container
from firkin.errors import HostError
from firkin.linux.machine import kernel_version
from firkin.store.journal import journal_path
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    from firkin.containers.documents.config import Config
    from firkin.containers.documents.record import Record
    from firkin.containers.home.engine import Engine
    from firkin.containers.limits.plan import LimitsPlan
    from firkin.containers.limits.scope import ScopeRequest
    from firkin.containers.link.connection import Link
    from firkin.containers.link.monitoring import Nursling

LAUNCH_VERSION = 1
DEFAULT_STOP_SIGNAL, DEFAULT_STOP_S = "SIGTERM", 10
_NS = 1_000_000_000
# What a health check does that says nothing of it (engine's defaults).
_INTERVAL_S, _TIMEOUT_S, _START_INTERVAL_S, _RETRIES = 30.0, 30.0, 5.0, 3
_SHELL = ("/bin/sh", "-c")


class Launch(NamedTuple):
    """The document, and the scope of systemd that the monitor is put into before it starts the command."""

    document: dict[str, Any]
    scope: ScopeRequest | None


def monitor_of(engine: Engine, record: Record, spawned: Nursling | None = None) -> Link:
    """Return a connection to the monitor of a container, or to a new one that was not told to start.

    By whoever holds the container's lock. Raises HostError and ContainerError.
    """
    link = connect(engine.home, record.id)
    if link is not None:
        return link
    engine.home.ensure_runtime(record.id)
    launch, link = _launched(engine, record, spawned)
    if launch.scope is not None:
        from firkin.containers.limits.scope import enter_scope

        try:
            enter_scope(launch.scope, link.monitor)
        except BaseException:
            link.close()
            raise
    return link


def _launched(engine: Engine, record: Record, spawned: Nursling | None) -> tuple[Launch, Link]:
    """Launch a monitor: where memory or processes were short when it was spawned, another one.

    Raises HostError and ContainerError.
    """
    nursling = spawned or spawn_monitor()
    try:
        launch = plan_launch(engine, record)
        try:
            return launch, nursling.launch(launch.document)
        except HostError as error:
            if error.code != NOT_STARTED:
                raise
    finally:
        nursling.close()
    with closing(spawn_monitor()) as nursling:
        return launch, nursling.launch(launch.document)


def plan_launch(engine: Engine, record: Record) -> Launch:
    """Return what the next start of a container needs. Raises ContainerError and HostError."""
    home, config, host = engine.home, record.config, record.host_config
    directory = home.directory(record.id)
    limits, version = _limits(engine, record)
    place = Place(
        directory=directory,
        trees=f"{engine.root}/trees",
        machine=os.uname().machine,
        maps=engine.backend().enter.maps,
        guarded=_has_devices(limits.groups),
        cgroups=version if limits.groups else 0,
        kernel=kernel_version(),
    )
    plan = plan_container(record, place)
    document = {
        "version": LAUNCH_VERSION,
        "id": record.id,
        "name": record.name,
        "image": config.image,
        "labels": dict(config.labels or {}),
        "home": directory,
        "socket": f"{home.runtime(record.id)}/socket",
        "journal": journal_path(engine.root),
        "state": to_builtins(home.written_state(record.id) or State()),
        "plan": plan.plan,
        "exec": plan.exec,
        "maps": plan.maps,
        "joined": [f"{home.directory(id)}/state.json" for _, id in plan.targets],
        "tty": config.tty,
        "open_stdin": config.open_stdin,
        "stdin_once": config.stdin_once,
        "size": list(host.console_size),
        "given_term": any(entry.startswith("TERM=") for entry in config.env or ()),
        "log": log_plan(record, directory),
        "health": health_settings(config),
        "restart": {"name": host.restart_policy.name, "most": host.restart_policy.maximum_retry_count},
        "auto_remove": _removal(engine, record) if host.auto_remove else None,
        "stop_signal": parse_signal(config.stop_signal or DEFAULT_STOP_SIGNAL),
        "own_stop_signal": bool(config.stop_signal),
        "stop_timeout": DEFAULT_STOP_S if config.stop_timeout is None else config.stop_timeout,
        "cgroup": limits.groups,
    }
    return Launch(document, limits.scope)


def _limits(engine: Engine, record: Record) -> tuple[LimitsPlan, int]:
    """Return the control groups of a container, and which version this machine has."""
    from firkin.containers.limits.devices import read_devices
    from firkin.containers.limits.plan import plan_limits

    facts = engine.cgroups()
    host = record.host_config
    return plan_limits(record.id, host, facts, record.limits, read_devices(host)), facts.version


def _has_devices(groups: dict[str, Any] | None) -> bool:
    """Say whether the groups keep a container from devices that it was not given."""
    if groups is None:
        return False
    return bool(groups.get("devices")) or any("devices" in names.split(",") for names in groups["paths"])


def health_settings(config: Config) -> dict[str, Any] | None:
    """Return `health` of the document, None without a check."""
    check = config.healthcheck
    kind = check.test[0] if check is not None and check.test else ""
    if check is None or kind not in ("CMD", "CMD-SHELL"):
        return None
    words = list(check.test[1:])
    return {
        "test": words if kind == "CMD" else [*(config.shell or _SHELL), *words],
        "interval": check.interval / _NS or _INTERVAL_S,
        "timeout": check.timeout / _NS or _TIMEOUT_S,
        "start_period": check.start_period / _NS,
        "start_interval": check.start_interval / _NS or _START_INTERVAL_S,
        "retries": check.retries or _RETRIES,
        "on_failure": check.on_failure,
    }


def _removal(engine: Engine, record: Record) -> dict[str, Any]:
    """Return the paths that a monitor needs to remove its container (monitor/removal.py)."""
    from firkin.containers.keeping.layers import CONTAINER
    from firkin.containers.keeping.leftovers import GONE, VOLUMES_TOO
    from firkin.containers.volumes.shelf import GONE as GONE_VOLUME
    from firkin.store.layout import StoreLayout
    from firkin.store.references import reference_path

    home, layout = engine.home, StoreLayout(engine.root)
    shelf = f"{engine.root}/volumes"
    return {
        "mark": VOLUMES_TOO,
        "lock": f"{home.containers}/lock",
        "names": f"{home.containers}/names",
        "gone": f"{home.containers}/{GONE}{record.id}",
        "references_lock": layout.images_lock,
        "reference": reference_path(layout, CONTAINER, record.id),
        "volumes": [[mount.name, shelf] for mount in record.mounts if mount.name],
        "anonymous": [mount.name for mount in record.mounts if mount.name and mount.anonymous],
        "gone_volume": GONE_VOLUME,
    }
