"""Front, monitor and first process are killed at random moments; after the next command nothing is left behind.

`make torture` kills 200 times an account; FIRKIN_TORTURE_ROUNDS says how often otherwise, FIRKIN_TORTURE_SEED repeats a
run.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin
from support.containers import remove_containers

pytestmark = [pytest.mark.registry, pytest.mark.userns, pytest.mark.timeout(7200), pytest.mark.faults]

ROUNDS = int(os.environ.get("FIRKIN_TORTURE_ROUNDS", "12"))
SEED = int(os.environ.get("FIRKIN_TORTURE_SEED", "0")) or random.randrange(1 << 31)


class Victims:
    """The processes of one store, found by a number that only its commands have in their argv."""

    def __init__(self, firkin: Firkin) -> None:
        self.firkin = firkin
        self.mark = f"{random.randrange(1 << 40, 1 << 41)}"

    def commands(self) -> list[int]:
        """Return the pids of processes in containers."""
        return [pid for pid, argv in processes() if argv[:1] == [b"sleep"] and self.mark.encode() in argv]

    def monitors(self) -> list[int]:
        """Return the pids of monitors."""
        found = [document["Id"] for document in self.inspected()]
        states = (self.firkin.store / "containers" / id / "state.json" for id in found)
        pids = [int(json.loads(path.read_bytes())["monitor"]) for path in states if path.exists()]
        return [pid for pid in pids if pid]  # 0, of one that never ran, would be everybody here

    def inspected(self) -> list[dict[str, Any]]:
        ids = self.firkin.run("ps", "-aq", "--no-trunc").stdout.split()
        if not ids:
            return []
        # One may go meanwhile.
        documents: list[dict[str, Any]] = json.loads(self.firkin.run("inspect", *ids, check=False).stdout)
        return documents


def processes() -> Iterator[tuple[int, list[bytes]]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[:-1]
            except OSError:
                continue


def pid_space(pid: int) -> str:
    """Return the PID namespace of a process, "" if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def told_of(pid: int) -> tuple[str, ...]:
    """Return the namespace, the state and the groups of a process, for whoever looks why it is there."""
    try:
        files = (Path(f"/proc/{pid}/{name}").read_text() for name in ("stat", "cgroup"))
        return (pid_space(pid), *files)
    except OSError:
        return (pid_space(pid), "gone")


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def check(victims: Victims) -> None:
    """Raise AssertionError for anything that a killed process left behind."""
    firkin = victims.firkin
    documents = victims.inspected()
    running = [document for document in documents if document["State"]["Running"]]
    # The end of a killed process takes the kernel a moment.
    for _ in range(50):
        spaces = {pid_space(document["State"]["Pid"]) for document in running}  # a second command outlives its front
        left = [pid for pid in victims.commands() if pid_space(pid) not in {*spaces, ""}]
        if not left:
            break
        time.sleep(0.1)
        running = [document for document in victims.inspected() if document["State"]["Running"]]
    states = [(document["Name"], document["State"]["Status"], document["State"]["Pid"]) for document in victims.inspected()]
    assert left == [], f"processes without a container: {[told_of(pid) for pid in left]}; {states}, {spaces}"
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(firkin.store) not in mounts
    alive = {document["Id"] for document in documents if document["State"]["Running"]}
    groups = {os.path.basename(path) for path, _, _ in os.walk("/sys/fs/cgroup") if len(os.path.basename(path)) == 64}
    ours = {document["Id"] for document in documents}
    assert groups & ours <= alive | {d["Id"] for d in victims.inspected() if d["State"]["Running"]}
    names = [document["Name"] for document in documents]
    assert len(names) == len(set(names))
    held = {mount["Name"] for document in documents for mount in document["Mounts"] if mount["Type"] == "volume"}
    volumes = set(firkin.run("volume", "ls", "-q").stdout.split())
    assert volumes <= held | {"kept"}, "a volume that nobody asked for"
    told = Counter[tuple[str, str]]()
    for line in (firkin.store / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        told[event["Actor"]["ID"], event["Action"]] += 1
    for document in documents:
        died, started = told[document["Id"], "die"], told[document["Id"], "start"]
        assert died <= started and started - died <= 1, (document["Name"], started, died)


def killed(victims: Victims, dice: random.Random, number: int) -> str:
    """Kill something at a random moment and say what."""
    box, name = victims.firkin, f"c{number}"
    sleeping = ("box:1", "sleep", "1000", victims.mark)
    options = ("--name", name, "--network", "none", "-v", "/data", "-v", "kept:/kept")
    verb = dice.choice(("run", "run -d", "run --rm", "stop", "restart", "rm -f", "exec", "pause", "start"))
    if not verb.startswith("run"):
        box.run("run", "-d", *options, *dice.choice(((), ("--restart", "always"))), *sleeping)
    if verb == "start":
        box.run("kill", name)
        box.run("stop", name)
    words = {
        "stop": ("stop", "-t", "1", name),
        "restart": ("restart", "-t", "1", name),
        "rm -f": ("rm", "-f", "-v", name),
        "exec": ("exec", name, "sleep", "1000", victims.mark),
        "pause": ("pause", name),
        "start": ("start", name),
    }.get(verb) or (*verb.split(), *options, *sleeping)
    victim = dice.choice(("front", "monitor", "command"))
    front = box.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(dice.choice((0.02, 0.05, 0.1, 0.2, 0.3, 0.5)) * dice.random() * 2)
    if victim == "front":
        front.kill()
    for pid in {"front": list, "monitor": victims.monitors, "command": victims.commands}[victim]():
        kill(pid)
    if victim != "front" and verb in ("run", "run --rm", "exec"):
        time.sleep(0.3)
        front.kill()
    front.wait(timeout=60)
    return f"{verb}, killed {victim}"


def test_killed_at_random_moments(box: Firkin) -> None:
    print(f"FIRKIN_TORTURE_SEED={SEED}")
    dice = random.Random(SEED)
    victims = Victims(box)
    box.run("volume", "create", "kept")
    what = ""
    try:
        for number in range(ROUNDS):
            what = f"after {what}"
            what = killed(victims, dice, number)
            print(number, what)
            check(victims)
            box.run("rm", "-f", "-v", f"c{number}", check=False)
            assert box.run("ps", "-aq").stdout == ""
            assert box.run("volume", "ls", "-q").stdout == "kept\n"
    except BaseException:
        print(f"round {number}: {what}", (box.store / "events.jsonl").read_text(), sep="\n")
        for path in (box.store / "containers").glob("*/monitor.log"):
            print(path.parent.name, path.read_text(), (path.parent / "state.json").read_text(), sep="\n")
        raise
    remove_containers(box)
    assert victims.commands() == []
    assert box.run("volume", "ls", "-q").stdout == "kept\n"
