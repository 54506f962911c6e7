"""Statistics of a container, from files of control groups and from processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.groups import put

from firkin.containers import resources
from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import ZERO_TIME, Record, State
from firkin.containers.resources import read_statistics

ID = "cd" * 32
NOW = "2026-01-02T03:04:05.6Z"
RECORD = Record(1, ID, "web", NOW, "sha256:1", Config(), HostConfig(), "sh", (), ())


def sample(
    monkeypatch: pytest.MonkeyPatch, groups: dict[str, str], before: dict[str, Any] | None = None
) -> dict[str, Any]:
    monkeypatch.setattr(resources, "groups_of", lambda pid, id: groups)
    return read_statistics(RECORD, State(running=True, pid=os.getpid()), NOW, before)


def test_a_container_that_does_not_run_has_an_empty_sample() -> None:
    document = read_statistics(RECORD, State(pid=1), NOW)
    assert (document["read"], document["name"], document["id"], document["source"]) == (ZERO_TIME, "/web", ID, "")
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert document["memory_stats"] == document["pids_stats"] == {}
    assert "networks" not in document


def test_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {
        "cpu/cpuacct.usage": "5000000000\n", "cpu/cpuacct.stat": "user 300\nsystem 200\n",
        "cpu/cpuacct.usage_percpu": "2000000000 3000000000 \n",
        "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 77\n",
        "memory/memory.usage_in_bytes": "4096\n", "memory/memory.max_usage_in_bytes": "8192\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.failcnt": "3\n",
        "memory/memory.stat": "cache 1\ntotal_inactive_file 1024\n",
        "pids/pids.current": "2\n", "pids/pids.max": "max\n",
        "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 7\n8:0 Total 107\nTotal 107\n",
    })  # fmt: skip
    groups = {name: str(tmp_path / name) for name in ("cpu", "memory", "pids", "blkio")}
    document = sample(monkeypatch, groups | {"cpuacct": groups["cpu"]})
    ticks = os.sysconf("SC_CLK_TCK")
    assert document["source"] == "cgroup"
    assert document["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5 * 10**9, "percpu_usage": [2 * 10**9, 3 * 10**9],
        "usage_in_kernelmode": 200 * 10**9 // ticks, "usage_in_usermode": 300 * 10**9 // ticks}  # fmt: skip
    assert document["cpu_stats"]["throttling_data"] == {"periods": 10, "throttled_periods": 4, "throttled_time": 77}
    memory = document["memory_stats"]
    assert (memory["usage"], memory["max_usage"], memory["failcnt"]) == (4096, 8192, 3)
    assert memory["stats"]["total_inactive_file"] == 1024
    assert document["pids_stats"] == {"current": 2}
    assert document["blkio_stats"]["io_service_bytes_recursive"][:2] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 100}, {"major": 8, "minor": 0, "op": "Write", "value": 7}]  # fmt: skip


def test_the_limit_is_the_machines_memory_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {"memory.limit_in_bytes": "9223372036854771712\n"})
    limit = sample(monkeypatch, {"memory": str(tmp_path)})["memory_stats"]["limit"]
    assert limit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {
        "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 1\nnr_throttled 1\nthrottled_usec 9\n",
        "memory.current": "4096\n", "memory.max": "65536\n", "memory.stat": "anon 1\ninactive_file 1024\n",
        "pids.current": "2\n", "pids.max": "max\n", "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    })  # fmt: skip
    document = sample(monkeypatch, {"": str(tmp_path)})
    assert document["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5_000_000, "usage_in_kernelmode": 2_000_000, "usage_in_usermode": 3_000_000}  # fmt: skip
    assert document["cpu_stats"]["throttling_data"]["throttled_time"] == 9000
    assert document["memory_stats"] == {"usage": 4096, "stats": {"anon": 1, "inactive_file": 1024}, "limit": 65536}
    assert document["pids_stats"] == {"current": 2, "limit": (1 << 64) - 1}
    assert [entry["value"] for entry in document["blkio_stats"]["io_service_bytes_recursive"]] == [1, 2]
    assert [entry["op"] for entry in document["blkio_stats"]["io_serviced_recursive"]] == ["read", "write"]


def test_without_groups_the_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    document = sample(monkeypatch, {})
    assert document["source"] == "processes"
    assert document["pids_stats"]["current"] >= 1
    assert document["memory_stats"]["usage"] > 1 << 20
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert document["networks"] == {}  # this process has the machine's own network


def test_time_of_the_processors_includes_idle_time_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients divide by it; with the time of one, or without idle time, percentages are wrong."""
    document = sample(monkeypatch, {})["cpu_stats"]
    assert document["online_cpus"] == os.cpu_count()
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    # A virtual machine's clock and its ticks may differ.
    assert 0.3 * up < document["system_cpu_usage"] / 1e9 / document["online_cpus"] < 3 * up


def test_the_sample_before_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sample(monkeypatch, {})
    second = sample(monkeypatch, {}, first)
    assert (first["preread"], second["preread"]) == (ZERO_TIME, NOW)
    assert second["precpu_stats"] == first["cpu_stats"]
    assert second["cpu_stats"]["system_cpu_usage"] >= second["precpu_stats"]["system_cpu_usage"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_interfaces_of_a_network_of_its_own() -> None:
    code = "import time; print(end='.', flush=True); time.sleep(30)"
    process = subprocess.Popen(["unshare", "--net", sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.read(1) == b"."
        document = read_statistics(RECORD, State(running=True, pid=process.pid), NOW)
        assert "lo" not in document["networks"]
        assert document["source"] == "processes"
    finally:
        process.kill()
        process.communicate()
