"""What an update makes of a container's settings, and what it refuses."""

import pytest

from firkin.containers.documents.config import Config, HostConfig, RestartPolicy
from firkin.containers.documents.record import Record
from firkin.containers.update import changed
from firkin.errors import ContainerError

MB = 1 << 20


def record(**host):
    return Record(1, "a" * 64, "x", "2026-01-02T03:04:05Z", "sha256:" + "1" * 64, Config(), HostConfig(**host), "sh", (), ())


def test_what_is_zero_stays():
    before = record(memory=64 * MB, memory_swap=128 * MB, cpu_shares=5, pids_limit=7)
    after = changed(before, {"memory": 32 * MB, "cpu_shares": 0, "cpuset_cpus": "", "pids_limit": None})
    assert (after.memory, after.memory_swap, after.cpu_shares, after.pids_limit) == (32 * MB, 128 * MB, 5, 7)
    assert changed(before, {"pids_limit": -1}).pids_limit is None
    assert changed(before, {"pids_limit": 9}).pids_limit == 9


@pytest.mark.parametrize(
    ("host", "changes", "words", "kind"),
    [
        ({"cpu_quota": 5000}, {"nano_cpus": 10**9}, "Nano CPUs cannot be updated as CPU Quota", "conflict"),
        ({"nano_cpus": 10**9}, {"cpu_period": 5000}, "CPU Period cannot be updated as NanoCPUs", "conflict"),
        ({"memory": 64 * MB, "memory_swap": 128 * MB}, {"memory": 256 * MB}, "at the same time", "conflict"),
        ({"auto_remove": True}, {"restart_policy": RestartPolicy("always")}, "AutoRemove is enabled", "conflict"),
        ({}, {"restart_policy": RestartPolicy("bogus")}, "nvalid restart policy", "invalid"),
        ({}, {"memory": MB, "memory_swap": -1}, "Minimum memory limit allowed is 6MB", "invalid"),
    ],
)
def test_contradictions(host, changes, words, kind):
    with pytest.raises(ContainerError, match=words) as caught:
        changed(record(**host), changes)
    assert caught.value.kind == kind


def test_memory_and_swap_together():
    after = changed(record(memory=64 * MB, memory_swap=128 * MB), {"memory": 256 * MB, "memory_swap": 512 * MB})
    assert (after.memory, after.memory_swap) == (256 * MB, 512 * MB)
    assert changed(record(auto_remove=True), {"restart_policy": RestartPolicy("no")}).restart_policy.name == "no"
