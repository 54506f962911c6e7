"""Which control groups this process may make, and what they can limit. Does I/O.

    version 1     one hierarchy for each controller, as dockerd's default driver uses them; for root
    version 2     one hierarchy; root makes groups at its top, others where it was delegated to them: in a group of
                  their own, or in a scope that their systemd makes (`scope`)
    hybrid        controllers in version 1, and a version 2 without any: as version 1

Spec: cgroups(7), mountinfo in proc(5), systemd.resource-control(5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import msgspec

from firkin.tuples import NamedTuple

Feature = Literal[
    "memory", "swap", "swappiness", "reservation", "oom-kill-disable", "pids", "cpu-shares", "cpu-quota",
    "cpu-realtime", "cpuset", "io-weight", "io-weight-device", "io-rate", "devices", "freeze",
]  # fmt: skip
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
_V1_CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "cpuset", "blkio", "devices", "freezer")
# Feature: controller, and a file that only kernels with it have; version 1.
_V1: tuple[tuple[Feature, str, str], ...] = (
    ("memory", "memory", "memory.limit_in_bytes"),
    ("swap", "memory", "memory.memsw.limit_in_bytes"),
    ("swappiness", "memory", "memory.swappiness"),
    ("reservation", "memory", "memory.soft_limit_in_bytes"),
    ("oom-kill-disable", "memory", "memory.oom_control"),
    ("pids", "pids", "cgroup.procs"),
    ("cpu-shares", "cpu", "cpu.shares"),
    ("cpu-quota", "cpu", "cpu.cfs_quota_us"),
    ("cpu-realtime", "cpu", "cpu.rt_runtime_us"),
    ("cpuset", "cpuset", "cpuset.cpus"),
    ("io-weight", "blkio", "blkio.weight|blkio.bfq.weight"),
    ("io-weight-device", "blkio", "blkio.weight_device|blkio.bfq.weight_device"),
    ("io-rate", "blkio", "blkio.throttle.read_bps_device"),
    ("devices", "devices", "devices.allow"),
    ("freeze", "freezer", "cgroup.procs"),
)
_V2: tuple[tuple[Feature, str, str], ...] = (
    ("memory", "memory", ""),
    ("swap", "memory", "memory.swap.max"),
    ("reservation", "memory", ""),
    ("pids", "pids", ""),
    ("cpu-shares", "cpu", ""),
    ("cpu-quota", "cpu", ""),
    ("cpuset", "cpuset", ""),
    ("io-weight", "io", "io.weight|io.bfq.weight"),
    ("io-weight-device", "io", "io.weight|io.bfq.weight"),
    ("io-rate", "io", ""),
)
_SAMPLES = 16  # groups that are looked at for files that the root group does not have


class Hierarchy(NamedTuple):
    """A mounted hierarchy: its mount point, and the group of this process in it, from there ("/" or "/x/y")."""

    version: int
    controllers: tuple[str, ...]
    mount: str
    own: str


class Scope(msgspec.Struct, frozen=True):
    """A manager of systemd that makes a group for a process: its socket, and where it puts its groups."""

    socket: str
    manager: str


class CgroupFacts(msgspec.Struct, frozen=True):
    """What control groups offer here.

    `version` 0: none can be made, and `missing` says why; `way_out` what to do about it. `bases` are {controller:
    directory} beneath which groups are made, for version 2 {"": directory}. `named` are hierarchies that limit nothing,
    but by which systemd stops services; `in_service`: this process is in one of those. `withheld` are controllers of
    version 2 that the kernel has and that were not handed down. `files` are names that differ between kernels.
    `cpus` and `mems` are lists of numbers and ranges.
    """

    uid: int
    version: int = 0
    layout: Literal["none", "v1", "hybrid", "v2"] = "none"
    driver: Literal["none", "cgroupfs", "systemd"] = "none"
    bases: dict[str, str] = {}
    named: tuple[str, ...] = ()
    in_service: bool = False
    controllers: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    features: frozenset[Feature] = frozenset()
    files: dict[str, str] = {}
    cpus: str = ""
    mems: str = ""
    scope: Scope | None = None
    missing: str = ""
    way_out: str = ""


def read_cgroups(*, uid: int, user: str = "", runtime_dir: str = "", root: str = "") -> CgroupFacts:
    """Return the facts for a process of `uid`. `runtime_dir` is XDG_RUNTIME_DIR; `root` is put before every path."""
    hierarchies = read_hierarchies(root)
    second = next((one for one in hierarchies if one.version == 2), None)
    first = [one for one in hierarchies if one.version == 1 and set(one.controllers) & set(_V1_CONTROLLERS)]
    if first:
        return _version_1(uid, first, hierarchies, hybrid=second is not None)
    if second is None:
        return CgroupFacts(uid, missing="no control groups are mounted here", way_out=_MOUNT)
    return _version_2(uid, second, user, runtime_dir, root)


_MOUNT = "in a container, start that one with `--privileged`, or with /sys/fs/cgroup of its host"


def read_hierarchies(root: str = "") -> list[Hierarchy]:
    """Return the mounted hierarchies, each once."""
    own = dict(own_groups(f"{root}/proc/self/cgroup"))
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in read_text(f"{root}/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in _KINDS:
            continue
        version = _KINDS[kind[0]]
        names = _names_in(kind[2]) if version == 1 else ()
        if names or version == 2:
            place = _beneath(own.get(names[0] if names else "", "/"), fields[3].rstrip("/"))
            mount = root + fields[4].replace("\\040", " ")
            found.setdefault(names, Hierarchy(version, names, mount, place))
    return list(found.values())


_KINDS = {"cgroup": 1, "cgroup2": 2}


def _names_in(options: str) -> tuple[str, ...]:
    return tuple(word for word in options.split(",") if word in _V1_CONTROLLERS or word.startswith("name="))


def _beneath(group: str, top: str) -> str:
    """Return a group as it is called beneath a mount whose root is the group `top`."""
    return group[len(top) :] or "/" if top and f"{group}/".startswith(f"{top}/") else group


def own_groups(path: str) -> list[tuple[str, str]]:
    """Return controller, or "" for version 2, and group."""
    groups = []
    for line in read_text(path).splitlines():
        _, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        groups += [(name, group) for name in names.split(",")]
    return groups


def _version_1(uid: int, first: list[Hierarchy], every: list[Hierarchy], *, hybrid: bool) -> CgroupFacts:
    layout: Literal["hybrid", "v1"] = "hybrid" if hybrid else "v1"
    bases = {name: one.mount for one in first for name in one.controllers if os.access(one.mount, os.W_OK)}
    if not bases:
        missing, way_out = (_V1_USER, _V1_WAY) if uid else (f"{first[0].mount} cannot be written to", _MOUNT)
        return CgroupFacts(uid, layout=layout, missing=missing, way_out=way_out)
    files = _files_v1(bases)
    cpuset = bases.get("cpuset", "")
    beside = [one for one in every if one not in first]
    return CgroupFacts(
        uid, 1, layout, "cgroupfs", bases, named=tuple(one.mount for one in beside),
        in_service=any(one.own != "/" for one in beside), controllers=tuple(bases),
        features=frozenset(files), files={str(feature): file for feature, file in files.items()},
        cpus=read_text(f"{cpuset}/cpuset.cpus").strip(), mems=read_text(f"{cpuset}/cpuset.mems").strip(),
    )  # fmt: skip


def _files_v1(bases: Mapping[str, str]) -> dict[Feature, str]:
    """Return each feature that is there, with its file."""
    return {
        feature: name
        for feature, controller, file in _V1
        if controller in bases and (name := _file_there(bases[controller], file.split("|")))
    }


_V1_USER = "control groups of version 1 belong to root alone"
_V1_WAY = "boot with `systemd.unified_cgroup_hierarchy=1`, or run as root"


def _version_2(uid: int, one: Hierarchy, user: str, runtime_dir: str, root: str) -> CgroupFacts:
    scope = _scope(one, uid, runtime_dir, root) if uid else None
    base = scope.manager if scope is not None else _base_v2(uid, one)
    if not base:
        return _nothing_v2(uid, one, user or str(uid))
    usable = _usable(base)
    withheld = tuple(name for name in _controllers(f"{one.mount}/cgroup.controllers") if name not in usable)
    features, files = _features_v2(base, usable)
    if uid == 0:
        features.add("devices")  # a program of bpf(2)
    cpuset = base if os.path.exists(f"{base}/cpuset.cpus.effective") else one.mount
    return CgroupFacts(
        uid, 2, "v2", "systemd" if scope else "cgroupfs", {"": base}, in_service=one.own != "/" and uid == 0,
        controllers=usable, withheld=withheld, features=frozenset(features), files=files, scope=scope,
        cpus=read_text(f"{cpuset}/cpuset.cpus.effective").strip(),
        mems=read_text(f"{cpuset}/cpuset.mems.effective").strip(),
    )  # fmt: skip


def _base_v2(uid: int, one: Hierarchy) -> str:
    """Return the group beneath which this process may make others, "" if there is none."""
    if uid:
        return _delegated(one.mount, f"{one.mount}{one.own}".rstrip("/"))
    return one.mount if os.access(one.mount, os.W_OK) else ""


def _nothing_v2(uid: int, one: Hierarchy, user: str) -> CgroupFacts:
    if uid == 0:
        return CgroupFacts(uid, layout="v2", missing=f"{one.mount} cannot be written to", way_out=_MOUNT)
    way_out = (
        f"`loginctl enable-linger {user}` has a systemd of that user run always; in a service, `Delegate=yes` helps"
    )
    return CgroupFacts(uid, layout="v2", missing=f"no control group belongs to {user}", way_out=way_out)


def _scope(one: Hierarchy, uid: int, runtime_dir: str, root: str) -> Scope | None:
    """Return the user's own systemd, None if it does not run."""
    manager = f"{one.mount}/user.slice/user-{uid}.slice/user@{uid}.service"
    socket = f"{runtime_dir}/systemd/private"
    there = runtime_dir and os.access(root + socket, os.W_OK) and os.path.isdir(manager)
    return Scope(socket, manager) if there else None


def _features_v2(base: str, usable: tuple[str, ...]) -> tuple[set[Feature], dict[str, str]]:
    """Return features, and how the files are called that differ between kernels."""
    features: set[Feature] = {"freeze"} if _file_there(base, ["cgroup.freeze"]) else set()
    files: dict[str, str] = {}
    for feature, controller, file in _V2:
        name = _file_there(base, file.split("|"), sure=f"{controller}.stat") if file else "there"
        if controller in usable and name:
            features.add(feature)
            files[feature] = name
    return features, files


def _delegated(mount: str, own: str) -> str:
    """Return the topmost group above this process that its user may write to, "" if there is none."""
    found, group = "", own
    while group.startswith(mount) and os.access(group, os.W_OK) and os.access(f"{group}/cgroup.procs", os.W_OK):
        found = group
        group = os.path.dirname(group)
    return found


def _usable(base: str) -> tuple[str, ...]:
    """Return the controllers that groups beneath `base` have or can be given.

    A group with processes hands down no more than it does already; the root is an exception (it has no `cgroup.type`).
    """
    if os.path.exists(f"{base}/cgroup.type") and read_text(f"{base}/cgroup.procs").strip():
        return _controllers(f"{base}/cgroup.subtree_control")
    return _controllers(f"{base}/cgroup.controllers")


def _controllers(path: str) -> tuple[str, ...]:
    return tuple(name for name in read_text(path).split() if name in V2_CONTROLLERS)


def _file_there(base: str, names: list[str], *, sure: str = "") -> str:
    """Return the first of these files that groups beneath `base` have, "" if none.

    Some are missing in the root, so groups beneath it are asked too. If no group has even the file `sure`, nobody knows
    yet, and the first is returned.
    """
    places = [base]
    try:
        with os.scandir(base) as entries:
            places += sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))[:_SAMPLES]
    except OSError:
        pass
    for name in names:
        if any(os.path.exists(f"{place}/{name}") for place in places):
            return name
    known = any(os.path.exists(f"{place}/{sure}") for place in places[1:]) if sure else True
    return "" if known else names[0]


def read_text(path: str) -> str:
    """Return what a small file says, "" if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
