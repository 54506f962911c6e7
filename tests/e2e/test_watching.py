"""Commands that look at containers, and the small verbs, as root and as an ordinary user."""

import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from support.accounts import Firkin

from firkin.containers.limits.facts import read_cgroups

pytestmark = [pytest.mark.registry]

TALKS = "echo to out; echo to err >&2; exec sleep 1000"


@pytest.fixture
def box(box: Firkin) -> Iterator[Firkin]:
    """The same; nothing runs in the end."""
    yield box
    running = box.run("ps", "-q").stdout.split()
    if running:
        box.run("kill", *running, check=False)


def up(box: Firkin, name: str, script: str = TALKS, *options: str) -> str:
    """Start a container without network, and return its id."""
    made = box.run("create", "--name", name, "--network", "none", *options, "box:1", "sh", "-c", script)
    box.run("restart", name)
    return made.stdout.strip()


def written(box: Firkin, name: str, text: str) -> None:
    """Wait until a container has written a text."""
    for _ in range(200):
        done = box.run("logs", name)
        if text in done.stdout + done.stderr:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} does not write {text!r}: {done.stdout}{done.stderr}")


def refused(box: Firkin, *words: str) -> str:
    """Return what a command says that must fail with 1."""
    done = box.run(*words, check=False)
    assert done.returncode == 1, (words, done.returncode, done.stdout, done.stderr)
    return str(done.stderr)


def test_lists(box: Firkin) -> None:
    first = up(box, "first", TALKS, "--label", "tier=front", "--label", "com.example.zone=a")
    made = box.run("create", "--name", "made", "--network", "none", "box:1", "true").stdout.strip()
    lines = box.run("ps").stdout.splitlines()
    assert re.split(r"\s{3,}", lines[0].strip()) == [
        "CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES",
    ]  # fmt: skip
    (line,) = lines[1:]
    assert re.fullmatch(
        rf'{first[:12]}   box:1     "sh -c \'echo to out;…"   \S.* ago   Up \S.*\S +first', line
    ), line
    assert box.run("ps", "-aq").stdout.split() == [made[:12], first[:12]]
    assert box.run("container", "ls", "-a", "-q", "--no-trunc").stdout.split() == [made, first]
    assert box.run("ps", "-lq").stdout.split() == box.run("ps", "-n", "1", "-q").stdout.split() == [made[:12]]
    for words, names in (
        (("-a", "-f", "status=created"), "made"), (("-f", "label=tier=front"), "first"),
        (("-a", "-f", "name=^ma"), "made"), (("-f", "ancestor=box:1"), "first"), (("-f", "network=none"), "first"),
        (("-f", "before=made"), "first"), (("-a", "-f", "since=first"), "made"), (("-f", "health=healthy"), ""),
        (("-f", "label=nothing"), ""), (("-f", "ancestor=nothing"), ""),
    ):  # fmt: skip
        assert box.run("ps", "--format", "{{.Names}}", *words).stdout.strip() == names, words
    fields = json.loads(box.run("ps", "--format", "json").stdout)
    assert list(fields) == [
        "Command", "CreatedAt", "ID", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Platform",
        "Ports", "RunningFor", "Size", "State", "Status",
    ]  # fmt: skip
    assert (fields["State"], fields["Labels"]) == ("running", "com.example.zone=a,tier=front")
    shown = box.run("ps", "--format", 'table {{.Names}}\\t{{.Label "com.example.zone"}}').stdout
    assert shown == "NAMES     zone\nfirst     a\n"
    assert re.match(r"\d+(\.\d+)?k?B \(virtual \d+(\.\d+)?MB\)\n", box.run("ps", "--format", "{{.Size}}").stdout)
    assert "nvalid filter 'bogus'" in refused(box, "ps", "-f", "bogus=1")
    assert "No such container: nothing" in refused(box, "ps", "-f", "since=nothing")


def test_an_image_whose_name_moved_on_is_shown_by_its_id(box: Firkin) -> None:
    box.run("create", "--name", "old", "--network", "none", "box:1", "true")
    id = box.run("inspect", "-f", "{{.Image}}", "old").stdout.strip()
    assert box.run("ps", "-a", "--format", "{{.Image}}").stdout == "box:1\n"
    box.run("tag", "box:1", "box:kept")
    context = box.directory("other")
    (context / "Dockerfile").write_text("FROM box:kept\nENV A=b\n")
    box.account.give(context)
    box.run("build", "-t", "box:1", context)
    assert box.run("ps", "-a", "--format", "{{.Image}}").stdout.strip() == id[7:19]
    assert box.run("ps", "-a", "--no-trunc", "--format", "{{.Image}}").stdout.strip() == id
    assert box.run("inspect", "-f", "{{.Config.Image}}", "old").stdout == "box:1\n"
    assert box.run("ps", "-aq", "-f", "ancestor=box:1").stdout == ""
    box.run("create", "--name", "new", "--network", "none", "box:1", "true")
    names = box.run("ps", "-a", "--format", "{{.Names}}", "-f", "ancestor=box:kept").stdout.split()
    assert names == ["new", "old"]  # an image that was built on it counts


def test_inspect_finds_containers_before_images(box: Firkin) -> None:
    id = box.run("create", "--name", "same", "--network", "none", "-m", "0", "box:1", "sh").stdout.strip()
    box.run("tag", "box:1", "same")
    assert box.run("inspect", "-f", "{{.Id}}", "same").stdout.strip() == id
    assert box.run("inspect", "-f", "{{.Id}}", id[:8]).stdout.strip() == id
    image = box.run("inspect", "--type", "image", "-f", "{{.ID}}", "same").stdout
    assert image.startswith("sha256:")
    box.run("volume", "create", "shelf")
    done = box.run("inspect", "shelf", "same", "box:1", "nothing", check=False)
    assert (done.returncode, "No such object: nothing" in done.stderr) == (1, True)
    volume, container, _ = json.loads(done.stdout)
    assert (volume["Name"], container["Name"]) == ("shelf", "/same")
    assert list(container)[:8] == ["Id", "Created", "Path", "Args", "State", "Image", "ResolvConfPath", "HostnamePath"]
    assert container["State"]["Status"] == "created" and container["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", container["Created"])
    assert "No such container: box:1" in refused(box, "inspect", "--type", "container", "box:1")
    template = "{{.SizeRw}} {{.State.Health}} {{json .HostConfig.PidsLimit}} {{.HostConfig.Init}}"
    assert box.run("inspect", "-f", template, "same").stdout == "<nil> <nil> null <nil>\n"
    sizes = box.run("inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "same").stdout.split()
    assert int(sizes[0]) < int(sizes[1])


def test_logs_keep_the_streams_apart(box: Firkin) -> None:
    up(box, "talks", "echo one; echo two >&2; printf unfinished")
    assert box.run("wait", "talks").stdout == "0\n"
    done = box.run("logs", "talks")
    assert (done.stdout, done.stderr) == ("one\nunfinished", "two\n")
    stamped = box.run("logs", "-t", "talks").stdout.splitlines()
    stamp, text = stamped[-1].split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) and text == "unfinished"
    assert box.run("logs", "--since", stamp, "talks").stdout.endswith("unfinished")
    assert box.run("logs", "--until", "2001-01-01", "talks").stdout == ""
    assert box.run("logs", "--tail", "0", "talks").stdout == ""
    assert box.run("logs", "--tail", "x", "talks").stdout == "one\nunfinished"
    assert "No such container: nothing" in refused(box, "logs", "nothing")
    assert "failed to parse value as time or duration" in refused(box, "logs", "--since", "x", "talks")


def test_logs_are_followed_until_the_end(box: Firkin) -> None:
    up(box, "counts", "for n in 1 2 3; do echo $n; sleep 0.3; done; sleep 1000")
    command = box.popen("logs", "-f", "counts", stdout=subprocess.PIPE)
    written(box, "counts", "3")
    box.run("kill", "counts")
    out, _ = command.communicate(timeout=20)
    assert (command.returncode, out) == (0, b"1\n2\n3\n")


def test_rotated_and_compressed_logs_are_one(box: Firkin) -> None:
    options = ("--log-opt", "max-size=20k", "--log-opt", "max-file=4", "--log-opt", "compress=true")
    up(box, "much", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done", *options)
    up(box, "local", "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done", "--log-driver", "local")
    assert box.run("wait", "much", "local").stdout == "0\n0\n"
    lines = box.run("logs", "much").stdout.splitlines()
    first = int(lines[0].split()[1])
    assert lines == [f"line {number}" for number in range(first, 2000)]
    assert box.run("logs", "--tail", str(len(lines) - 5), "much").stdout.splitlines() == lines[5:]
    assert box.run("logs", "-n", "2", "local").stdout == "line 98\nline 99\n"
    assert box.run("inspect", "-f", "{{.LogPath}}", "local").stdout == "\n"


def test_no_log_cannot_be_read(box: Firkin) -> None:
    up(box, "quiet", "echo x", "--log-driver", "none")
    assert "configured logging driver does not support reading" in refused(box, "logs", "quiet")


def test_stop_restart_and_kill(box: Firkin) -> None:
    for name in ("one", "two", "three", "four"):
        up(box, name, "trap '' TERM; echo ready; while true; do sleep 0.1; done")
        written(box, name, "ready")
    began = time.monotonic()
    done = box.run("stop", "-t", "4", "one", "two", "nothing", "three", "four", check=False)
    assert time.monotonic() - began < 12, "they are stopped at once"
    assert (done.returncode, done.stdout) == (1, "one\ntwo\nthree\nfour\n")
    assert "No such container: nothing" in done.stderr
    assert box.run("stop", "one").stdout == "one\n"
    assert box.run("wait", "one", "two").stdout == "137\n137\n"
    box.run("create", "--name", "made", "--network", "none", "box:1", "sleep", "1000")
    assert box.run("stop", "made").stdout == "made\n"  # of one that never ran, too
    assert box.run("wait", "made").stdout == "0\n"
    assert "is not running" in refused(box, "kill", "made")
    assert box.run("restart", "--time", "0", "made").stdout == "made\n"
    assert "nvalid signal: BOGUS" in refused(box, "kill", "-s", "BOGUS", "made")
    assert box.run("kill", "-s", "KILL", "made").stdout == "made\n"
    assert box.run("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "made").stdout == "exited 137\n"


def test_pause(box: Firkin) -> None:
    up(box, "ticks", "while true; do date +%s%N; sleep 0.05; done")
    assert "is not paused" in refused(box, "unpause", "ticks")
    assert box.run("pause", "ticks").stdout == "ticks\n"
    assert "(Paused)" in box.run("ps", "--format", "{{.Status}}").stdout
    before = box.run("logs", "ticks").stdout
    time.sleep(0.3)
    assert box.run("logs", "ticks").stdout == before
    assert "already paused" in refused(box, "pause", "ticks")
    assert box.run("unpause", "ticks").stdout == "ticks\n"
    assert "(Paused)" not in box.run("ps", "--format", "{{.Status}}").stdout


def test_top_stats_and_port(box: Firkin) -> None:
    id = up(box, "works", "sleep 1000; true")
    lines = box.run("top", "works").stdout.splitlines()
    assert lines[0].split()[:3] == ["UID", "PID", "PPID"] and "sleep 1000; true" in lines[1]
    shown = box.run("top", "works", "-o", "pid,comm").stdout.splitlines()
    assert shown[0] == "PID                 COMMAND" and len(shown) == 3
    assert "Couldn't find PID field in ps output" in refused(box, "top", "works", "-o", "comm")
    fields = json.loads(box.run("stats", "--no-stream", "--format", "json").stdout)
    assert (fields["ID"], fields["Name"], fields["PIDs"]) == (id[:12], "works", "2")
    assert re.fullmatch(r"\d+\.\d\d%", fields["CPUPerc"]) and " / " in fields["MemUsage"]
    assert box.run("port", "works").stdout == ""
    assert "No public port '80' published for works" in refused(box, "port", "works", "80")
    box.run("kill", "works")
    assert "is not running" in refused(box, "top", "works")
    line = box.run("stats", "--no-stream", "works").stdout.splitlines()[1]
    assert re.split(r"\s{2,}", line)[2:] == ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]


def test_update_of_the_policy(box: Firkin) -> None:
    up(box, "again")
    assert "provide one or more flags" in refused(box, "update", "again")
    assert "nvalid restart policy" in refused(box, "update", "--restart", "bogus", "again")
    assert box.run("update", "--restart", "on-failure:3", "again").stdout == "again\n"
    template = "{{json .HostConfig.RestartPolicy}}"
    assert json.loads(box.run("inspect", "-f", template, "again").stdout) == {
        "Name": "on-failure", "MaximumRetryCount": 3,
    }  # fmt: skip
    up(box, "gone", TALKS, "--rm")
    assert "AutoRemove is enabled" in refused(box, "update", "--restart", "always", "gone")
    assert "at the same time" in refused(box, "update", "-m", "64m", "again")


def test_update_of_limits(box: Firkin) -> None:
    """In the groups of the container that runs, in inspect, after a restart by its monitor, and after the next start."""
    if box.account.uid or read_cgroups(uid=0).version != 1:
        pytest.skip("needs root, and control groups of version 1")
    up(box, "full", "dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; echo full; exec sleep 1000",
       "-m", "64m", "--memory-swap", "128m", "--shm-size", "100m")  # fmt: skip
    files = ("memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max")
    template = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}"

    def values() -> list[str]:
        words = ("cat", *(f"/sys/fs/cgroup/{file}" for file in files))
        return box.run("exec", "full", *words).stdout.split()

    def told() -> str:
        return box.run("inspect", "-f", template, "full").stdout.strip()

    written(box, "full", "full")
    before = values()
    assert before[:3] == [str(64 << 20), str(128 << 20), "-1"]
    said = refused(box, "update", "--cpus", "0.5", "-m", "16m", "full")
    assert re.search(r"unable to set memory limit to 16777216 \(current usage: \d+, peak usage: \d+\)", said), said
    assert values() == before and told() == f"{64 << 20} {128 << 20} 0 no"  # nothing of it

    words = ("-m", "200m", "--memory-swap", "300m", "--cpus", "0.5", "--pids-limit", "50", "--restart", "always")
    box.run("update", *words, "full")
    after = [str(200 << 20), str(300 << 20), "50000", "50"]
    assert values() == after and told() == f"{200 << 20} {300 << 20} 500000000 always"
    box.run("restart", "-t", "0", "full")
    assert values() == after
    box.run("stop", "-t", "0", "full")
    box.run("start", "full")
    assert values() == after
    box.run("update", "--pids-limit", "-1", "full")
    assert values() == [*after[:3], "max"]
