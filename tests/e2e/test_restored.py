"""`start --restored`: what policies ask for is started after the monitors are gone, those that others join first."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from support.accounts import Firkin
from support.containers import make_box, remove_containers

pytestmark = [pytest.mark.registry, pytest.mark.userns]


@pytest.fixture
def box(firkin: Firkin) -> Iterator[Firkin]:
    make_box(firkin)
    yield firkin
    remove_containers(firkin)


def states(firkin: Firkin) -> dict[str, str]:
    lines = firkin.run("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    return dict(line.split() for line in lines)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_policies_after_everything_died(box: Firkin) -> None:
    for policy in ("no", "always", "unless-stopped", "on-failure"):
        box.run("run", "-d", "--network", "host", "--name", policy, "--restart", policy, "box:1", "sleep", "1000")
    box.run("run", "-d", "--network", "host", "--name", "by-hand", "--restart", "unless-stopped", "box:1", "sleep", "1000")
    box.run("kill", "by-hand")
    box.run("run", "-d", "--network", "host", "--name", "used-up", "--restart", "on-failure:1", "box:1", "sh", "-c", "exit 3")
    until(lambda: states(box)["used-up"] == "exited")
    assert box.run("inspect", "-f", "{{.RestartCount}}", "used-up").stdout == "1\n"
    box.run("create", "--name", "never", "--restart", "always", "box:1", "true")
    box.run("run", "-d", "--network", "host", "--name", "temporary", "--rm", "box:1", "sleep", "1000")
    running = box.run("ps", "-q", "--no-trunc").stdout.split()
    assert len(running) == 5
    for directory in (box.store / "containers").iterdir():
        text = directory / "state.json"
        if directory.name in running:
            os.kill(json.loads(text.read_text())["monitor"], signal.SIGKILL)
    time.sleep(0.5)
    # As after a reboot: the pids are of another boot.
    for id in running:
        path = box.store / "containers" / id / "state.json"
        path.write_text(path.read_text().replace(open("/proc/sys/kernel/random/boot_id").read().strip(), "another"))
    told = box.run("start", "--restored").stdout.split()
    assert sorted(told) == ["always", "on-failure", "unless-stopped"]
    assert states(box) == {
        "no": "exited", "always": "running", "unless-stopped": "running", "on-failure": "running",
        "by-hand": "exited", "never": "created", "used-up": "exited",
    }  # fmt: skip
    assert box.run("start", "--restored").stdout == ""


def test_names_are_refused(box: Firkin) -> None:
    done = box.run("start", "--restored", "x", check=False)
    assert done.returncode == 1
    assert "takes no container" in done.stderr
