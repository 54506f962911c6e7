"""Containers where control groups are of version 2 alone, with systemd: limits, sessions that end, reboots."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vm.machine import Machine

# One image for all tests of a user.
IMAGE = r"""
set -e
cd "$(mktemp -d)"
cp /bin/busybox .
printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n' >Dockerfile
firkin build -q -t box .
"""
RUN = "firkin run -d --network host"
SLEEP = "box sleep 1000"


@pytest.fixture(scope="module", params=["root", "dev"])
def somebody(request: pytest.FixtureRequest, vm: Machine) -> str:
    """A user with the image `box`."""
    name = str(request.param)
    vm.check(IMAGE, user=name, timeout=300)
    return name


@pytest.fixture
def who(vm: Machine, somebody: str) -> Iterator[str]:
    yield somebody
    vm.run("firkin rm -f -v $(firkin ps -aq)", user=somebody)


def inspect(vm: Machine, user: str, name: str) -> Any:
    return json.loads(vm.check(f"firkin container inspect {name}", user=user))[0]


def status(vm: Machine, user: str, name: str) -> str:
    return vm.check(f"firkin container inspect -f '{{{{.State.Status}}}}' {name}", user=user)


# Limits


def test_limits_are_set_where_the_kernel_looks(vm: Machine, who: str) -> None:
    limits = "-m 64m --memory-swap 64m --cpus 0.5 --pids-limit 40 --cpu-shares 512"
    vm.check(f"{RUN} --name limited {limits} {SLEEP}", user=who)
    pid = inspect(vm, who, "limited")["State"]["Pid"]
    group = vm.check(f"cut -d: -f3 /proc/{pid}/cgroup")
    files = "memory.max memory.swap.max cpu.max pids.max"
    values = vm.check(f"cd /sys/fs/cgroup{group} && cat {files}").split("\n")
    assert values == [str(64 << 20), "0", "50000 100000", "40"]


def test_too_many_processes_are_refused(vm: Machine, who: str) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait"
    result = vm.run(f"firkin run --rm --network host --pids-limit 8 box sh -c '{script}'", user=who)
    assert "can't fork" in result.output, result


def test_out_of_memory_is_told(vm: Machine, who: str) -> None:
    command = "dd if=/dev/zero of=/dev/null bs=200M count=1"
    result = vm.run(f"firkin run --name hungry --network host -m 32m --memory-swap 32m box {command}", user=who)
    assert result.code == 137, result
    assert inspect(vm, who, "hungry")["State"]["OOMKilled"] is True
    assert "oom" in vm.check("firkin events --since 5m --until 0s --filter container=hungry", user=who)


def test_cpu_time_is_limited(vm: Machine, who: str) -> None:
    vm.check(f"{RUN} --name busy --cpus 0.2 box sh -c 'while :; do :; done'", user=who)
    pid = inspect(vm, who, "busy")["State"]["Pid"]
    group = vm.check(f"cut -d: -f3 /proc/{pid}/cgroup")
    used = vm.check(
        f"cd /sys/fs/cgroup{group}; a=$(sed -n 's/usage_usec //p' cpu.stat); sleep 5; "
        "b=$(sed -n 's/usage_usec //p' cpu.stat); echo $((b - a))"
    )
    assert 0.1e6 < int(used) < 2.5e6  # a fifth of five seconds; the sleep may be late


def test_pause_freezes(vm: Machine, who: str) -> None:
    vm.check(f"{RUN} --name frozen box sh -c 'while :; do :; done'", user=who)
    vm.check("firkin pause frozen", user=who)
    assert status(vm, who, "frozen") == "paused"
    pid = inspect(vm, who, "frozen")["State"]["Pid"]
    group = vm.check(f"cut -d: -f3 /proc/{pid}/cgroup")
    assert "frozen 1" in vm.check(f"cat /sys/fs/cgroup{group}/cgroup.events")
    vm.check("firkin unpause frozen", user=who)
    assert status(vm, who, "frozen") == "running"


def test_statistics_are_those_of_the_group(vm: Machine, who: str) -> None:
    vm.check(f"{RUN} --name counted -m 64m {SLEEP}", user=who)
    line = vm.check("firkin stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' counted", user=who)
    assert line.startswith("counted ") and "/ 64MiB" in line and line.endswith(" 1"), line


# What outlives what


def survivors(vm: Machine, user: str, *names: str) -> dict[str, str]:
    return {name: status(vm, user, name) for name in names}


def test_a_stopped_service_leaves_containers_running(vm: Machine, who: str) -> None:
    systemctl = "systemctl" if who == "root" else "systemctl --user"
    vm.check(f"loginctl enable-linger {who}")
    try:
        vm.check(f"{RUN} --name kept --restart always {SLEEP}", user=who)
        vm.check("firkin kill kept && firkin wait kept", user=who)
        vm.check("firkin service install && firkin service status", user=who)
        vm.check(f"{systemctl} start firkin", user=who)  # starts it: the policy is `always`
        assert status(vm, who, "kept") == "running"
        vm.check(f"{systemctl} stop firkin", user=who)
        assert status(vm, who, "kept") == "running"
        vm.check("firkin service uninstall", user=who)
        assert status(vm, who, "kept") == "running"
        assert vm.run("firkin service status", user=who).code == 1
    finally:
        vm.check(f"loginctl disable-linger {who}")


KILLING = "/etc/systemd/logind.conf.d/killing.conf"


@pytest.fixture
def killing(vm: Machine) -> Iterator[None]:
    """A machine that ends all processes of a session with it."""
    vm.check(f"mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nKillUserProcesses=yes\\nKillExcludeUsers=\\n' >{KILLING}")
    vm.check("systemctl restart systemd-logind")
    yield
    vm.check(f"rm {KILLING}; systemctl restart systemd-logind")


def test_containers_outlive_the_session_of_who_lingers(vm: Machine, who: str, killing: None) -> None:
    if who != "root":
        vm.check(f"loginctl enable-linger {who}")
    try:
        vm.check(f"{RUN} --name kept {SLEEP}", user=who)  # and its session ends
        time.sleep(15)  # a user's systemd ends ten seconds after the last session
        assert status(vm, who, "kept") == "running"
    finally:
        vm.check(f"loginctl disable-linger {who}")


def test_containers_end_with_the_last_session_of_who_does_not_linger(vm: Machine, killing: None) -> None:
    vm.check(IMAGE, user="other", timeout=300)
    vm.check(f"{RUN} --name gone {SLEEP}", user="other")
    vm.check("for i in $(seq 60); do [ -d /run/user/1001 ] || exit 0; sleep 1; done; exit 1")
    state = inspect(vm, "other", "gone")["State"]
    assert (state["Status"], state["Running"]) == ("exited", False)
    assert state["ExitCode"] in (137, 143, 255)
    assert vm.check("pgrep -u other sleep || echo none") == "none"
    vm.check("firkin rm gone", user="other")


@pytest.mark.parametrize("how", ["orderly", "power"])
def test_reboot(vm: Machine, how: Any) -> None:
    users = ("root", "dev")
    for user in users:
        vm.check(f"{IMAGE}\nfirkin rm -f $(firkin ps -aq) || true", user=user, timeout=300)
        vm.check(
            f"for policy in no always unless-stopped on-failure; do {RUN} --name $policy --restart $policy {SLEEP}; done; "
            f"{RUN} --name by-hand --restart unless-stopped {SLEEP}; firkin kill by-hand; "
            f"{RUN} --name joins --restart always --pid container:always {SLEEP}; "
            f"{RUN} --name temporary --rm {SLEEP}; firkin create --name never --restart always --network host {SLEEP}",
            user=user, timeout=300,
        )  # fmt: skip
        vm.check(f"loginctl enable-linger {user}")
        vm.check("firkin service install", user=user)
    try:
        vm.reboot(how)
        vm.check("systemctl is-system-running --wait || systemctl --failed", timeout=200)
        for user in users:
            if user != "root":
                vm.check("for i in $(seq 60); do [ $(systemctl --user is-active firkin) = activating ] || break; sleep 1; done", user=user)
            found = vm.check("firkin ps -a --format '{{.Names}} {{.State}}'", user=user)
            assert dict(line.split() for line in found.splitlines()) == {
                "no": "exited", "always": "running", "unless-stopped": "running", "on-failure": "running",
                "by-hand": "exited", "joins": "running", "never": "created",
            }, (user, found)  # fmt: skip
            assert inspect(vm, user, "no")["State"]["ExitCode"] == (255 if how == "power" else 143), user
    finally:
        for user in users:
            vm.run("firkin service uninstall; firkin rm -f $(firkin ps -aq)", user=user)
            vm.run(f"loginctl disable-linger {user}")
