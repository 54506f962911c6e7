"""A container as the document that inspect shows. Does I/O.

The names, their order, and what is null, empty or absent are those of Engine 28 (API 1.51), since clients compare what
they asked for with what they find. Mirrors: moby daemon/inspect.go, api/types/container InspectResponse.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firkin.containers.documents.config import Document
from firkin.containers.documents.lifecycle import status_of
from firkin.containers.documents.log_options import DEFAULT_DRIVER, log_path
from firkin.containers.documents.networks import network_settings
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.list import Sizes, mount_view, shown_mounts, sizes_of

DRIVER = "firkin"
"""The name of the storage driver, as inspect of images has it."""
# What docker leaves out when it is empty.
_ABSENT = frozenset((
    "ExposedPorts", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell",
    "Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Runtime", "Mounts", "Init",
))  # fmt: skip
# What docker has as an empty list or map where nothing was asked for; other fields are null then.
_EMPTY: dict[str, Any] = {
    "PortBindings": {}, "Devices": [], "Ulimits": [], "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [],
}  # fmt: skip
_KNOWN_FALSE = ("StopTimeout", "Init")  # null and zero differ


def inspect_container(
    engine: Engine, record: Record, *, size: bool = False, exec_ids: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the document of a container as it is now, with sizes if they are asked for.

    Raises ContainerError when it is gone.
    """
    sizes = sizes_of(engine, (record,))[record.id] if size else None
    state = engine.home.state(record.id)
    return document(record, state, engine.home.directory(record.id), sizes=sizes, exec_ids=exec_ids)


def document(
    record: Record, state: State, directory: str, *, sizes: Sizes | None = None, exec_ids: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the document of a container in a state; `directory` is where it is kept."""
    driver = record.host_config.log_config.type or DEFAULT_DRIVER
    found: dict[str, Any] = {
        "Id": record.id,
        "Created": record.created,
        "Path": record.path,
        "Args": list(record.args),
        "State": state_view(state),
        "Image": record.image,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": log_path(directory, record.id, driver) if driver == DEFAULT_DRIVER else "",
        "Name": f"/{record.name}",
        "RestartCount": state.restart_count,
        "Driver": DRIVER,
        "Platform": record.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": _fields(record.host_config),
        "GraphDriver": {"Data": {"UpperDir": f"{directory}/upper", "WorkDir": f"{directory}/work"}, "Name": DRIVER},
    }
    if sizes is not None:
        found |= {"SizeRw": sizes.rw, "SizeRootFs": sizes.root}
    found["Mounts"] = [mount_view(mount) for mount in shown_mounts(record)]
    found["Config"] = {**_fields(record.config), "Labels": record.config.labels or {}}
    found["NetworkSettings"] = network_settings(record, state)
    return found


def state_view(state: State) -> dict[str, Any]:
    """Return `State`; `Health` is there only with a health check."""
    view: dict[str, Any] = {
        "Status": status_of(state),
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.dead,
        "Pid": state.pid if state.running and not state.restarting else 0,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
    }
    if state.health is not None:
        view["Health"] = msgspec.json.decode(msgspec.json.encode(state.health))
    return view


def _fields(config: Document) -> dict[str, Any]:
    """Return the fields of a document as docker shows them."""
    found: dict[str, Any] = {}
    for name, value in msgspec.json.decode(msgspec.json.encode(config)).items():
        if name in _ABSENT and not value and not (name in _KNOWN_FALSE and value is not None):
            continue
        found[name] = _EMPTY.get(name) if value is None else value
    return found
