"""Limits as texts for files of control groups, new ones and those of an update."""

import pytest

from firkin.containers.documents.config import HostConfig, ThrottleDevice, WeightDevice
from firkin.containers.limits.devices import DeviceFacts
from firkin.containers.limits.facts import CgroupFacts
from firkin.containers.limits.values import group_values, updated_values

V1 = CgroupFacts(0, 1, "v1", "cgroupfs", files={"io-weight": "blkio.weight", "io-weight-device": "blkio.weight_device"},
                 features=frozenset({"swap"}))  # fmt: skip
V2 = CgroupFacts(0, 2, "v2", "cgroupfs", features=frozenset({"swap"}))
BFQ = CgroupFacts(0, 2, "v2", "cgroupfs", files={"io-weight": "io.bfq.weight", "io-weight-device": "io.bfq.weight"})
FIRST = {"memory": "/m", "cpu,cpuacct": "/c", "pids": "/p", "blkio": "/b", "devices": "/d"}
SECOND = {"": "/g"}
DISK = DeviceFacts(numbers={"/dev/sda": "8:0"})
MIB = 1 << 20


def test_nothing_is_written_where_nothing_is_asked() -> None:
    assert group_values(HostConfig(), V1, FIRST, DeviceFacts()) == []
    assert group_values(HostConfig(), V2, SECOND, DeviceFacts()) == []


def test_a_controller_that_is_not_mounted_is_left_out() -> None:
    asked = HostConfig(memory=MIB, pids_limit=5)
    assert group_values(asked, V1, {"pids": "/p"}, DeviceFacts()) == [["/p/pids.max", "5"]]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (HostConfig(nano_cpus=1_500_000_000), "150000 100000"),
        (HostConfig(cpu_quota=20_000, cpu_period=50_000), "20000 50000"),
        (HostConfig(cpu_quota=20_000), "20000 100000"),
        (HostConfig(cpu_period=50_000), "max 50000"),
    ],
)
def test_time_of_processors(asked: HostConfig, text: str) -> None:
    assert group_values(asked, V2, SECOND, DeviceFacts()) == [["/g/cpu.max", text]]


def test_devices_are_denied_before_some_are_allowed() -> None:
    found = group_values(HostConfig(), V1, FIRST, DeviceFacts(rules=("c 1:3 rwm", "c 5:0 rw")))
    assert found == [["/d/devices.deny", "a"], ["/d/devices.allow", "c 1:3 rwm"], ["/d/devices.allow", "c 5:0 rw"]]


def test_rates_and_weights_of_devices() -> None:
    asked = HostConfig(
        blkio_weight=500, blkio_weight_device=(WeightDevice("/dev/sda", 10),),
        blkio_device_read_bps=(ThrottleDevice("/dev/sda", 4096),), blkio_device_write_iops=(ThrottleDevice("/dev/sda", 7),),
    )  # fmt: skip
    assert group_values(asked, V1, FIRST, DISK) == [
        ["/b/blkio.weight", "500"], ["/b/blkio.weight_device", "8:0 10"],
        ["/b/blkio.throttle.read_bps_device", "8:0 4096"], ["/b/blkio.throttle.write_iops_device", "8:0 7"],
    ]  # fmt: skip
    assert group_values(asked, V2, SECOND, DISK) == [
        ["/g/io.weight", "4950"], ["/g/io.weight", "8:0 1"], ["/g/io.max", "8:0 rbps=4096"], ["/g/io.max", "8:0 wiops=7"],
    ]  # fmt: skip
    assert group_values(asked, BFQ, SECOND, DISK)[:2] == [["/g/io.bfq.weight", "500"], ["/g/io.bfq.weight", "8:0 10"]]


def test_an_update_writes_what_differs_and_no_devices() -> None:
    disk = (WeightDevice("/dev/gone", 10),)
    old = HostConfig(memory=MIB, pids_limit=5, blkio_weight_device=disk)
    new = HostConfig(memory=MIB, pids_limit=6, blkio_weight_device=disk)
    assert updated_values(old, old, V2, SECOND) == []
    assert updated_values(old, new, V2, SECOND) == [["/g/pids.max", "6"]]


def test_an_update_takes_limits_away() -> None:
    old = HostConfig(memory=MIB, memory_reservation=MIB, pids_limit=5, cpu_quota=1000)
    found = dict(map(tuple, updated_values(old, HostConfig(), V2, SECOND)))  # type: ignore[arg-type]
    assert found == {"/g/memory.max": "max", "/g/memory.swap.max": "max", "/g/memory.low": "0", "/g/pids.max": "max",
                     "/g/cpu.max": "max"}  # fmt: skip
    found = dict(map(tuple, updated_values(old, HostConfig(), V1, FIRST)))  # type: ignore[arg-type]
    assert found == {"/m/memory.limit_in_bytes": "-1", "/m/memory.memsw.limit_in_bytes": "-1",
                     "/m/memory.soft_limit_in_bytes": "-1", "/p/pids.max": "max", "/c/cpu.cfs_quota_us": "-1"}  # fmt: skip
