"""Limits, ulimits, kernel parameters and rates of devices. Pure. `cli.containers` only.

Mirrors: docker/cli opts/throttledevice.go, opts/ulimit.go, opts/gpus.go, opts.ValidateSysctl; docker/go-units.
"""

from __future__ import annotations

from typing import Any

from firkin.cli.arguments import Arguments
from firkin.cli.containers.values import integer, invalid, nano_cpus, pairs, size, size_of, wrong
from firkin.containers.documents.config import DeviceRequest, ThrottleDevice, Ulimit, WeightDevice
from firkin.oci.run_settings import ULIMITS
from firkin.text import parse_integer, whole_number

_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced", "kernel.domainname",
)  # fmt: skip
_LARGEST = (1 << 63) - 1


def limits(arguments: Arguments) -> dict[str, Any]:
    """Return the fields of HostConfig that limit something. Raises UsageError."""
    swappiness = integer(arguments, "--memory-swappiness", -1)
    if not -1 <= swappiness <= 100:
        raise wrong(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    swap = arguments.text("memory_swap")
    cpus = arguments.text("cpus")
    return {
        "memory": size(arguments, "--memory"),
        "memory_swap": -1 if swap == "-1" else size(arguments, "--memory-swap"),
        "memory_reservation": size(arguments, "--memory-reservation"),
        "memory_swappiness": None if swappiness == -1 else swappiness,
        "oom_kill_disable": True if arguments.flag("oom_kill_disable") else None,
        "nano_cpus": nano_cpus("--cpus", cpus) if cpus else 0,
        "cpu_shares": integer(arguments, "--cpu-shares"),
        "cpu_period": integer(arguments, "--cpu-period"),
        "cpu_quota": integer(arguments, "--cpu-quota"),
        "cpu_realtime_period": integer(arguments, "--cpu-rt-period"),
        "cpu_realtime_runtime": integer(arguments, "--cpu-rt-runtime"),
        "cpuset_cpus": arguments.text("cpuset_cpus"),
        "cpuset_mems": arguments.text("cpuset_mems"),
        "pids_limit": integer(arguments, "--pids-limit") if arguments.given("pids_limit") else None,
        "cgroup_parent": arguments.text("cgroup_parent"),
        **_blkio(arguments),
    }


def _blkio(arguments: Arguments) -> dict[str, Any]:
    weights = arguments.many("blkio_weight_device")
    fields: dict[str, Any] = {
        "blkio_weight": integer(arguments, "--blkio-weight"),
        "blkio_weight_device": tuple(map(_weight, weights)) or None,
    }
    for way in ("read", "write"):
        rates = tuple(_rate(f"--device-{way}-bps", text) for text in arguments.many(f"device_{way}_bps"))
        fields[f"blkio_device_{way}_bps"] = rates or None
        rates = tuple(_rate(f"--device-{way}-iops", text) for text in arguments.many(f"device_{way}_iops"))
        fields[f"blkio_device_{way}_iops"] = rates or None
    return fields


def _weight(text: str) -> WeightDevice:
    path, weight = _device("--blkio-weight-device", text)
    number = whole_number(weight, 1000)
    if number is None or 0 < number < 10:
        raise invalid("--blkio-weight-device", text, f"invalid weight for device: {text}")
    return WeightDevice(path, number)


def _rate(flag: str, text: str) -> ThrottleDevice:
    path, rate = _device(flag, text)
    number = size_of(flag, rate) if flag.endswith("bps") else whole_number(rate, _LARGEST)
    if number is None:
        raise invalid(flag, text, f"invalid rate for device: {text}. The correct format is <device-path>:<number>")
    return ThrottleDevice(path, number)


def _device(flag: str, text: str) -> tuple[str, str]:
    path, _, value = text.partition(":")
    if not path or not value:
        raise invalid(flag, text, f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise invalid(flag, text, f"bad format for device path: {text}")
    return path, value


def ulimits(texts: tuple[str, ...]) -> tuple[Ulimit, ...]:
    """Return the limits by name, the last one of each. Raises UsageError. Mirrors: go-units ParseUlimit."""
    found = {limit.name: limit for limit in map(_ulimit, texts)}
    return tuple(found[name] for name in sorted(found))


def _ulimit(text: str) -> Ulimit:
    name, equals, value = text.partition("=")
    if not equals:
        raise invalid("--ulimit", text, f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise invalid("--ulimit", text, f"invalid ulimit type: {name}")
    parts = value.split(":")
    if len(parts) > 2:
        raise invalid("--ulimit", text, f"too many limit value arguments - {value}, can only have up to two")
    try:
        soft, hard = parse_integer(parts[0]), parse_integer(parts[-1])
    except ValueError as error:
        raise invalid("--ulimit", text, str(error)) from None
    if hard != -1 and (soft > hard or soft == -1):
        raise invalid("--ulimit", text, f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)


def gpus(text: str) -> DeviceRequest:
    """Return what `--gpus` asks for: `all`, a number, or `device=…,capabilities=…`."""
    count = whole_number(text, 1 << 16)
    fields = pairs(tuple(text.split(","))) if count is None and text != "all" else {}
    wanted = fields.get("capabilities", "gpu")
    return DeviceRequest(fields.get("driver", ""), -1 if count is None else count, capabilities=((wanted,),))


def device_rule(text: str) -> str:
    """Return a rule like `c 13:* rwm`. Raises UsageError."""
    kind, _, rest = text.partition(" ")
    numbers, _, mode = rest.partition(" ")
    major, colon, minor = numbers.partition(":")
    good = all(number == "*" or whole_number(number, 1 << 32) is not None for number in (major, minor))
    if kind not in ("a", "b", "c") or not colon or not good or not 0 < len(mode) < 4 or not set(mode) <= set("rwm"):
        raise invalid("--device-cgroup-rule", text, f"invalid device cgroup format '{text}'")
    return text


def sysctls(texts: tuple[str, ...]) -> dict[str, str]:
    """Return kernel parameters that belong to a namespace. Raises UsageError."""
    for text in texts:
        name, equals, _ = text.partition("=")
        if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
            raise invalid("--sysctl", text, f"sysctl '{text}' is not allowed")
    return pairs(texts)
