"""Limits as texts for files of control groups. Pure.

Mirrors: opencontainers/cgroups fs (version 1), fs2 and utils (version 2); moby's default device rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from firkin.containers.documents.config import HostConfig
from firkin.containers.limits.devices import DeviceFacts
from firkin.containers.limits.facts import CgroupFacts

_PERIOD_US = 100_000
_NANO = 1_000_000_000
_MAX = "max"
Values = list[list[str]]


def group_values(host: HostConfig, facts: CgroupFacts, paths: Mapping[str, str], devices: DeviceFacts) -> Values:
    """Return [[file, text]…] for new groups, in the order in which the kernel takes them."""
    if facts.version == 2:
        values = (*_second(host, facts), *_second_io(host, facts, devices.numbers))
        return [[f"{paths['']}/{file}", text] for file, text in values]
    found: Values = []
    rules = _device_rules(devices.rules)
    for controller, file, text in (*_first(host, facts), *_first_io(host, facts, devices.numbers), *rules):
        directory = next((path for names, path in paths.items() if controller in names.split(",")), "")
        if directory:
            found.append([f"{directory}/{file}", text])
    return found


def updated_values(old: HostConfig, new: HostConfig, facts: CgroupFacts, paths: Mapping[str, str]) -> Values:
    """Return what is written when a running container gets other limits.

    Memory must never be above memory with swap, so what grows is written from the outside in. Version 2 has two
    limits that do not know each other.
    """
    before = {value[0]: value[1] for value in _of_container(old, facts, paths)}
    after = _of_container(new, facts, paths)
    found = [[file, text] for file, text in after if before.get(file) != text]
    present = {file for file, _ in after}
    found += [[file, _UNLIMITED[name]] for file in before if file not in present
              and (name := file.rpartition("/")[2]) in _UNLIMITED]  # fmt: skip
    if facts.version == 1 and _grows(_swap_limit(old), _swap_limit(new)):
        found.sort(key=lambda value: not value[0].endswith("/memory.memsw.limit_in_bytes"))
    return found


def _of_container(host: HostConfig, facts: CgroupFacts, paths: Mapping[str, str]) -> Values:
    """Return the values without those of devices, which do not change."""
    fixed = dict.fromkeys(("blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps",
                           "blkio_device_read_iops", "blkio_device_write_iops"))  # fmt: skip
    return group_values(msgspec.structs.replace(host, **fixed), facts, paths, DeviceFacts())


_UNLIMITED = {
    "memory.limit_in_bytes": "-1", "memory.memsw.limit_in_bytes": "-1", "memory.soft_limit_in_bytes": "-1",
    "memory.max": _MAX, "memory.swap.max": _MAX, "memory.low": "0", "pids.max": _MAX, "cpu.max": _MAX,
    "cpu.cfs_quota_us": "-1",
}  # fmt: skip


def _grows(old: int, new: int) -> bool:
    return new == -1 or (old != -1 and new > old)


def _swap_limit(host: HostConfig) -> int:
    """Return the limit of memory and swap together, -1 for none. Docker's default is twice the memory."""
    if not host.memory or host.memory_swap < 0:
        return -1
    return host.memory_swap or 2 * host.memory


def cpu_weight(shares: int) -> int:
    """Return the weight (1 to 10000) for shares (2 to 262144), 1024 of which are 100.

    A curve through (2, 1), (1024, 100), (262144, 10000). Mirrors: opencontainers/cgroups
    ConvertCPUSharesToCgroupV2Value.
    """
    if shares <= 2:
        return 1
    if shares >= 262_144:
        return 10_000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Return the weight (1 to 10000) for docker's 10 to 1000. Mirrors: ConvertBlkIOToIOWeightValue."""
    return 1 + (weight - 10) * 9999 // 990


def _quota(host: HostConfig) -> tuple[int, int]:
    """Return quota and period in microseconds, 0 where nothing is said."""
    if host.nano_cpus:
        return host.nano_cpus * _PERIOD_US // _NANO, _PERIOD_US
    return host.cpu_quota, host.cpu_period


def _first(host: HostConfig, facts: CgroupFacts) -> list[tuple[str, str, str]]:
    """Return controller, file and text."""
    quota, period = _quota(host)
    values = [
        ("cpu", "cpu.shares", host.cpu_shares),
        ("cpu", "cpu.cfs_period_us", period),
        ("cpu", "cpu.cfs_quota_us", quota),
        ("cpu", "cpu.rt_period_us", host.cpu_realtime_period),
        ("cpu", "cpu.rt_runtime_us", host.cpu_realtime_runtime),
        ("memory", "memory.limit_in_bytes", host.memory),
        ("memory", "memory.memsw.limit_in_bytes", max(_swap_limit(host), 0) if "swap" in facts.features else 0),
        ("memory", "memory.soft_limit_in_bytes", host.memory_reservation),
        ("memory", "memory.oom_control", int(host.oom_kill_disable is True)),
        ("pids", "pids.max", max(host.pids_limit or 0, 0)),
        ("blkio", facts.files.get("io-weight", ""), host.blkio_weight),
    ]
    found = [(controller, file, str(value)) for controller, file, value in values if value]
    if host.memory_swappiness not in (None, -1):
        found.append(("memory", "memory.swappiness", str(host.memory_swappiness)))
    for file, text in (("cpuset.cpus", host.cpuset_cpus), ("cpuset.mems", host.cpuset_mems)):
        if text:
            found.append(("cpuset", file, text))
    return found


def _second(host: HostConfig, facts: CgroupFacts) -> list[tuple[str, str]]:
    """Return file and text."""
    weight = facts.files.get("io-weight", "io.weight")
    bfq = weight == "io.bfq.weight"
    values = (
        ("cpu.weight", host.cpu_shares and cpu_weight(host.cpu_shares)),
        ("cpu.max", _bandwidth(*_quota(host))),
        ("memory.max", host.memory),
        ("memory.swap.max", _swap_alone(host) if "swap" in facts.features else ""),
        ("memory.low", host.memory_reservation),
        ("pids.max", max(host.pids_limit or 0, 0)),
        (weight, host.blkio_weight and (host.blkio_weight if bfq else io_weight(host.blkio_weight))),
        ("cpuset.cpus", host.cpuset_cpus),
        ("cpuset.mems", host.cpuset_mems),
    )
    return [(file, str(value)) for file, value in values if value]


def _bandwidth(quota: int, period: int) -> str:
    return f"{quota if quota > 0 else _MAX} {period or _PERIOD_US}" if quota or period else ""


def _swap_alone(host: HostConfig) -> str:
    """Return the limit of swap without memory, "" for none that was asked for."""
    swap = _swap_limit(host)
    if not host.memory:
        return ""
    return _MAX if swap < 0 else str(max(swap - host.memory, 0))


def _first_io(host: HostConfig, facts: CgroupFacts, numbers: Mapping[str, str]) -> list[tuple[str, str, str]]:
    weight = facts.files.get("io-weight-device", "")
    found = [("blkio", weight, f"{numbers[one.path]} {one.weight}") for one in host.blkio_weight_device or ()]
    for file, limits in (
        ("read_bps_device", host.blkio_device_read_bps),
        ("write_bps_device", host.blkio_device_write_bps),
        ("read_iops_device", host.blkio_device_read_iops),
        ("write_iops_device", host.blkio_device_write_iops),
    ):
        found += [("blkio", f"blkio.throttle.{file}", f"{numbers[one.path]} {one.rate}") for one in limits or ()]
    return found


def _second_io(host: HostConfig, facts: CgroupFacts, numbers: Mapping[str, str]) -> list[tuple[str, str]]:
    file = facts.files.get("io-weight-device", "io.weight")
    found = [(file, f"{numbers[one.path]} {one.weight if file == 'io.bfq.weight' else io_weight(one.weight)}")
             for one in host.blkio_weight_device or ()]  # fmt: skip
    for name, limits in (
        ("rbps", host.blkio_device_read_bps),
        ("wbps", host.blkio_device_write_bps),
        ("riops", host.blkio_device_read_iops),
        ("wiops", host.blkio_device_write_iops),
    ):
        found += [("io.max", f"{numbers[one.path]} {name}={one.rate}") for one in limits or ()]
    return found


def _device_rules(rules: tuple[str, ...] | None) -> list[tuple[str, str, str]]:
    if rules is None:
        return []
    return [("devices", "devices.deny", "a"), *(("devices", "devices.allow", rule) for rule in rules)]
