"""Arguments of `client.containers` in the forms that docker-py takes, as a request of the engine. Does I/O.

One row an argument: which field it becomes, and how its value is read. Arguments that firkin has no use for are ignored
or refused there. `client_containers` only. Mirrors: docker/docker-py docker/models/containers.py, types/containers.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypedDict

import msgspec

from firkin.api import keywords
from firkin.containers.documents.config import (
    Config,
    CreateRequest,
    Device,
    HealthConfig,
    HostConfig,
    LogConfig,
    Mount,
    RestartPolicy,
    Ulimit,
)
from firkin.decode import convert
from firkin.errors import UsageError
from firkin.text import parse_size

Words = str | Sequence[str]
Pairs = Mapping[str, str] | Sequence[str]
Time = datetime | float


class CreateOptions(TypedDict, total=False):
    """What `create` and `run` take beside image and command; names and forms are docker-py's."""

    auto_remove: bool
    blkio_weight: int
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    cgroup_parent: str
    cgroupns: str
    cpu_period: int
    cpu_quota: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    device_cgroup_rules: Sequence[str]
    devices: Sequence[str]
    dns: Sequence[str]
    dns_opt: Sequence[str]
    dns_search: Sequence[str]
    domainname: str
    entrypoint: Words
    environment: Pairs
    extra_hosts: Mapping[str, str]
    group_add: Sequence[str | int]
    healthcheck: Mapping[str, Any]
    hostname: str
    init: bool
    ipc_mode: str
    labels: Pairs
    log_config: Mapping[str, Any]
    mem_limit: int | str
    mem_reservation: int | str
    mem_swappiness: int
    memswap_limit: int | str
    mounts: Sequence[Mapping[str, Any]]
    name: str
    nano_cpus: int
    network: str
    network_disabled: bool
    network_mode: str
    oom_kill_disable: bool
    oom_score_adj: int
    pid_mode: str
    pids_limit: int
    platform: str
    ports: Mapping[str, Any]
    privileged: bool
    publish_all_ports: bool
    read_only: bool
    restart_policy: Mapping[str, Any]
    security_opt: Sequence[str]
    shm_size: int | str
    stdin_open: bool
    stop_signal: str
    storage_opt: Mapping[str, str]
    sysctls: Mapping[str, str | int]
    tmpfs: Mapping[str, str]
    tty: bool
    ulimits: Sequence[Mapping[str, Any]]
    user: str | int
    userns_mode: str
    uts_mode: str
    volumes: Mapping[str, Mapping[str, str]] | Sequence[str]
    volumes_from: Sequence[str]
    working_dir: str


class UpdateOptions(TypedDict, total=False):
    """What `update` takes; names and forms are docker-py's."""

    blkio_weight: int
    cpu_period: int
    cpu_quota: int
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    mem_limit: int | str
    mem_reservation: int | str
    memswap_limit: int | str
    nano_cpus: int
    pids_limit: int
    restart_policy: Mapping[str, Any]


class _Row(NamedTuple):
    """The field of Config (`host` False) or HostConfig that an argument becomes."""

    host: bool
    field: str
    read: keywords.Reader[Any]


def create_request(image: str, command: Words | None, options: CreateOptions, *, foreground: bool) -> CreateRequest:
    """Return the request. `foreground`: somebody waits for its output. Raises UsageError for a wrong argument."""
    found: dict[bool, dict[str, Any]] = {False: {"image": keywords.text("image", image)}, True: {}}
    if command is not None:
        found[False]["cmd"] = words("command", command)
    other: dict[str, str] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in ("name", "platform"):
            other[name] = keywords.text(name, value)
            continue
        row = _ROWS.get(name)
        if row is None:
            raise UsageError(f"`{name}` is no argument of create and run", code="argument-name")
        found[row.host][row.field] = row.read(name, value)
    _take_volumes(found, options.get("volumes"))
    _take_ports(found, options.get("ports"))
    config = found[False]
    if foreground:
        config |= {"attach_stdout": True, "attach_stderr": True}
    if config.get("open_stdin"):
        config["stdin_once"] = foreground
    return CreateRequest(Config(**config), HostConfig(**found[True]), limits="refuse", **other)


def update_fields(changes: UpdateOptions) -> dict[str, Any]:
    """Return changes by fields of HostConfig. Raises UsageError for a wrong argument."""
    found = {}
    for name, value in changes.items():
        row = _ROWS.get(name)
        if row is None or name not in UpdateOptions.__annotations__:
            raise UsageError(f"`{name}` is no argument of update", code="argument-name")
        found[row.field] = row.read(name, value)
    return found


# Readers


def words(name: str, value: object) -> tuple[str, ...]:
    """Read a command: a text is split as a shell would. Raises UsageError."""
    if not isinstance(value, str):
        return keywords.texts(name, value)
    try:
        return tuple(shlex.split(keywords.text(name, value)))
    except ValueError as error:
        raise UsageError(f"`{name}`: {str(error).lower()}", code="argument-value") from None


def variables(name: str, value: object) -> tuple[str, ...]:
    """Read variables: a mapping, in which None is a variable without a value, or texts `NAME=value`."""
    if isinstance(value, Mapping):
        return tuple(key if item is None else f"{key}={_text(f'{name}[{key!r}]', item)}" for key, item in value.items())
    return keywords.texts(name, value)


def labels(name: str, value: object) -> dict[str, str]:
    """Read labels: a mapping, or their names."""
    if isinstance(value, Mapping):
        return dict(keywords.pairs(name, value))
    return dict.fromkeys(keywords.texts(name, value), "")


def size(name: str, value: object) -> int:
    """Read bytes: a number, or a text such as `64m`; -1 is without limit. Raises UsageError."""
    if not isinstance(value, str):
        return keywords.integer(name, value)
    try:
        return -1 if value == "-1" else parse_size(value)
    except ValueError as error:
        raise UsageError(f"invalid `{name}`: {error}", code="argument-value") from None


def time_ns(name: str, value: Time) -> int:
    """Read a time: a datetime (UTC if it has no zone), or seconds since 1970."""
    if isinstance(value, datetime):

        value = value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    return int(keywords.seconds(name, value) * 1_000_000_000)


def _text(name: str, value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else keywords.text(name, value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    return keywords.several(_text, "str", name, value)


def _pairs(name: str, value: object) -> dict[str, str]:
    return dict(keywords.mapping(_text, "str", name, value))


def _hosts(name: str, value: object) -> tuple[str, ...]:
    return tuple(f"{host}:{address}" for host, address in keywords.pairs(name, value))


def _document(kind: type[Any]) -> keywords.Reader[Any]:
    """Return a reader of a mapping with the API's names, in any case of the first letter."""

    def read(name: str, value: object) -> Any:
        if not isinstance(value, Mapping):
            raise UsageError(f"`{name}` is of type `{type(value).__name__}`: it takes a mapping", code="argument-type")
        fields = {key[:1].upper() + key[1:]: item for key, item in value.items() if item is not None}
        try:
            return convert(fields, kind)
        except msgspec.ValidationError as error:
            raise UsageError(f"`{name}`: {error}", code="argument-value") from None

    return read


def _health(name: str, value: object) -> Any:
    fields = dict(value) if isinstance(value, Mapping) else value
    if isinstance(fields, dict):
        named = {"start_period": "StartPeriod", "start_interval": "StartInterval"}
        fields = {named.get(key, key): item for key, item in fields.items()}
        test = fields.pop("test", fields.pop("Test", None))
        if test is not None:
            fields["Test"] = ("CMD-SHELL", test) if isinstance(test, str) else tuple(test)
    return _document(HealthConfig)(name, fields)


def _restart(name: str, value: object) -> Any:
    return _document(RestartPolicy)(name, value)


def _ulimits(name: str, value: object) -> tuple[Ulimit, ...]:
    def read(each: str, item: object) -> Ulimit:
        fields = {key.lower(): part for key, part in item.items()} if isinstance(item, Mapping) else item
        if isinstance(fields, dict):
            one = fields.get("soft", fields.get("hard", 0))
            fields = {"name": fields.get("name"), "soft": one, "hard": fields.get("hard", one)}
        found: Ulimit = _document(Ulimit)(each, fields)
        return found

    return keywords.several(read, "mappings", name, value)


def _mounts(name: str, value: object) -> tuple[Mount, ...]:
    return keywords.several(_document(Mount), "mappings", name, value)


def _devices(name: str, value: object) -> tuple[Device, ...]:
    def read(each: str, item: object) -> Device:
        path, _, rest = keywords.text(each, item).partition(":")
        inside, _, permissions = rest.partition(":")
        return Device(path, inside or path, permissions or "rwm")

    return keywords.several(read, "str", name, value)


def _log(name: str, value: object) -> Any:
    return _document(LogConfig)(name, value)


def _take_volumes(found: dict[bool, dict[str, Any]], volumes: object) -> None:
    """Read `{"/host": {"bind": "/inside", "mode": "rw"}}`, or `HOST:INSIDE[:MODE]` and `/inside` alone."""
    if volumes is None:
        return
    if isinstance(volumes, Mapping):
        given = tuple(_bind(source, dict(keywords.pairs(f"volumes[{source!r}]", at))) for source, at in volumes.items())
    else:
        given = keywords.texts("volumes", volumes)
    found[True]["binds"] = tuple(text for text in given if ":" in text)
    alone = [text for text in given if ":" not in text]
    if alone:
        found[False]["volumes"] = {text: {} for text in alone}


def _bind(source: str, place: dict[str, str]) -> str:
    if "bind" not in place:
        raise UsageError(f"`volumes[{source!r}]` has no `bind`, the path in the container", code="argument-value")
    modes = [place[key] for key in ("mode", "propagation") if place.get(key)]
    return f"{source}:{place['bind']}" + (f":{','.join(modes)}" if modes else "")


def _take_ports(found: dict[bool, dict[str, Any]], ports: object) -> None:
    if not ports:
        return
    if found[True].get("network_mode") != "host":
        raise UsageError(
            "`ports` cannot be published yet: containers have no network of their own", code="argument-value",
            hints=('with `network_mode="host"` the ports of the container are those of this machine',),
        )  # fmt: skip


_ROWS: dict[str, _Row] = {
    **{name: _Row(False, name, keywords.text) for name in ("domainname", "hostname", "stop_signal", "working_dir")},
    **{name: _Row(True, name, keywords.text) for name in (
        "cgroup_parent", "cpuset_cpus", "cpuset_mems", "ipc_mode", "network_mode", "pid_mode", "userns_mode",
        "uts_mode",
    )},
    **{name: _Row(True, name, keywords.integer) for name in (
        "blkio_weight", "cpu_period", "cpu_quota", "cpu_shares", "mem_swappiness", "nano_cpus", "oom_score_adj",
        "pids_limit",
    )},
    **{name: _Row(True, name, keywords.flag) for name in (
        "auto_remove", "init", "oom_kill_disable", "privileged", "publish_all_ports",
    )},
    **{name: _Row(True, name, keywords.texts) for name in (
        "cap_add", "cap_drop", "device_cgroup_rules", "dns", "dns_search", "security_opt", "volumes_from",
    )},
    "cgroupns": _Row(True, "cgroupns_mode", keywords.text),
    "devices": _Row(True, "devices", _devices),
    "dns_opt": _Row(True, "dns_options", keywords.texts),
    "entrypoint": _Row(False, "entrypoint", words),
    "environment": _Row(False, "env", variables),
    "extra_hosts": _Row(True, "extra_hosts", _hosts),
    "group_add": _Row(True, "group_add", _texts),
    "healthcheck": _Row(False, "healthcheck", _health),
    "labels": _Row(False, "labels", labels),
    "log_config": _Row(True, "log_config", _log),
    "mem_limit": _Row(True, "memory", size),
    "mem_reservation": _Row(True, "memory_reservation", size),
    "memswap_limit": _Row(True, "memory_swap", size),
    "mounts": _Row(True, "mounts", _mounts),
    "network": _Row(True, "network_mode", keywords.text),
    "network_disabled": _Row(False, "network_disabled", keywords.flag),
    "ports": _Row(False, "exposed_ports", lambda name, value: None),
    "read_only": _Row(True, "readonly_rootfs", keywords.flag),
    "restart_policy": _Row(True, "restart_policy", _restart),
    "shm_size": _Row(True, "shm_size", size),
    "stdin_open": _Row(False, "open_stdin", keywords.flag),
    "storage_opt": _Row(True, "storage_opt", _pairs),
    "sysctls": _Row(True, "sysctls", _pairs),
    "tmpfs": _Row(True, "tmpfs", _pairs),
    "tty": _Row(False, "tty", keywords.flag),
    "ulimits": _Row(True, "ulimits", _ulimits),
    "user": _Row(False, "user", _text),
    "volumes": _Row(True, "binds", lambda name, value: None),
}  # fmt: skip
