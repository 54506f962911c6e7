"""What is written for one container, or the fact that forbids it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.documents.config import HostConfig, ThrottleDevice, WeightDevice
from firkin.containers.limits.devices import DEFAULT_RULES, DeviceFacts
from firkin.containers.limits.facts import CgroupFacts, Feature, Scope
from firkin.containers.limits.plan import LimitsPlan, number_set, plan_limits
from firkin.containers.limits.values import cpu_weight, io_weight, updated_values
from firkin.errors import ContainerError

MIB = 1 << 20
ID = "ab" * 32
V1_BASES = {name: f"/cg/{name}" for name in ("memory", "pids", "cpuset", "blkio", "devices", "freezer")} | {
    "cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct"}  # fmt: skip
EVERY_V1: frozenset[Feature] = frozenset((
    "memory", "swap", "swappiness", "reservation", "oom-kill-disable", "pids", "cpu-shares", "cpu-quota", "cpuset",
    "io-weight", "io-weight-device", "io-rate", "devices", "freeze"))  # fmt: skip
V1 = CgroupFacts(
    0, 1, "v1", "cgroupfs", V1_BASES, named=("/cg/systemd",), controllers=tuple(V1_BASES), features=EVERY_V1,
    files={"io-weight": "blkio.bfq.weight", "io-weight-device": "blkio.bfq.weight_device"}, cpus="0-3", mems="0",
)  # fmt: skip
ALL = ("cpuset", "cpu", "io", "memory", "pids")
V2 = CgroupFacts(
    0, 2, "v2", "cgroupfs", {"": "/cg"}, controllers=ALL, files={"io-weight": "io.weight"}, cpus="0-3",
    features=EVERY_V1 - {"swappiness", "oom-kill-disable"},
)  # fmt: skip
MANAGER = "/cg/user.slice/user-7.slice/user@7.service"
USER = CgroupFacts(
    7, 2, "v2", "systemd", {"": MANAGER}, controllers=("memory", "pids"), withheld=("cpuset", "cpu", "io"),
    features=frozenset(("memory", "swap", "reservation", "pids", "freeze")),
    scope=Scope("/run/user/7/systemd/private", MANAGER),
)  # fmt: skip
NONE = CgroupFacts(7, layout="v1", missing="control groups of version 1 belong to root alone", way_out="run as root")


def plan(
    host: HostConfig, facts: CgroupFacts, policy: str = "refuse", devices: DeviceFacts | None = None
) -> LimitsPlan:
    return plan_limits(ID, host, facts, policy, devices or DeviceFacts())


def values(host: HostConfig, facts: CgroupFacts, **options: DeviceFacts) -> dict[str, str]:
    """Return {file name: text}."""
    groups = plan(host, facts, **options).groups
    assert groups is not None
    return {file.rpartition("/")[2]: text for file, text in (*groups["values"], *groups["later"])}


def test_every_container_gets_groups_without_limits() -> None:
    groups = plan(HostConfig(), V1).groups
    assert groups is not None
    assert groups["paths"]["cpu,cpuacct"] == f"/cg/cpu,cpuacct/firkin/{ID}"
    assert groups["paths"]["freezer"] == f"/cg/freezer/firkin/{ID}"
    assert (groups["values"], groups["own"]) == ([], [])
    groups = plan(HostConfig(), V2).groups
    assert groups is not None
    assert groups["paths"] == {"": f"/cg/firkin/{ID}"}
    handed = "+cpuset +cpu +io +memory +pids"
    assert groups["parents"] == [["/cg", handed], ["/cg/firkin", handed]]


def test_a_parent_that_was_asked_for() -> None:
    groups = plan(HostConfig(cgroup_parent="a//b/"), V2).groups
    assert groups is not None
    assert groups["paths"] == {"": f"/cg/a/b/{ID}"}
    assert [place for place, _ in groups["parents"]] == ["/cg", "/cg/a", "/cg/a/b"]
    with pytest.raises(ContainerError, match="invalid cgroup parent"):
        plan(HostConfig(cgroup_parent="/a/../../b"), V2)


def test_monitors_leave_the_service_that_started_them() -> None:
    """Otherwise stopping a CI job would stop the containers that it left behind."""
    import msgspec

    groups = plan(HostConfig(), msgspec.structs.replace(V1, in_service=True)).groups
    assert groups is not None
    assert groups["own"] == [["/cg/systemd/firkin", "cgroup.procs"]]


def test_scope_of_a_user() -> None:
    made = plan(HostConfig(memory=64 * MIB), USER)
    assert made.groups is not None and made.scope is not None
    scope = f"{MANAGER}/firkin.slice/firkin-{ID}.scope"
    assert made.groups["paths"] == {"": f"{scope}/container"}
    assert made.groups["own"] == [[f"{scope}/monitor", "cgroup.procs"]]
    assert made.groups["parents"] == [[scope, "+memory +pids"]]
    assert (made.scope.unit, made.scope.slice) == (f"firkin-{ID}.scope", "firkin.slice")
    nested = plan(HostConfig(cgroup_parent="ci-jobs.slice"), USER)
    assert nested.groups is not None
    assert nested.groups["paths"][""].startswith(f"{MANAGER}/ci.slice/ci-jobs.slice/firkin-")
    with pytest.raises(ContainerError, match="cgroup-parent for systemd cgroup should be a valid slice"):
        plan(HostConfig(cgroup_parent="/jobs"), USER)


def test_values_of_version_1() -> None:
    host = HostConfig(memory=64 * MIB, memory_reservation=32 * MIB, memory_swappiness=0, oom_kill_disable=True,
                      nano_cpus=1_500_000_000, cpu_shares=512, cpuset_cpus="0,2-3", pids_limit=50, blkio_weight=300)  # fmt: skip
    assert values(host, V1) == {
        "memory.limit_in_bytes": str(64 * MIB), "memory.memsw.limit_in_bytes": str(128 * MIB),
        "memory.soft_limit_in_bytes": str(32 * MIB), "memory.swappiness": "0", "memory.oom_control": "1",
        "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000", "cpu.shares": "512", "cpuset.cpus": "0,2-3",
        "pids.max": "50", "blkio.bfq.weight": "300"}  # fmt: skip


def test_values_of_version_2() -> None:
    host = HostConfig(memory=64 * MIB, memory_swap=96 * MIB, memory_reservation=32 * MIB, nano_cpus=500_000_000,
                      cpu_shares=1024, cpuset_cpus="1", pids_limit=50, blkio_weight=500)  # fmt: skip
    assert values(host, V2) == {
        "memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB), "memory.low": str(32 * MIB),
        "cpu.max": "50000 100000", "cpu.weight": "100", "cpuset.cpus": "1", "pids.max": "50",
        "io.weight": str(io_weight(500))}  # fmt: skip


@pytest.mark.parametrize(("swap", "v1", "v2"), [(0, 2, 1), (-1, None, "max"), (64 * MIB, 1, 0), (192 * MIB, 3, 2)])
def test_swap(swap: int, v1: int | None, v2: int | str) -> None:
    """Version 1 limits both together, version 2 swap alone; 0 is twice the memory, -1 no limit."""
    host = HostConfig(memory=64 * MIB, memory_swap=swap)
    assert values(host, V1).get("memory.memsw.limit_in_bytes") == (str(v1 * 64 * MIB) if v1 else None)
    assert values(host, V2)["memory.swap.max"] == (v2 if isinstance(v2, str) else str(v2 * 64 * MIB))


def test_memory_is_written_before_memory_with_swap() -> None:
    groups = plan(HostConfig(memory=64 * MIB), V1).groups
    assert groups is not None
    assert [file.rpartition("/")[2] for file, _ in groups["values"]] == [
        "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]  # fmt: skip


@pytest.mark.parametrize("limit", [-1, 0, None])
def test_no_limit_of_processes(limit: int | None) -> None:
    assert values(HostConfig(pids_limit=limit), V1) == values(HostConfig(pids_limit=limit), V2) == {}


def test_devices() -> None:
    host = HostConfig(blkio_weight_device=(WeightDevice("/dev/sda", 200),),
                      blkio_device_read_bps=(ThrottleDevice("/dev/sda", 1000),))  # fmt: skip
    devices = DeviceFacts(DEFAULT_RULES, {"/dev/sda": "8:0"})
    groups = plan(host, V1, devices=devices).groups
    assert groups is not None
    texts = [(file.rpartition("/")[2], text) for file, text in groups["values"]]
    assert ("blkio.bfq.weight_device", "8:0 200") in texts
    assert ("blkio.throttle.read_bps_device", "8:0 1000") in texts
    assert texts[-len(DEFAULT_RULES) - 1 :] == [
        ("devices.deny", "a"), *(("devices.allow", rule) for rule in DEFAULT_RULES)]  # fmt: skip
    assert values(host, V2, devices=devices) == {"io.weight": f"8:0 {io_weight(200)}", "io.max": "8:0 rbps=1000"}


REFUSED = [
    (HostConfig(memory=64 * MIB), "memory limit capabilities or the cgroup is not mounted. Limitation discarded."),
    (HostConfig(pids_limit=5), "PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."),
    (HostConfig(nano_cpus=10**9), "CPU CFS scheduler. CPU period/quota discarded."),
    (HostConfig(cpu_shares=10), "CPU shares or the cgroup is not mounted. Shares discarded."),
    (HostConfig(cpuset_cpus="0"), "cpuset or the cgroup is not mounted. Cpuset discarded."),
    (HostConfig(memory_reservation=64 * MIB), "memory soft limit capabilities or the cgroup is not mounted. Limitation discarded."),
    (HostConfig(blkio_weight=100), "Block I/O weight or the cgroup is not mounted. Weight discarded."),
]  # fmt: skip


@pytest.mark.parametrize(("host", "words"), REFUSED)
def test_limits_that_cannot_be_set(host: HostConfig, words: str) -> None:
    """Refused with the fact and the way out, or dropped with docker's warning."""
    with pytest.raises(
        ContainerError, match=r"cannot limit .*: control groups of version 1 belong to root alone"
    ) as caught:
        plan(host, NONE)
    assert "run as root" in caught.value.hints
    made = plan(host, NONE, "warn")
    assert made.warnings == (f"Your kernel does not support {words}",)
    assert (made.groups, made.host) == (None, HostConfig())


def test_a_parent_where_there_are_no_groups() -> None:
    with pytest.raises(ContainerError, match="cannot put the container into the control group `/x`: control groups of"):
        plan(HostConfig(cgroup_parent="/x"), NONE)
    made = plan(HostConfig(cgroup_parent="/x"), NONE, "warn")
    assert made.warnings == ("The control group `/x` was discarded: control groups of version 1 belong to root alone.",)
    assert made.host == HostConfig()


def test_the_limit_of_processes_is_larger_while_the_container_is_set_up() -> None:
    for facts in (V1, V2):
        groups = plan(HostConfig(pids_limit=1, cpu_shares=10), facts).groups
        assert groups is not None
        ((file, text),) = groups["later"]
        assert (file.endswith("/pids.max"), text, [file, "2"] in groups["values"]) == (True, "1", True)


def test_a_controller_that_was_not_handed_down() -> None:
    with pytest.raises(ContainerError, match="the controller `cpuset` was not handed down") as caught:
        plan(HostConfig(cpuset_cpus="0"), USER)
    assert "Delegate=cpu cpuset io memory pids" in str(caught.value.hints[0])
    assert plan(HostConfig(cpuset_cpus="0"), USER, "warn").host.cpuset_cpus == ""


def test_memory_alone_is_limited_without_swap_accounting() -> None:
    """Who asks for memory only is told; who asks for swap is refused."""
    facts = CgroupFacts(0, 1, "v1", "cgroupfs", V1_BASES, features=EVERY_V1 - {"swap"})
    made = plan(HostConfig(memory=64 * MIB, memory_swap=128 * MIB), facts)
    assert "Memory limited without swap." in made.warnings[0]
    with pytest.raises(ContainerError, match="does not count swap"):
        plan(HostConfig(memory=64 * MIB, memory_swap=65 * MIB), facts)


def test_what_version_2_has_not_is_dropped() -> None:
    """docker's command line always sends these, so they are no reason to refuse."""
    made = plan(HostConfig(memory_swappiness=60, oom_kill_disable=True), V2)
    assert [warning.partition(".")[0].rpartition(" ")[2] for warning in made.warnings] == ["mounted", "OomKillDisable"]
    assert plan(HostConfig(memory_swappiness=-1), V2).warnings == ()


def test_oom_killer_without_limit() -> None:
    assert "no memory limit is set" in plan(HostConfig(oom_kill_disable=True), V1).warnings[0]


def test_processors_that_are_not_there() -> None:
    with pytest.raises(ContainerError, match="Requested CPUs are not available - requested 3-4, available: 0-3"):
        plan(HostConfig(cpuset_cpus="3-4"), V1)


@given(st.integers(2, 262_144))
def test_weights_are_in_range(shares: int) -> None:
    assert 1 <= cpu_weight(shares) <= 10_000
    assert cpu_weight(shares) <= cpu_weight(shares + 1)


def test_weights() -> None:
    assert [cpu_weight(shares) for shares in (2, 1024, 262_144)] == [1, 100, 10_000]
    assert [io_weight(weight) for weight in (10, 1000)] == [1, 10_000]


def test_numbers() -> None:
    assert number_set("0-2,5") == {0, 1, 2, 5}


SIZES = [(0, 0), (64, 0), (64, -1), (128, 128), (32, 48), (256, 1024)]


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(SIZES, 2)))
def test_an_update_never_has_memory_above_memory_with_swap(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Written to a kernel of version 1, which refuses such values."""
    before, after = (
        HostConfig(memory=memory * MIB, memory_swap=swap * MIB if swap > 0 else swap) for memory, swap in (old, new)
    )
    paths = {"memory": "/m"}
    endless = 1 << 62
    state = {"memory.limit_in_bytes": endless, "memory.memsw.limit_in_bytes": endless}
    state |= {name: int(text) for name, text in values(before, V1).items()}
    for file, text in updated_values(before, after, V1, paths):
        state[file.rpartition("/")[2]] = endless if text == "-1" else int(text)
        assert state["memory.limit_in_bytes"] <= state["memory.memsw.limit_in_bytes"], (file, text)
    assert state["memory.limit_in_bytes"] == (new[0] * MIB or endless)


def test_no_more_processors_than_there_are() -> None:
    plan(HostConfig(nano_cpus=4 * 10**9), V1)
    with pytest.raises(ContainerError, match="as there are only 4 CPUs available"):
        plan(HostConfig(nano_cpus=4 * 10**9 + 1), V1)
