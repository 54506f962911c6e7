"""What is written to control groups for one container, or the fact that forbids it. Pure.

Mirrors: moby daemon verifyPlatformContainerResources (the warnings, to the letter), opencontainers/cgroups fs and fs2
(values), runc and containerd for the order of memory and swap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from firkin.containers.documents.config import HostConfig
from firkin.containers.limits.device_program import device_program
from firkin.containers.limits.devices import DeviceFacts
from firkin.containers.limits.facts import CgroupFacts, Feature
from firkin.containers.limits.scope import ScopeRequest
from firkin.containers.limits.values import group_values
from firkin.errors import ContainerError
from firkin.hints import AnyHint, Hint
from firkin.tuples import NamedTuple

PARENT = "/firkin"
"""The group that containers' groups are made in."""


class LimitsPlan(msgspec.Struct, frozen=True):
    """`groups` is what linux/cgroups.py takes, None if this process may make none.

    `host` is the configuration without what was dropped, and `warnings` say so. `scope`: systemd is to put the monitor
    into a scope before it makes the groups.
    """

    groups: dict[str, Any] | None
    host: HostConfig
    warnings: tuple[str, ...] = ()
    scope: ScopeRequest | None = None


def plan_limits(id: str, host: HostConfig, facts: CgroupFacts, policy: str, devices: DeviceFacts) -> LimitsPlan:
    """Return the groups of a container and their values.

    `policy` "refuse" raises for what cannot be limited here, "warn" drops it. `devices` come from devices.py.
    Raises ContainerError: `unsupported` with the missing fact, `invalid` for processors that are not
    there.
    """
    host, warnings = _possible(host, facts, policy)
    _check_cpus(host, facts)
    if not facts.version:
        return LimitsPlan(None, host, tuple(warnings))
    scope = None
    if facts.scope is not None:
        groups, scope = _in_scope(id, host, facts)
    elif facts.version == 2:
        groups = _in_base(id, host, facts)
    else:
        groups = _version_1(id, host, facts)
    groups["values"], groups["later"] = _eased(group_values(host, facts, groups["paths"], devices))
    if facts.version == 2 and "devices" in facts.features and devices.rules is not None:
        groups["devices"] = device_program(devices.rules).hex()
    return LimitsPlan(groups, host, tuple(warnings), scope)


def _eased(values: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return values for the start, and those of them that are written when only the command is left.

    Whoever sets a container up is one process more than the container has.
    """
    later = [value for value in values if value[0].endswith("/pids.max")]
    return [[file, str(int(text) + 1)] if [file, text] in later else [file, text] for file, text in values], later


def group_path(id: str, host: HostConfig) -> str:
    """Return the path of a container's group in each hierarchy, with a slash first. Raises ContainerError."""
    parent = host.cgroup_parent or PARENT
    parts = [part for part in parent.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in parent:
        raise ContainerError(f"invalid cgroup parent: `{parent}`", kind="invalid", code="cgroup-parent")
    return "".join(f"/{part}" for part in (*parts, id))


class _Limit(NamedTuple):
    """One thing that can be asked for: what it needs, what moby says without it, and what is dropped then."""

    what: str
    feature: Feature
    asked: Callable[[HostConfig], bool]
    warning: str
    without: Mapping[str, Any]
    always_warns: Callable[[HostConfig], bool] = lambda host: False


_NO = "Your kernel does not support"
_LIMITS = (
    _Limit("memory", "memory", lambda host: host.memory > 0,
           f"{_NO} memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
           {"memory": 0, "memory_swap": 0}),
    # Without a limit that was asked for, swap is limited by default only.
    _Limit("swap", "swap", lambda host: host.memory > 0 and host.memory_swap >= 0,
           f"{_NO} swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
           {"memory_swap": -1}, lambda host: host.memory_swap in (0, 2 * host.memory)),
    _Limit("memory swappiness", "swappiness", lambda host: host.memory_swappiness not in (None, -1),
           f"{_NO} memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
           {"memory_swappiness": None}, lambda host: True),
    _Limit("memory reservation", "reservation", lambda host: host.memory_reservation > 0,
           f"{_NO} memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
           {"memory_reservation": 0}),
    _Limit("the OOM killer", "oom-kill-disable", lambda host: host.oom_kill_disable is True,
           f"{_NO} OomKillDisable. OomKillDisable discarded.", {"oom_kill_disable": None}, lambda host: True),
    _Limit("processes", "pids", lambda host: (host.pids_limit or 0) > 0,
           f"{_NO} PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.", {"pids_limit": None}),
    _Limit("processor time", "cpu-quota", lambda host: bool(host.nano_cpus or host.cpu_period or host.cpu_quota),
           f"{_NO} CPU CFS scheduler. CPU period/quota discarded.",
           {"nano_cpus": 0, "cpu_period": 0, "cpu_quota": 0}),
    _Limit("shares of processor time", "cpu-shares", lambda host: host.cpu_shares > 0,
           f"{_NO} CPU shares or the cgroup is not mounted. Shares discarded.", {"cpu_shares": 0}),
    _Limit("real-time processor time", "cpu-realtime",
           lambda host: bool(host.cpu_realtime_period or host.cpu_realtime_runtime),
           f"{_NO} CPU real-time scheduler. CPU real-time period/runtime discarded.",
           {"cpu_realtime_period": 0, "cpu_realtime_runtime": 0}),
    _Limit("processors", "cpuset", lambda host: bool(host.cpuset_cpus or host.cpuset_mems),
           f"{_NO} cpuset or the cgroup is not mounted. Cpuset discarded.", {"cpuset_cpus": "", "cpuset_mems": ""}),
    _Limit("the weight of block I/O", "io-weight", lambda host: host.blkio_weight > 0,
           f"{_NO} Block I/O weight or the cgroup is not mounted. Weight discarded.", {"blkio_weight": 0}),
    _Limit("the weight of block devices", "io-weight-device", lambda host: bool(host.blkio_weight_device),
           f"{_NO} Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
           {"blkio_weight_device": None}),
    _Limit("what is read from block devices", "io-rate", lambda host: bool(host.blkio_device_read_bps),
           f"{_NO} BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
           {"blkio_device_read_bps": None}),
    _Limit("what is written to block devices", "io-rate", lambda host: bool(host.blkio_device_write_bps),
           f"{_NO} BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
           {"blkio_device_write_bps": None}),
    _Limit("reads of block devices", "io-rate", lambda host: bool(host.blkio_device_read_iops),
           f"{_NO} IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
           {"blkio_device_read_iops": None}),
    _Limit("writes to block devices", "io-rate", lambda host: bool(host.blkio_device_write_iops),
           f"{_NO} IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
           {"blkio_device_write_iops": None}),
    _Limit("rules for devices", "devices", lambda host: bool(host.device_cgroup_rules),
           f"{_NO} rules for devices for this user. Device rules discarded.", {"device_cgroup_rules": None}),
)  # fmt: skip
_CONTROLLERS: dict[Feature, str] = {
    "memory": "memory", "swap": "memory", "swappiness": "memory", "reservation": "memory", "oom-kill-disable": "memory",
    "pids": "pids", "cpu-shares": "cpu", "cpu-quota": "cpu", "cpu-realtime": "cpu", "cpuset": "cpuset",
    "io-weight": "io", "io-weight-device": "io", "io-rate": "io",
}  # fmt: skip


def asks_limits(host: HostConfig) -> bool:
    """Say whether there is anything that could be refused: without, a plan needs to be made at the start only."""
    return bool(host.cgroup_parent) or any(limit.asked(host) for limit in _LIMITS)


def why_not(feature: Feature, facts: CgroupFacts) -> tuple[str, str]:
    """Return the fact for which something cannot be limited, and what can be done about it, "" for nothing."""
    if not facts.version:
        return facts.missing, facts.way_out
    controller = _CONTROLLERS.get(feature, "")
    if controller in facts.withheld:
        fact = f"the controller `{controller}` was not handed down to {facts.bases['']}"
        if facts.scope is None:
            return fact, "a group of its own is needed whose processes are in groups beneath: `DelegateSubgroup=`"
        return (
            fact,
            f"`systemctl edit user@.service`: `[Service]`, `Delegate=cpu cpuset io memory pids` gives {controller}",
        )
    if feature == "devices":
        return "rules for devices need root", ""
    if feature == "swap":
        return "this kernel does not count swap", "boot with `swapaccount=1`"
    return f"this kernel's control groups (version {facts.version}) lack it", ""


def _possible(host: HostConfig, facts: CgroupFacts, policy: str) -> tuple[HostConfig, list[str]]:
    """Return the configuration without what cannot be had, and the warnings. Raises ContainerError."""
    warnings: list[str] = []
    for limit in _LIMITS:
        if limit.feature in facts.features or not limit.asked(host):
            continue
        if policy == "refuse" and not limit.always_warns(host):
            raise _cannot(f"limit {limit.what}", *why_not(limit.feature, facts))
        warnings.append(limit.warning)
        host = msgspec.structs.replace(host, **limit.without)
    if host.cgroup_parent and not facts.version:
        if policy == "refuse":
            raise _cannot(f"put the container into the control group `{host.cgroup_parent}`", facts.missing,
                          facts.way_out)  # fmt: skip
        warnings.append(f"The control group `{host.cgroup_parent}` was discarded: {facts.missing}.")
        host = msgspec.structs.replace(host, cgroup_parent="")
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    return host, warnings


def _cannot(what: str, fact: str, way_out: str) -> ContainerError:
    hints: list[AnyHint] = [way_out] if way_out else []
    return ContainerError(
        f"cannot {what}: {fact}", kind="unsupported", code="limits", hints=(*hints, Hint.of("limits-warn"))
    )


def _check_cpus(host: HostConfig, facts: CgroupFacts) -> None:
    """Raise ContainerError for processors or memory nodes that this machine does not have."""
    count = len(number_set(facts.cpus)) if facts.cpus else 0
    if count and host.nano_cpus > count * 1_000_000_000:
        raise ContainerError(
            f"range of CPUs is from 0.01 to {count:.2f}, as there are only {count} CPUs available",
            kind="invalid",
            code="cpus",
        )
    for what, asked, there in (("CPUs", host.cpuset_cpus, facts.cpus), ("memory nodes", host.cpuset_mems, facts.mems)):
        if asked and there and not number_set(asked) <= number_set(there):
            raise ContainerError(
                f"Requested {what} are not available - requested {asked}, available: {there}",
                kind="invalid",
                code="cpuset",
            )


def number_set(text: str) -> frozenset[int]:
    """Return the numbers of a list such as `0-3,7`. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        low, high = int(first), int(last or first)
        if high >= 1 << 16:
            raise ValueError(text)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _version_1(id: str, host: HostConfig, facts: CgroupFacts) -> dict[str, Any]:
    path = group_path(id, host)
    mounts: dict[str, list[str]] = {}
    for controller, base in facts.bases.items():
        mounts.setdefault(base, []).append(controller)
    own = [[f"{base}{PARENT}", "cgroup.procs"] for base in facts.named] if facts.in_service else []
    paths = {",".join(names): f"{base}{path}" for base, names in mounts.items()}
    return {"version": 1, "paths": paths, "parents": [], "own": own}


def _in_base(id: str, host: HostConfig, facts: CgroupFacts) -> dict[str, Any]:
    base, path = facts.bases[""], group_path(id, host)
    handed = " ".join(f"+{name}" for name in facts.controllers)
    parents = [[base, handed]]
    for part in path.split("/")[1:-1]:
        parents.append([f"{parents[-1][0]}/{part}", handed])
    own = [[f"{base}{PARENT}/monitors", "cgroup.procs"]] if facts.in_service else []
    return {"version": 2, "paths": {"": f"{base}{path}"}, "parents": parents, "own": own}


def _in_scope(id: str, host: HostConfig, facts: CgroupFacts) -> tuple[dict[str, Any], ScopeRequest]:
    assert facts.scope is not None  # the caller looked
    parent = host.cgroup_parent or "firkin.slice"
    if not parent.endswith(".slice") or "/" in parent or parent.startswith("-"):
        raise ContainerError(
            f'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice", not `{parent}`',
            kind="invalid",
            code="cgroup-parent",
        )
    # a-b.slice lies in a.slice
    words = parent.removesuffix(".slice").split("-")
    slices = [f"{'-'.join(words[: count + 1])}.slice" for count in range(len(words))]
    unit = f"firkin-{id}.scope"
    directory = "/".join((facts.scope.manager, *slices, unit))
    handed = " ".join(f"+{name}" for name in facts.controllers)
    groups = {
        "version": 2,
        "paths": {"": f"{directory}/container"},
        "parents": [[directory, handed]],
        "own": [[f"{directory}/monitor", "cgroup.procs"]],
    }
    return groups, ScopeRequest(facts.scope.socket, unit, parent, f"firkin container {id[:12]}")
