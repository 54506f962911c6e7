"""Makes a container of an image: everything but its process. Does I/O.

A container is filled in `new-ID` and renamed to its id when it is complete, in the moment in which it gets its name.
Until then its maker holds its lock, so that nobody takes it for what a death left.

Mirrors: moby daemon.containerCreate.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from firkin.containers.documents.checks import check_merged, check_request
from firkin.containers.documents.config import Config, CreateRequest, HostConfig
from firkin.containers.documents.etc import check_network, check_single_id, hosts_text, resolv_text
from firkin.containers.documents.merge import Defaults, merge, path_and_args
from firkin.containers.documents.record import RECORD_VERSION, Record
from firkin.containers.home.engine import Engine
from firkin.containers.home.finder import SHORT_DIGITS
from firkin.containers.home.home import FIRST_STATE, Home, write_document
from firkin.containers.home.names import check_name, made_up, new_id, take, taken
from firkin.containers.home.times import now_text
from firkin.containers.keeping.layers import ensure_layers, hold_image, tree_ids
from firkin.containers.keeping.leftovers import BEGUN, NEW, discard, sweep
from firkin.containers.limits.plan import asks_limits, plan_limits
from firkin.errors import ContainerError
from firkin.linux.files import read_named
from firkin.linux.folders import copy_attributes
from firkin.linux.machine import this_platform
from firkin.oci.image import Image

if TYPE_CHECKING:
    from firkin.containers.keeping.mount_points import Mounting

_ATTEMPTS = 6  # to make up a name that nobody has, as docker


class Created(msgspec.Struct, frozen=True):
    """The whole id, and what the user should know."""

    id: str
    warnings: tuple[str, ...] = ()


def create(engine: Engine, request: CreateRequest, image: Image) -> Created:
    """Make a container. Nothing is left of one that fails; the volumes that it would have shared stay.

    Raises ContainerError: `invalid` for a request that cannot be fulfilled, `conflict` for a name that is taken;
    StoreError and HostError when layers cannot be unpacked. Never ContainerError of the kind `missing`: clients would
    pull the image then.
    """
    check_request(request)
    network = check_network(request.host_config)
    name = check_name(request.name) if request.name else ""
    config, host = merge(request, image.config.runtime, engine.defaults or Defaults())
    check_merged(config, host)
    engine.ensure_store()
    sweep(engine)
    if name:
        _check_free(engine, name)
    id = new_id()
    host, warnings = _possible(engine, id, _with_ids(engine, host), request.limits)
    path, args = path_and_args(config)
    record = Record(
        version=RECORD_VERSION, id=id, name=name, created=now_text(), image=image.config.digest,
        config=_with_hostname(engine, config, host, id), host_config=host, path=path, args=args, trees=tree_ids(image),
        platform=image.config.platform.os, architecture=image.config.platform.architecture, limits=request.limits,
    )  # fmt: skip
    _make(engine, record, image)
    maps = engine.backend().enter.maps
    single = check_single_id(record.config, host) if maps is not None and maps.single_id else ()
    return Created(id, (*_warnings(request, image), *warnings, *network, *single))


def _make(engine: Engine, record: Record, image: Image) -> None:
    home = engine.home
    place, lock = _begin(home, record.id)
    try:
        durable = not record.host_config.auto_remove
        try:
            for name in ("upper", "work", "log"):
                os.mkdir(f"{place}/{name}", 0o755)
            _write(home, place, record, sync=False)  # so that whoever finds a rest of this knows what belongs to it
            mounting = _mounting(engine, record)
            if mounting is not None:
                record = msgspec.structs.replace(record, mounts=mounting.plan())
            more_trees = () if mounting is None else mounting.trees
            hold_image(engine, record.id, image, place, more_trees=more_trees, sync=durable)
            ensure_layers(engine, image)
            if mounting is not None:
                mounting.fill(record)
            if record.trees:
                copy_attributes(f"{engine.root}/trees/{record.trees[0]}/fs", f"{place}/upper")
            write_document(f"{place}/state.json", FIRST_STATE, sync=False)
            _write_small_files(place, record)
            record = _publish(engine, place, record, durable)
        except BaseException:
            discard(engine, place)
            raise
    finally:
        os.close(lock)
    engine.container_event("create", record)


def _mounting(engine: Engine, record: Record) -> Mounting | None:
    """Return the mounts of a container, None if it has none."""
    host = record.host_config
    asked = host.binds, host.mounts, host.tmpfs, host.volumes_from, host.volume_driver, record.config.volumes
    if not any(asked):
        return None
    from firkin.containers.keeping.mount_points import Mounting

    return Mounting(engine, record)


def _begin(home: Home, id: str) -> tuple[str, int]:
    """Make the directory of a container that is being made; return it, and the descriptor of its lock.

    It gets the name by which others find it when the lock is taken.
    """
    place, hidden = f"{home.containers}/{NEW}{id}", f"{home.containers}/{BEGUN}{id}"
    os.makedirs(f"{home.containers}/names", mode=0o700, exist_ok=True)
    os.mkdir(hidden, 0o700)
    lock = os.open(f"{hidden}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(hidden, place)
    except BaseException:
        os.close(lock)
        raise
    return place, lock


def _publish(engine: Engine, place: str, record: Record, durable: bool) -> Record:
    """Give the container its name and its place in one moment; raises ContainerError (`conflict`)."""
    home = engine.home
    if record.name:
        _write(home, place, record, sync=durable)
    with home.all_locked():
        if record.name:
            take(home, record.name, record.id)
        else:
            record = _named(engine, record)
            _write(home, place, record, sync=durable)
        os.rename(place, home.directory(record.id))
    return record


def _named(engine: Engine, record: Record) -> Record:
    """Give the container a name that was made up, at last its short id."""
    for name in (*map(made_up, range(_ATTEMPTS)), record.id[:SHORT_DIGITS]):
        with suppress(ContainerError):
            take(engine.home, name, record.id)
            return msgspec.structs.replace(record, name=name)
    raise ContainerError("no name is left for a container", kind="failed")


def _check_free(engine: Engine, name: str) -> None:
    """Raise ContainerError (`conflict`) for a name that is taken, before anything is made for it."""
    holder = engine.home.named(name)
    if holder:
        with suppress(ContainerError):
            engine.home.state(holder)  # one that is half removed, or removes itself, goes now
        if engine.home.named(name) == holder:
            raise taken(name, holder)


def _write_small_files(place: str, record: Record) -> None:
    """Write what is mounted on /etc/hostname, /etc/hosts and /etc/resolv.conf."""
    config, host = record.config, record.host_config
    texts = {
        "hostname": f"{config.hostname}\n",
        "hosts": hosts_text(config, host, _of_machine("/etc/hosts") if host.network_mode == "host" else ""),
        "resolv.conf": resolv_text(host, _of_machine("/etc/resolv.conf")),
    }
    for name, text in texts.items():
        with open(f"{place}/{name}", "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(os.fsencode(text))


def _of_machine(path: str) -> str:
    try:
        return read_named(path).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _write(home: Home, place: str, record: Record, *, sync: bool) -> None:
    write_document(f"{place}/config.json", home.encoded(record), sync=sync)


def _with_hostname(engine: Engine, config: Config, host: HostConfig, id: str) -> Config:
    """Fill in the host name: the short id, or that of whoever's network it uses."""
    if config.hostname:
        return config
    if host.network_mode == "host" or host.uts_mode == "host":
        name = os.uname().nodename
    elif host.network_mode.startswith("container:"):
        name = engine.home.record(host.network_mode.partition(":")[2]).config.hostname
    else:
        name = id[:SHORT_DIGITS]
    return msgspec.structs.replace(config, hostname=name)


def _with_ids(engine: Engine, host: HostConfig) -> HostConfig:
    """Write `container:NAME` with whole ids, as a name may be another container's later. Raises ContainerError."""

    def whole(mode: str) -> str:
        kind, colon, text = mode.partition(":")
        if kind != "container" or not colon:
            return mode
        try:
            return f"container:{engine.home.find(text).id}"
        except ContainerError as error:
            raise ContainerError(error.message, kind="invalid", code=error.code) from error

    return msgspec.structs.replace(
        host, network_mode=whole(host.network_mode), pid_mode=whole(host.pid_mode), ipc_mode=whole(host.ipc_mode)
    )


def _possible(engine: Engine, id: str, host: HostConfig, policy: str) -> tuple[HostConfig, tuple[str, ...]]:
    """Return the host's part without limits that cannot be set here, and warnings. Raises ContainerError."""
    warnings: tuple[str, ...] = ()
    if host.oom_score_adj < 0:
        from firkin.containers.limits.oom import possible_score

        host, warnings = possible_score(host, policy)
    if not asks_limits(host):
        return host, warnings
    from firkin.containers.limits.devices import read_devices

    limits = plan_limits(id, host, engine.cgroups(), policy, read_devices(host))
    return limits.host, (*warnings, *limits.warnings)


def _warnings(request: CreateRequest, image: Image) -> tuple[str, ...]:
    here, there = this_platform(), image.config.platform
    if request.platform or (here.os, here.architecture) == (there.os, there.architecture):
        return ()
    return (
        f"The requested image's platform ({there}) does not match the detected host platform ({here}) and no specific "
        "platform was requested",
    )  # fmt: skip
