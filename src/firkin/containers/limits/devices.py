"""Which devices a container may use, as rules of the devices controller. Does I/O.

Mirrors: moby oci.DefaultSpec and runc specconv AllowedDevices; docs of the kernel: cgroup-v1/devices.rst.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import msgspec

from firkin.containers.documents.config import Device, HostConfig
from firkin.errors import ContainerError

DEFAULT_RULES = (
    "c *:* m", "b *:* m",  # nodes may be made, not opened
    "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm",  # null random full tty zero urandom
    "c 5:1 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm",  # console pts ptmx tun
)  # fmt: skip


class DeviceFacts(msgspec.Struct, frozen=True):
    """`rules` of a container, None for every device; `numbers` of block devices with limits: {path: "8:0"}."""

    rules: tuple[str, ...] | None = None
    numbers: dict[str, str] = {}


def read_devices(host: HostConfig) -> DeviceFacts:
    """Return what a container's limits need of this machine's devices.

    Devices that are not there have no rule (making their nodes fails later). Raises ContainerError for block devices.
    """
    paths = [limit.path for limits in (host.blkio_weight_device, host.blkio_device_read_bps,
             host.blkio_device_write_bps, host.blkio_device_read_iops, host.blkio_device_write_iops)
             for limit in limits or ()]  # fmt: skip
    return DeviceFacts(None if host.privileged else _rules(host), {path: _block_number(path) for path in paths})


def _rules(host: HostConfig) -> tuple[str, ...]:
    given = (rule for device in host.devices or () for rule in _rules_of(device))
    return (*DEFAULT_RULES, *given, *(host.device_cgroup_rules or ()))


def _block_number(path: str) -> str:
    try:
        entry = os.stat(path)
    except OSError as error:
        raise ContainerError(
            f"cannot limit {path}: {(error.strerror or '').lower()}", kind="invalid", code="block-device"
        ) from error
    if not stat.S_ISBLK(entry.st_mode):
        raise ContainerError(f"cannot limit {path}: it is no block device", kind="invalid", code="block-device")
    return f"{os.major(entry.st_rdev)}:{os.minor(entry.st_rdev)}"


def _rules_of(device: Device) -> Iterator[str]:
    """Yield the rules of a node, or of all nodes beneath a directory."""
    path = os.path.realpath(device.path_on_host)
    if os.path.isdir(path):
        for place, _, names in os.walk(path):
            for name in sorted(names):
                yield from _rule(f"{place}/{name}", device.cgroup_permissions)
    else:
        yield from _rule(path, device.cgroup_permissions)


def _rule(path: str, permissions: str) -> Iterator[str]:
    try:
        entry = os.lstat(path)
    except OSError:
        return
    kind = "c" if stat.S_ISCHR(entry.st_mode) else "b" if stat.S_ISBLK(entry.st_mode) else ""
    if kind:
        yield f"{kind} {os.major(entry.st_rdev)}:{os.minor(entry.st_rdev)} {permissions or 'rwm'}"
