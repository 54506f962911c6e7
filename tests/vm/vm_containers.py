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


# Limits. Each login and each command takes seconds on an emulated machine, so a test asks for much at once.

GROUP = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/$(firkin inspect -f '{{.State.Pid}}' limited)/cgroup)"


def test_limits_hold(vm: Machine, who: str) -> None:
    limits = "-m 64m --memory-swap 64m --cpus 0.2 --pids-limit 40"
    told = vm.check(
        f"set -e; {RUN} --name limited {limits} box sh -c 'while :; do :; done' >/dev/null; {GROUP}\n"
        "cat memory.max memory.swap.max cpu.max pids.max\n"
        "used() { sed -n 's/usage_usec //p' cpu.stat; }; a=$(used); sleep 5; b=$(used); echo $((b - a))\n"
        "firkin stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' limited\n"
        "firkin pause limited; firkin ps --format '{{.State}}'; grep frozen cgroup.events\n"
        "firkin unpause limited; firkin ps --format '{{.State}}'; grep frozen cgroup.events",
        user=who,
    ).split("\n")
    assert told[:4] == [str(64 << 20), "0", "20000 100000", "40"]
    assert 0.1e6 < int(told[4]) < 2.5e6, told  # a fifth of five seconds; the sleep may be late
    assert told[5].startswith("limited ") and "/ 64MiB" in told[5] and told[5].endswith(" 1"), told
    assert told[6:] == ["limited", "paused", "frozen 1", "limited", "running", "frozen 0"]


def test_what_goes_beyond_a_limit(vm: Machine, who: str) -> None:
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait"
    told = vm.check(
        f"firkin run --rm --network host --pids-limit 8 box sh -c '{forks}' 2>&1 | grep -c \"can't fork\"\n"
        "firkin run --name hungry --network host -m 32m --memory-swap 32m box dd if=/dev/zero of=/dev/null bs=200M count=1\n"
        "echo $?; firkin inspect -f '{{.State.OOMKilled}}' hungry\n"
        "firkin events --since 10m --until 0s --filter container=hungry --filter event=oom | grep -c oom",
        user=who,
    ).split("\n")
    assert told == ["1", "137", "true", "1"]


# What outlives what


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
        vm.check("systemctl is-system-running --wait || systemctl --failed", timeout=600)
        for user in users:
            if user != "root":
                vm.check("for i in $(seq 60); do [ $(systemctl --user is-active firkin) = activating ] || break; sleep 1; done", user=user)
            found = vm.check("firkin ps -a --format '{{.Names}} {{.State}}'", user=user)
            assert dict(line.split() for line in found.splitlines()) == {
                "no": "exited", "always": "running", "unless-stopped": "running", "on-failure": "running",
                "by-hand": "exited", "joins": "running", "never": "created",
            }, (user, found)  # fmt: skip
            # The command, process 1 of its container, does not heed TERM: its monitor killed it in the end.
            assert inspect(vm, user, "no")["State"]["ExitCode"] == (255 if how == "power" else 137), user
    finally:
        for user in users:
            vm.run("firkin service uninstall; firkin rm -f $(firkin ps -aq)", user=user)
            vm.run(f"loginctl disable-linger {user}")
