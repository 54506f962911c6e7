"""A container as a configuration of the OCI runtime specification. Pure.

Spec: opencontainers/runtime-spec 1.0.2, config.md and config-linux.md. Mirrors: moby oci.DefaultSpec and
daemon/oci_linux where these say what a container has. Values come from the functions that firkin's own plans come from
(containers/planning/plan.py, profile.py, surroundings.py, limits/values.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from firkin.containers.documents.config import HostConfig, ThrottleDevice
from firkin.containers.documents.profile import capability_names, hidden_paths, parse_security
from firkin.containers.documents.record import MountPoint, Record
from firkin.containers.limits.plan import group_path
from firkin.containers.planning.plan import environment
from firkin.containers.planning.surroundings import (
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    Modes,
    modes_of,
)
from firkin.errors import ContainerError

if TYPE_CHECKING:
    from firkin.linux.idmap import IdMaps, IdRange

SPEC_VERSION = "1.0.2"
ROOTFS = "rootfs"
_UNLIMITED = (1 << 64) - 1
_NAMESPACES = ((NEWNS, "mount"), (NEWPID, "pid"), (NEWIPC, "ipc"), (NEWUTS, "uts"), (NEWNET, "network"),
               (NEWCGROUP, "cgroup"), (NEWUSER, "user"))  # fmt: skip
_SYSTEM = ("nosuid", "noexec", "nodev")


class Known(msgspec.Struct, frozen=True):
    """What the record does not say.

    `user` is uid, gid, further groups and home; `devices` are (path in the container, kind, major, minor) and `rules`
    those of the devices controller, None for every device; `numbers` of block devices: {path: "8:0"}. `maps` are
    those of the user namespace; `cgroups` the version of control groups. `seccomp` is a profile in the form of the
    specification.
    """

    user: tuple[int, int, tuple[int, ...], str]
    devices: tuple[tuple[str, str, int, int], ...] = ()
    rules: tuple[str, ...] | None = None
    numbers: dict[str, str] = {}
    maps: IdMaps | None = None
    cgroups: int = 1
    seccomp: dict[str, Any] | None = None


def runtime_spec(record: Record, known: Known) -> dict[str, Any]:
    """Return the configuration. Raises ContainerError for what the specification has no words for."""
    modes = modes_of(record, user=known.maps is not None, cgroups=known.cgroups)
    host, config = record.host_config, record.config
    if modes.targets or modes.files_of:
        _refuse("a bundle cannot join the namespaces of another container: these change with each start")
    if host.init:
        _refuse("a bundle has no reaper of its own: leave out `init`")
    spec: dict[str, Any] = {
        "ociVersion": SPEC_VERSION,
        "process": _process(record, known),
        "root": {"path": ROOTFS, "readonly": host.readonly_rootfs},
        "mounts": [*_kernel_mounts(host, modes, known), *_own_files(record), *map(_mount, record.mounts)],
        "linux": _linux(record, modes, known),
    }
    if modes.own_names:
        spec["hostname"] = config.hostname or record.id[:12]
    if config.domainname:
        spec["domainname"] = config.domainname
    if host.annotations:
        spec["annotations"] = dict(host.annotations)
    return spec


def _refuse(message: str) -> None:
    raise ContainerError(message, kind="unsupported", code="bundle")


def _process(record: Record, known: Known) -> dict[str, Any]:
    host, config = record.host_config, record.config
    uid, gid, groups, home = known.user
    variables = environment(record)
    variables.setdefault("HOME", home or "/")
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": uid, "gid": gid, "umask": 0o022, "additionalGids": _more_groups(gid, groups, known)},
        "args": [record.path, *record.args],
        "env": [f"{name}={value}" for name, value in variables.items()],
        "cwd": config.working_dir or "/",
        "capabilities": _capabilities(host, uid),
        "noNewPrivileges": parse_security(host.security_opt or ()).no_new_privileges,
        "rlimits": [
            {"type": f"RLIMIT_{limit.name.upper()}", "soft": _rlimit(limit.soft), "hard": _rlimit(limit.hard)}
            for limit in host.ulimits or ()
        ],
    }
    if host.oom_score_adj:
        process["oomScoreAdj"] = host.oom_score_adj
    if any(host.console_size) and config.tty:
        process["consoleSize"] = {"height": host.console_size[0], "width": host.console_size[1]}
    return process


def _more_groups(gid: int, groups: tuple[int, ...], known: Known) -> list[int]:
    # In a user namespace runc refuses to set any, even the one that the process has.
    return [group for group in groups if known.maps is None or group != gid]


def _capabilities(host: HostConfig, uid: int) -> dict[str, list[str]]:
    """Return the sets of the first process; who is not root has rights only after a program with file capabilities."""
    found = capability_names(host.cap_add or (), host.cap_drop or (), privileged=host.privileged)
    names = [f"CAP_{name}" for name in found]
    effective = [] if uid else names
    return {"bounding": names, "effective": effective, "permitted": effective, "inheritable": [], "ambient": []}


def _rlimit(value: int) -> int:
    return _UNLIMITED if value == -1 else value


def _kernel_mounts(host: HostConfig, modes: Modes, known: Known) -> list[dict[str, Any]]:
    writable = "rw" if host.privileged else "ro"
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    if known.maps is not None and known.maps.single_id:
        pts.pop()  # the group has no id there
    found = [
        _entry("/proc", "proc", "proc", _SYSTEM),
        _entry("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        _entry("/dev/pts", "devpts", "devpts", pts),
        _entry("/dev/mqueue", "mqueue", "mqueue", _SYSTEM),
    ]
    if modes.shm == "own":
        options = (*_SYSTEM, "mode=1777", f"size={host.shm_size or 64 << 20}")
        found.append(_entry("/dev/shm", "tmpfs", "shm", options))
    else:
        found.append(_entry("/dev/shm", "bind", "/dev/shm", ("rbind", *_SYSTEM)))
    if known.maps is not None and not modes.own_network:
        # The kernel shows /sys to the owner of the network only.
        found.append(_entry("/sys", "bind", "/sys", ("rbind", *_SYSTEM, "ro")))
    else:
        found.append(_entry("/sys", "sysfs", "sysfs", (*_SYSTEM, writable)))
        if known.cgroups and known.maps is None:
            found.append(_entry("/sys/fs/cgroup", "cgroup", "cgroup", (*_SYSTEM, "relatime", writable)))
    return found


def _entry(destination: str, type: str, source: str, options: Any) -> dict[str, Any]:
    return {"destination": destination, "type": type, "source": source, "options": list(options)}


def _own_files(record: Record) -> list[dict[str, Any]]:
    """Return the mounts of hosts, hostname and resolv.conf, which lie beside the configuration."""
    taken = {point.destination for point in record.mounts}
    return [
        _entry(f"/etc/{name}", "bind", name, ("rbind", "rprivate"))
        for name in ("hosts", "hostname", "resolv.conf")
        if f"/etc/{name}" not in taken
    ]


def _mount(point: MountPoint) -> dict[str, Any]:
    writable = "rw" if point.rw else "ro"
    if point.type == "tmpfs":
        words = dict.fromkeys(("noexec", "nosuid", "nodev"))
        for word in point.options:
            words.pop({"exec": "noexec", "suid": "nosuid", "dev": "nodev"}.get(word, ""), None)
            words[word] = None
        return _entry(point.destination, "tmpfs", "tmpfs", (*words, *(() if point.rw else ("ro",))))
    if point.type == "image":
        if point.subpath:
            _refuse("a bundle cannot mount a part of an image")
        if len(point.trees) == 1:
            return _entry(point.destination, "bind", point.trees[0], ("rbind", "ro"))
        return _entry(point.destination, "overlay", "overlay", (f"lowerdir={':'.join(point.trees)}", "ro"))
    options = ("rbind" if point.recursive else "bind", writable, point.propagation or "rprivate")
    return _entry(point.destination, "bind", point.source, options)


def _linux(record: Record, modes: Modes, known: Known) -> dict[str, Any]:
    host = record.host_config
    unshared = modes.unshared | (NEWUSER if known.maps is not None else 0)
    masked, readonly = hidden_paths(host)
    found: dict[str, Any] = {
        "namespaces": [{"type": name} for flag, name in _NAMESPACES if unshared & flag],
        "resources": _resources(host, known),
        "devices": [
            {"path": path, "type": kind, "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0}
            for path, kind, major, minor in known.devices
        ],
        "maskedPaths": list(masked),
        "readonlyPaths": list(readonly),
        "sysctl": _sysctls(host, modes, known),
    }
    if known.maps is None:
        found["cgroupsPath"] = group_path(record.id, host)
    else:
        found["uidMappings"], found["gidMappings"] = _maps(known.maps.uids), _maps(known.maps.gids)
    if known.seccomp is not None:
        found["seccomp"] = known.seccomp
    return found


def _maps(rows: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [{"containerID": row.inside, "hostID": row.outside, "size": row.count} for row in rows]


def _sysctls(host: HostConfig, modes: Modes, known: Known) -> dict[str, str]:
    own = {}
    if modes.own_network:
        own["net.ipv4.ip_unprivileged_port_start"] = "0"
        if known.maps is None:
            own["net.ipv4.ping_group_range"] = "0 2147483647"
    return {**own, **(host.sysctls or {})}


def _resources(host: HostConfig, known: Known) -> dict[str, Any]:
    """Return the limits; a user's runtime could set none."""
    if known.maps is not None:
        return {}
    found: dict[str, Any] = {
        "devices": _rules(known.rules),
        "memory": _memory(host),
        "cpu": _cpu(host),
        "blockIO": _block_io(host, known.numbers),
        "pids": {"limit": host.pids_limit} if (host.pids_limit or 0) > 0 else {},
    }
    return {name: value for name, value in found.items() if value}


def _memory(host: HostConfig) -> dict[str, Any]:
    memory = {
        "limit": host.memory,
        "swap": host.memory_swap or 2 * host.memory,
        "reservation": host.memory_reservation,
        "disableOOMKiller": host.oom_kill_disable,
    }
    found: dict[str, Any] = {name: value for name, value in memory.items() if value}
    if host.memory_swappiness is not None:
        found["swappiness"] = host.memory_swappiness
    return found


def _cpu(host: HostConfig) -> dict[str, Any]:
    period, quota = host.cpu_period, host.cpu_quota
    if host.nano_cpus:
        period, quota = 100_000, host.nano_cpus // 10_000
    cpu = {"shares": host.cpu_shares, "quota": quota, "period": period, "cpus": host.cpuset_cpus,
           "mems": host.cpuset_mems, "realtimePeriod": host.cpu_realtime_period,
           "realtimeRuntime": host.cpu_realtime_runtime}  # fmt: skip
    return {name: value for name, value in cpu.items() if value}


def _rules(rules: tuple[str, ...] | None) -> list[dict[str, Any]]:
    if rules is None:
        return [{"allow": True, "access": "rwm"}]
    found: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for rule in rules:
        kind, number, access = rule.split()
        major, _, minor = number.partition(":")
        entry: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        entry |= {name: int(text) for name, text in (("major", major), ("minor", minor)) if text != "*"}
        found.append(entry)
    return found


def _block_io(host: HostConfig, numbers: Mapping[str, str]) -> dict[str, Any]:
    def limits(asked: tuple[ThrottleDevice, ...] | None) -> list[dict[str, int]]:
        return [{**_number(numbers[one.path]), "rate": one.rate} for one in asked or ()]

    found: dict[str, Any] = {
        "weight": host.blkio_weight,
        "weightDevice": [
            {**_number(numbers[one.path]), "weight": one.weight} for one in host.blkio_weight_device or ()
        ],
        "throttleReadBpsDevice": limits(host.blkio_device_read_bps),
        "throttleWriteBpsDevice": limits(host.blkio_device_write_bps),
        "throttleReadIOPSDevice": limits(host.blkio_device_read_iops),
        "throttleWriteIOPSDevice": limits(host.blkio_device_write_iops),
    }
    return {name: value for name, value in found.items() if value}


def _number(text: str) -> dict[str, int]:
    major, _, minor = text.partition(":")
    return {"major": int(major), "minor": int(minor)}
