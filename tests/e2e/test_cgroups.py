"""Control groups of this machine, version 1 and 2; version 2 with files where it has no controllers."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.record import Record, State
from firkin.containers.limits.device_program import device_program
from firkin.containers.limits.devices import DEFAULT_RULES, DeviceFacts
from firkin.containers.limits.facts import read_cgroups, read_hierarchies
from firkin.containers.limits.leftover import clear_groups
from firkin.containers.limits.plan import plan_limits
from firkin.containers.resources import groups_of, read_statistics
from firkin.linux import cgroups

MIB = 1 << 20


def _needs(version: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if version == 1 and read_cgroups(uid=0).version != 1:
        pytest.skip("needs control groups of version 1")


pytestmark = pytest.mark.root


def planned(**limits: Any) -> dict[str, Any]:
    host = HostConfig(cgroup_parent=f"/firkin-test-{secrets.token_hex(4)}", **limits)
    groups = plan_limits("c1", host, read_cgroups(uid=0), "refuse", DeviceFacts(DEFAULT_RULES)).groups
    assert groups is not None
    return groups


def second(base: str) -> dict[str, Any]:
    return {"version": 2, "paths": {"": f"{base}/firkin-test-{secrets.token_hex(4)}/c1"}, "values": [], "parents": []}


@pytest.fixture(params=[1, 2])
def groups(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Groups of both versions, without limits."""
    _needs(request.param)
    if request.param == 1:
        made = planned()
    else:
        mounts = [one.mount for one in read_hierarchies() if one.version == 2]
        if not mounts:
            pytest.skip("needs control groups of version 2")
        made = second(mounts[0])
    yield from _with(made)


def _with(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cgroups.make_groups(made)
    try:
        yield made
    finally:
        cgroups.kill_groups(made)
        assert cgroups.remove_groups(made)
        for directory in set(made["paths"].values()):
            assert not os.path.exists(directory)
            os.rmdir(os.path.dirname(directory))


def start(made: dict[str, Any], code: str, **options: Any) -> subprocess.Popen[bytes]:
    joins = cgroups.open_joins(made)
    try:
        return subprocess.Popen(
            [sys.executable, "-S", "-c", code], preexec_fn=lambda: cgroups.join_groups(joins), **options
        )
    finally:
        for fd in joins:
            os.close(fd)


def test_a_process_joins_freezes_and_is_killed(groups: dict[str, Any]) -> None:
    process = start(groups, "import os\nwhile True: os.write(1, b'x')", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    assert cgroups.member_pids(groups) == [process.pid]
    cgroups.freeze_groups(groups, True)
    os.set_blocking(process.stdout.fileno(), False)
    while process.stdout.read(1 << 20):
        pass
    time.sleep(0.02)
    assert not process.stdout.read(1 << 20)
    cgroups.freeze_groups(groups, False)
    os.set_blocking(process.stdout.fileno(), True)
    assert process.stdout.read(1) == b"x"
    cgroups.freeze_groups(groups, True)
    subprocess_reaper(process)
    assert cgroups.kill_groups(groups)
    assert cgroups.member_pids(groups) == []
    process.stdout.close()


def subprocess_reaper(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process beside the test: a zombie stays in its group."""
    import threading

    threading.Thread(target=process.wait, daemon=True).start()


def test_all_descendants_are_found_and_groups_beneath_are_removed(groups: dict[str, Any]) -> None:
    for directory in set(groups["paths"].values()):
        os.makedirs(f"{directory}/inner/most")
    process = start(groups, "import os, time\nfor _ in range(3): os.fork()\nprint(end='.', flush=True)\ntime.sleep(60)",
                    stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert len(process.stdout.read(8)) == 8
    assert len(cgroups.member_pids(groups)) == 8
    subprocess_reaper(process)
    assert cgroups.kill_groups(groups)
    process.stdout.close()


def test_groups_are_made_twice(groups: dict[str, Any]) -> None:
    cgroups.make_groups(groups)
    assert all(os.path.isdir(directory) for directory in groups["paths"].values())


def test_removing_what_is_gone(tmp_path: Path) -> None:
    gone = {"version": 2, "paths": {"": str(tmp_path / "gone")}, "values": []}
    assert cgroups.remove_groups(gone)
    assert cgroups.kill_groups(gone)
    assert cgroups.member_pids(gone) == []
    assert cgroups.open_oom(gone) == []
    assert not cgroups.can_freeze(gone)


def test_a_full_group_of_memory_tells_of_the_kill() -> None:
    _needs(1)
    for made in _with(planned(memory=16 * MIB, memory_swap=16 * MIB)):
        watch = cgroups.open_oom(made)
        assert watch
        assert not cgroups.oom_happened(made, watch)
        process = start(made, "b = bytearray(64 << 20)")
        assert process.wait(30) == -signal.SIGKILL
        assert cgroups.oom_happened(made, watch)
        assert not cgroups.oom_happened(made, watch)
        os.close(watch[0])


def test_number_of_processes_and_processors() -> None:
    _needs(1)
    code = "import os\nprint(os.sched_getaffinity(0))\ntry: os.fork()\nexcept BlockingIOError: print('no more')"
    for made in _with(planned(pids_limit=1, cpuset_cpus="0", nano_cpus=500_000_000)):
        cgroups.write_values(made["later"])
        process = start(made, code, stdout=subprocess.PIPE)
        assert process.communicate(timeout=30)[0] == b"{0}\nno more\n"


def test_devices() -> None:
    _needs(1)
    code = "open('/dev/null')\ntry: open('/dev/kmsg')\nexcept PermissionError: print('refused')"
    for made in _with(planned()):
        process = start(made, code, stdout=subprocess.PIPE)
        assert process.communicate(timeout=30)[0] == b"refused\n"


def test_a_value_that_the_kernel_refuses_names_its_file() -> None:
    _needs(1)
    made = planned()
    made["values"] = [[f"{made['paths']['pids']}/pids.max", "many"]]
    with pytest.raises(OSError) as caught:
        cgroups.make_groups(made)
    assert caught.value.filename == f"{made['paths']['pids']}/pids.max"
    assert cgroups.remove_groups(made)
    for directory in made["paths"].values():
        os.rmdir(os.path.dirname(directory))


def test_statistics_of_a_real_group() -> None:
    _needs(1)
    id = secrets.token_hex(32)
    record = Record(1, id, "web", "", "", Config(), HostConfig(), "sh", (), ())
    host = HostConfig(cgroup_parent=f"/firkin-test-{secrets.token_hex(4)}", memory=64 * MIB, pids_limit=9)
    made = plan_limits(id, host, read_cgroups(uid=0), "refuse", DeviceFacts()).groups
    assert made is not None
    for groups in _with(made):
        cgroups.write_values(groups["later"])
        code = "b = bytearray(8 << 20)\nfor _ in range(10**6): pass\nprint(end='.', flush=True)\nimport time; time.sleep(60)"
        process = start(groups, code, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.read(1) == b"."
        assert groups_of(process.pid, id) == {
            name: path for names, path in groups["paths"].items() for name in names.split(",")}  # fmt: skip
        document = read_statistics(record, State(running=True, pid=process.pid), "now")
        assert document["source"] == "cgroup"
        assert document["cpu_stats"]["cpu_usage"]["total_usage"] > 1_000_000
        assert 8 * MIB < document["memory_stats"]["usage"] < document["memory_stats"]["limit"] == 64 * MIB
        assert document["pids_stats"] == {"current": 1, "limit": 9}
        process.stdout.close()
        subprocess_reaper(process)


def test_groups_without_a_monitor_are_cleared() -> None:
    _needs(1)
    facts = read_cgroups(uid=0)
    parent = f"/firkin-test-{secrets.token_hex(4)}"
    record = Record(1, "c1", "web", "", "", Config(), HostConfig(cgroup_parent=parent), "sh", (), ())
    made = plan_limits("c1", record.host_config, facts, "refuse", DeviceFacts()).groups
    assert made is not None
    cgroups.make_groups(made)
    process = start(made, "import time; time.sleep(60)")
    subprocess_reaper(process)
    assert clear_groups(record, facts)
    assert not any(os.path.exists(directory) for directory in made["paths"].values())
    assert clear_groups(record, facts)
    for directory in set(made["paths"].values()):
        os.rmdir(os.path.dirname(directory))


def test_rules_for_devices_as_a_program() -> None:
    """Version 2 has no files for them."""
    _needs(2)
    mounts = [one.mount for one in read_hierarchies() if one.version == 2]
    if not mounts:
        pytest.skip("needs control groups of version 2")
    made = {**second(mounts[0]), "devices": device_program(DEFAULT_RULES).hex()}
    code = "open('/dev/null')\ntry: open('/dev/kmsg')\nexcept PermissionError: print('refused')"
    for groups in _with(made):
        process = start(groups, code, stdout=subprocess.PIPE)
        assert process.communicate(timeout=30)[0] == b"refused\n"
