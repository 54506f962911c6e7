"""What containers can do on this machine: how many there are, and what can be limited. Does I/O.

Mirrors: moby daemon/info.go and info_unix.go (names and warnings).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from firkin.ambient import Ambient
from firkin.containers.documents.lifecycle import status_of
from firkin.containers.home.home import Home
from firkin.containers.limits.facts import CgroupFacts, Feature, read_cgroups
from firkin.containers.limits.plan import why_not
from firkin.linux.probe import user_name

# docker's names for what can be limited, and its warnings about those that cannot.
_FIELDS: tuple[tuple[str, Feature, str], ...] = (
    ("MemoryLimit", "memory", "No memory limit support"),
    ("SwapLimit", "swap", "No swap limit support"),
    ("CpuCfsPeriod", "cpu-quota", "No cpu cfs period support"),
    ("CpuCfsQuota", "cpu-quota", "No cpu cfs quota support"),
    ("CPUShares", "cpu-shares", "No cpu shares support"),
    ("CPUSet", "cpuset", "No cpuset support"),
    ("PidsLimit", "pids", "No pids limit support"),
    ("OomKillDisable", "oom-kill-disable", ""),  # only version 1 can, so nothing is missing
)
_LIMITED: tuple[tuple[Feature, str], ...] = (
    ("memory", "memory"), ("swap", "swap"), ("pids", "processes"), ("cpu-quota", "processor time"),
    ("cpu-shares", "shares of it"), ("cpuset", "which processors"), ("io-weight", "weight of block I/O"),
    ("io-rate", "rates of block I/O"), ("devices", "devices"),
)  # fmt: skip
_LAYOUTS = {"v1": "version 1", "hybrid": "version 1, beside 2", "v2": "version 2", "none": "none"}


def cgroup_facts(ambient: Ambient) -> CgroupFacts:
    """Return what control groups offer to the user who asks."""
    runtime_dir = ambient.environ.get("XDG_RUNTIME_DIR", "")
    return read_cgroups(uid=ambient.uid, user=user_name() if ambient.uid else "", runtime_dir=runtime_dir)


def count_containers(root: str, ambient: Ambient) -> dict[str, int]:
    """Return docker's four numbers, from what was written last."""
    counts = dict.fromkeys(("running", "paused", "stopped"), 0)
    for entry in Home(root, ambient.environ.get("XDG_RUNTIME_DIR", "")).entries():
        status = status_of(entry.state)
        counts[{"running": "running", "restarting": "running", "paused": "paused"}.get(status, "stopped")] += 1
    numbers = {f"Containers{name.capitalize()}": number for name, number in counts.items()}
    return {"Containers": sum(counts.values()), **numbers}


def limit_fields(facts: CgroupFacts) -> dict[str, Any]:
    """Return docker's fields about limits."""
    return {
        **{name: feature in facts.features for name, feature, _ in _FIELDS},
        "IPv4Forwarding": _forwards(),
        "CgroupDriver": facts.driver,
        "CgroupVersion": "2" if facts.layout == "v2" else "1",
    }


def limit_warnings(facts: CgroupFacts) -> list[str]:
    """Return docker's warnings about what cannot be limited."""
    if facts.driver == "none" and facts.uid:
        return ["Running in rootless-mode without cgroups. Systemd is required to enable cgroups in rootless-mode."]
    return [warning for _, feature, warning in _FIELDS if warning and feature not in facts.features]


def security_options(uid: int) -> list[str]:
    """Return what keeps containers apart, in docker's words."""
    found = ["name=seccomp,profile=builtin"]
    if uid:
        found.append("name=rootless")
    if os.path.exists("/proc/self/ns/cgroup"):
        found.append("name=cgroupns")
    return found


def containers_document(facts: CgroupFacts) -> Mapping[str, Any]:
    """Return firkin's own facts about limits: for each either "" or why not, and what can be done about it."""
    limits = []
    for feature, what in _LIMITED:
        fact, way_out = ("", "") if feature in facts.features else why_not(feature, facts)
        limits.append({"what": what, "available": not fact, "detail": fact, "how": way_out})
    return {
        "cgroups": _LAYOUTS[facts.layout],
        "cgroup_driver": facts.driver,
        "own_groups": bool(facts.version),
        "missing": facts.missing,
        "how": facts.way_out,
        "limits": limits,
        "pause": "control groups" if "freeze" in facts.features else "signals to each process",
    }


def _forwards() -> bool:
    try:
        with open("/proc/sys/net/ipv4/ip_forward", "rb") as file:
            return file.read().strip() == b"1"
    except OSError:
        return False
