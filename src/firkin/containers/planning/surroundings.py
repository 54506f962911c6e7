"""Namespaces and mounts of a container: which it has of its own, which it shares, and what is mounted where. Pure."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

from firkin.errors import ContainerError
from firkin.sandbox import operations as op
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    from firkin.containers.documents.config import HostConfig
    from firkin.containers.documents.record import MountPoint, Record
    from firkin.sandbox.operations import Operation

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
Target = tuple[int, str]
"""Flags of clone(2), and the id of the container whose namespaces are joined."""

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _NOATIME = 0x1, 0x2, 0x4, 0x8, 0x10
_TMPFS_FLAGS = {
    "ro": _RDONLY, "nosuid": _NOSUID, "nodev": _NODEV, "noexec": _NOEXEC, "noatime": _NOATIME,
}  # fmt: skip
_TMPFS_CLEARS = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "atime": "noatime"}
_DEFAULT_TMPFS = ("noexec", "nosuid", "nodev")
# What programs that correct numbers of the machine for containers cover (runc libcontainer checkProcMount).
_COVERED_IN_PROC = tuple(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip
FILES = ("hosts", "hostname", "resolv.conf")


class Modes(NamedTuple):
    """`unshared` are new namespaces, `targets` those of other containers, `all_own` all that are not the machine's."""

    unshared: int
    targets: tuple[Target, ...]
    all_own: int
    own_names: bool
    own_network: bool
    own_pids: bool  # its own, or another container's
    shm: str  # "own", "host", "joined", or "" for none
    files_of: str  # the container whose hosts, hostname and resolv.conf are shown, "" for its own


class Mounts(NamedTuple):
    """`takes` come first, `points` are below all layers, `attaches` come when the root is there."""

    takes: tuple[Operation, ...]
    points: tuple[Operation, ...]
    attaches: tuple[Operation, ...]
    targets: frozenset[str]


def modes_of(record: Record, *, user: bool, cgroups: int) -> Modes:
    """Return the namespaces of a container; `user`: it has a user namespace. Raises ContainerError."""
    host = record.host_config
    unshared = NEWNS
    joined: dict[str, int] = {}
    for flag, mode in _kinds(host, cgroups):
        other = _other(mode)
        if other:
            joined[other] = joined.get(other, 0) | flag
        elif mode != "host":
            unshared |= flag
    if user and joined:
        joined = _with_user(joined)
    elif user:
        unshared |= NEWUSER
    return Modes(
        unshared=unshared,
        targets=tuple((flags, name) for name, flags in joined.items()),
        all_own=functools.reduce(operator.or_, joined.values(), unshared),
        own_names=bool(unshared & NEWUTS),
        own_network=bool(unshared & NEWNET),
        own_pids=host.pid_mode != "host",
        shm="joined" if _other(host.ipc_mode) else {"host": "host", "none": ""}.get(host.ipc_mode, "own"),
        files_of=_other(host.network_mode),
    )


def _kinds(host: HostConfig, cgroups: int) -> tuple[tuple[int, str], ...]:
    """Return the kinds of namespaces with their modes: "" for a new one, "host", "container:ID"."""
    network = host.network_mode or "default"
    if network not in ("none", "host", "default", "bridge") and not _other(network):
        raise ContainerError(f"network {network} not found", kind="missing", code="container-network")
    private_cgroups = host.cgroupns_mode == "private" or (not host.cgroupns_mode and cgroups == 2)
    return (
        (NEWNET, "" if network == "none" else network if _other(network) else "host"),
        (NEWPID, host.pid_mode),
        (NEWIPC, host.ipc_mode),
        (NEWUTS, host.uts_mode),
        (NEWCGROUP, "" if private_cgroups else "host"),
    )


def _other(mode: str) -> str:
    """Return the container of a mode `container:ID`, "" for other modes."""
    return mode.removeprefix("container:") if mode.startswith("container:") else ""


def _with_user(joined: dict[str, int]) -> dict[str, int]:
    """Return what is joined with the user namespace: without it, the kernel lets nobody into the others."""
    if len(joined) > 1:
        raise ContainerError(
            "without root, only one other container can be joined: each has a user namespace of its own",
            kind="invalid",
            code="container-joins",
        )
    return {name: flags | NEWUSER for name, flags in joined.items()}


def mount_operations(record: Record, directory: str, trees: str, modes: Modes, *, nodev: int) -> Mounts:
    """Return the operations for a container's mounts, in the order of their depth."""
    stubs = f"{directory}/stubs"
    of = directory if not modes.files_of else f"{directory.rpartition('/')[0]}/{modes.files_of}"
    own = {f"/etc/{name}": f"{of}/{name}" for name in FILES}
    takes: list[Operation] = []
    points: list[Operation] = []
    attaches: list[tuple[str, Operation]] = []
    targets = {_clean(mount.destination) for mount in record.mounts}
    for target, source in own.items():
        if target not in targets:
            name = f"file{target}"
            takes.append(op.Take(name, source, "", False, "", nodev, "rprivate", False))
            attaches.append((target, op.Attach(name, target, False)))
    if modes.shm == "host" and not targets & {"/dev", "/dev/shm"}:
        takes.append(op.Take("shm", "/dev/shm", "", True, "", nodev, "rprivate", False))
    for number, mount in enumerate(record.mounts):
        target, name = _clean(mount.destination), f"mount-{number}"
        if _in_proc(target):
            takes.append(_take(name, mount, directory, trees, nodev))
            continue
        if mount.type == "tmpfs":
            points.append(op.Stub(stubs + target, True, "", 0o1777))
            attaches.append((target, _tmpfs(target, mount)))
            continue
        takes.append(_take(name, mount, directory, trees, nodev))
        points.append(op.Stub(stubs + target, True, name, 0o755))
        attaches.append((target, op.Attach(name, target, False)))
    attaches.sort(key=lambda pair: pair[0].count("/"))
    return Mounts(tuple(takes), tuple(points), tuple(each for _, each in attaches), frozenset(targets))


def mounts_in_proc(record: Record) -> tuple[Operation, ...]:
    """Return the operations for mounts that cover files of /proc, when that is there."""
    targets = [_clean(mount.destination) for mount in record.mounts]
    return tuple(
        op.AttachInProc(f"mount-{number}", target.removeprefix("/proc/"))
        for number, target in enumerate(targets)
        if _in_proc(target)
    )


def _in_proc(target: str) -> bool:
    """Say whether a mount lies in /proc, where only a few files may be covered. Raises ContainerError."""
    if target != "/proc" and not target.startswith("/proc/"):
        return False
    if target not in _COVERED_IN_PROC:
        raise ContainerError(
            f'"{target}" cannot be mounted because it is inside /proc', kind="invalid", code="container-in-proc"
        )
    return True


def _take(name: str, mount: MountPoint, directory: str, trees: str, nodev: int) -> Operation:
    if mount.type == "image":
        lowers = tuple(f"{trees}/{tree}/fs" for tree in mount.trees)
        if len(lowers) == 1:
            return op.BindBeneath(name, lowers[0], mount.subpath or "/", True, nodev)
        return op.BindLayers(name, lowers, mount.subpath or "/", "", f"{directory}/root", True, nodev)
    readonly = "" if mount.rw else "recursive" if mount.readonly_recursive else "plain"
    return op.Take(
        name, mount.source, mount.subpath, mount.recursive, readonly, nodev, mount.propagation or "rprivate",
        mount.create_source,
    )  # fmt: skip


def _tmpfs(target: str, mount: MountPoint) -> Operation:
    flags = set(_DEFAULT_TMPFS)
    options: dict[str, str] = {}
    for word in mount.options:
        key, equals, value = word.partition("=")
        if equals:
            options[key] = value
        elif key in _TMPFS_FLAGS:
            flags.add(key)
        elif key in _TMPFS_CLEARS:
            flags.discard(_TMPFS_CLEARS[key])
    if not mount.rw:
        flags.add("ro")
    attributes = sum(_TMPFS_FLAGS[flag] for flag in flags)
    return op.TmpfsOptions(target, tuple(options.items()), attributes)


def _clean(target: str) -> str:
    return "/" + "/".join(part for part in target.split("/") if part not in ("", "."))
