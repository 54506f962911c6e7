"""Which control groups a process may make, from files."""

import os
import stat
from pathlib import Path

import pytest
from support.groups import group, machine, put

from firkin.containers.limits.facts import CgroupFacts, read_cgroups

FEATURES_V1 = {"memory", "swap", "swappiness", "reservation", "oom-kill-disable", "pids", "cpu-shares", "cpu-quota",
               "cpuset", "io-rate", "devices", "freeze"}  # fmt: skip


def read(root: Path, *, uid: int = 0, **options: str) -> CgroupFacts:
    return read_cgroups(uid=uid, root=str(root), **options)


@pytest.mark.parametrize("layout", ["v1", "hybrid"])
def test_version_1_is_taken_where_it_has_the_controllers(tmp_path: Path, layout: str) -> None:
    groups = machine(tmp_path, layout)
    facts = read(tmp_path)
    assert (facts.version, facts.layout, facts.driver) == (1, layout, "cgroupfs")
    assert facts.bases["cpu"] == facts.bases["cpuacct"] == f"{groups}/cpu,cpuacct"
    assert facts.features == FEATURES_V1
    assert (facts.cpus, facts.mems) == ("0-3", "0")
    assert not facts.in_service


def test_version_1_tells_a_kernel_that_does_not_count_swap(tmp_path: Path) -> None:
    groups = machine(tmp_path, "v1")
    (groups / "memory/memory.memsw.limit_in_bytes").unlink()
    assert read(tmp_path).features == FEATURES_V1 - {"swap"}


def test_a_service_is_told_from_the_root_group(tmp_path: Path) -> None:
    machine(tmp_path, "v1", "/system.slice/ci.service")
    assert read(tmp_path).in_service


def test_version_2_for_root(tmp_path: Path) -> None:
    groups = machine(tmp_path, "v2")
    facts = read(tmp_path)
    assert (facts.version, facts.layout, facts.bases) == (2, "v2", {"": str(groups)})
    assert facts.controllers == ("cpuset", "cpu", "io", "memory", "pids")
    assert {"memory", "swap", "pids", "cpu-quota", "io-weight", "devices", "freeze"} <= facts.features
    assert not {"swappiness", "oom-kill-disable"} & facts.features
    assert (facts.cpus, facts.mems) == ("0-3", "0")


def test_nothing_mounted(tmp_path: Path) -> None:
    put(tmp_path, {"proc/self/mountinfo": "", "proc/self/cgroup": ""})
    facts = read(tmp_path)
    assert (facts.version, facts.missing) == (0, "no control groups are mounted here")


class TestUser:
    """Whoever is not root; permissions of files decide, so the test gives up root's rights."""

    @pytest.fixture(autouse=True)
    def _ordinary(self, tmp_path: Path):
        if os.geteuid() != 0:
            yield
            return
        for place in (tmp_path, *tmp_path.parents):
            if place.stat().st_uid == 0 and not place.stat().st_mode & stat.S_IXOTH:
                place.chmod(place.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
        yield

    def read(self, root: Path, **options: str) -> CgroupFacts:
        """Read the facts in a process of the user 65534."""
        import pickle

        theirs, ours = os.pipe()
        pid = os.fork()
        if not pid:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.write(ours, pickle.dumps(read(root, uid=65534, **options)))
            os._exit(0)
        os.close(ours)
        with open(theirs, "rb") as pipe:
            facts: CgroupFacts = pickle.load(pipe)
        os.waitpid(pid, 0)
        return facts

    def close(self, groups: Path) -> None:
        for place, _, files in os.walk(groups):
            os.chmod(place, 0o555)
            for file in files:
                os.chmod(f"{place}/{file}", 0o444)

    def give(self, group: Path) -> None:
        for path in (group, *group.rglob("*")):
            path.chmod(0o777)

    def test_version_1_belongs_to_root(self, tmp_path: Path) -> None:
        self.close(machine(tmp_path, "hybrid"))
        facts = self.read(tmp_path)
        assert (facts.version, facts.missing) == (0, "control groups of version 1 belong to root alone")
        assert "systemd.unified_cgroup_hierarchy" in facts.way_out

    def test_nothing_delegated(self, tmp_path: Path) -> None:
        groups = machine(tmp_path, "v2", "/system.slice/cron.service")
        group(groups / "system.slice/cron.service", processes="7\n")
        self.close(groups)
        facts = self.read(tmp_path, user="ada")
        assert (facts.version, facts.missing) == (0, "no control group belongs to ada")
        assert "loginctl enable-linger ada" in facts.way_out

    def test_a_service_with_delegation_hands_down_what_it_has_no_processes_beside(self, tmp_path: Path) -> None:
        groups = machine(tmp_path, "v2", "/system.slice/ci.service/main")
        service = group(groups / "system.slice/ci.service")
        group(service / "main", processes="7\n")
        self.close(groups)
        self.give(service)
        facts = self.read(tmp_path)
        assert (facts.version, facts.driver, facts.bases) == (2, "cgroupfs", {"": str(service)})
        assert "memory" in facts.features
        assert "devices" not in facts.features

    def test_a_delegated_group_with_processes_cannot(self, tmp_path: Path) -> None:
        """Version 2 knows no processes beside groups with controllers."""
        groups = machine(tmp_path, "v2", "/system.slice/ci.service")
        service = group(groups / "system.slice/ci.service", processes="7\n")
        self.close(groups)
        self.give(service)
        facts = self.read(tmp_path)
        assert (facts.version, facts.controllers, facts.features) == (2, (), {"freeze"})
        assert "memory" in facts.withheld

    def test_systemd_of_the_user(self, tmp_path: Path) -> None:
        groups = machine(tmp_path, "v2", "/user.slice/user-65534.slice/session-1.scope")
        group(groups / "user.slice/user-65534.slice/session-1.scope", processes="7\n")
        manager = group(groups / "user.slice/user-65534.slice/user@65534.service", controllers="cpu memory pids")
        put(tmp_path, {"run/user/65534/systemd/private": ""})
        self.close(groups)
        self.give(manager)
        self.give(tmp_path / "run/user/65534")
        facts = self.read(tmp_path, runtime_dir="/run/user/65534")
        assert (facts.version, facts.driver) == (2, "systemd")
        assert facts.scope is not None
        assert (facts.scope.socket, facts.scope.manager) == ("/run/user/65534/systemd/private", str(manager))
        assert facts.withheld == ("cpuset", "io")
        assert "cpuset" not in facts.features
