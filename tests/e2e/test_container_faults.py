"""Containers after accidents: full disks, deleted files, kill -9, many commands at once. As root and as a user."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
from support.accounts import Firkin, installation, make_firkin, remove_with_subordinate_ids
from support.containers import make_box, remove_containers
from support.marks import ROOT_AND_USER
from support.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.userns, pytest.mark.faults]

NONE = ("--network", "none")
SLEEP = ("box:1", "sleep", "1000")
SAYS: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.fixture
def calm(shared_box: Firkin) -> Iterator[Firkin]:
    """A store in which nothing is left of containers and volumes in the end, whatever the test does."""
    yield shared_box
    remove_containers(shared_box)
    assert_nothing_left(shared_box)


@pytest.fixture(params=ROOT_AND_USER)
def small_disk(request: pytest.FixtureRequest, scratch: Path, registry: Registry) -> Iterator[Firkin]:
    """The same with the store on a disk of 64 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    firkin = make_firkin(request.param, scratch / "firkin", registry.url)
    firkin.directory("store")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", firkin.store], check=True)
    firkin.account.give(firkin.store)
    try:
        make_box(firkin)
        yield firkin
        remove_containers(firkin)
    finally:
        subprocess.run(["umount", firkin.store], check=True)


def assert_nothing_left(box: Firkin) -> None:
    box.run("create", "--name", "sweeper", *NONE, *SLEEP)  # it finishes what was begun
    box.run("rm", "sweeper")
    containers = box.store / "containers"
    assert {*os.listdir(containers)} == {"lock", "names"}
    assert os.listdir(containers / "names") == []
    assert box.run("volume", "ls", "-q").stdout == ""
    volumes = box.store / "volumes"
    assert not volumes.exists() or {*os.listdir(volumes)} <= {".lock"}
    assert f"{box.store}/" not in Path("/proc/self/mountinfo").read_text()


def run(box: Firkin, name: str, *words: str) -> dict[str, Any]:
    """Run a container in the background and return its state."""
    box.run("run", "-d", "--name", name, *NONE, *(words or SLEEP))
    return state(box, name)


def document(box: Firkin, name: str) -> dict[str, Any]:
    (found,) = json.loads(box.run("inspect", name).stdout)
    assert isinstance(found, dict)
    return found


def state(box: Firkin, name: str) -> dict[str, Any]:
    found = document(box, name)["State"]
    assert isinstance(found, dict)
    return found


def place(box: Firkin, name: str) -> Path:
    return box.store / "containers" / document(box, name)["Id"]


def monitor(box: Firkin, name: str) -> int:
    return int(json.loads((place(box, name) / "state.json").read_bytes())["monitor"])


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while Path(f"/proc/{pid}/stat").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.02)


def runtime(box: Firkin) -> Path:
    """Return the directory that has the sockets of a store's containers."""
    from firkin.containers.home.home import Home

    if box.account.is_root:
        return Path(Home(str(box.store)).runtime_base)
    base = Home(str(box.store), str(box.place / "run")).runtime_base
    return box.place / "run" / "firkin" / Path(base).name


# Many at once.


def test_one_of_twenty_runs_gets_the_name(calm: Firkin) -> None:
    words = ("run", "-d", "--name", "one", *NONE, "-v", "/data", *SLEEP)
    fronts = [calm.popen(*words, **SAYS) for _ in range(20)]
    said = [(*front.communicate(timeout=120), front.returncode) for front in fronts]
    assert sorted(code for _, _, code in said) == [0] + 19 * [125]
    (id,) = [out.strip() for out, _, code in said if not code]
    assert all(f'"/one" is already in use by container "{id}"' in text for _, text, code in said if code)
    assert calm.run("ps", "-q", "--no-trunc").stdout.split() == [id]


def test_fifty_containers_at_once(calm: Firkin) -> None:
    fronts = [calm.popen("run", "-d", *NONE, *SLEEP, **SAYS) for _ in range(50)]
    said = [(*front.communicate(timeout=200), front.returncode) for front in fronts]
    assert [(text, code) for _, text, code in said if code] == []
    ids = [out.strip() for out, _, _ in said]
    assert {*calm.run("ps", "-q", "--no-trunc").stdout.split()} == {*ids}
    assert sorted(calm.run("rm", "-f", *ids).stdout.split()) == sorted(ids)


PAIRS = {
    "start": ("start", "one"),
    "stop": ("stop", "-t", "0", "one"),
    "rm": ("rm", "-f", "one"),
    "rename": ("rename", "one", "two"),
    "exec": ("exec", "one", "true"),
}


@pytest.mark.parametrize("pair", [*combinations_with_replacement(PAIRS, 2)], ids="-".join)
def test_two_commands_at_once(calm: Firkin, pair: tuple[str, str]) -> None:
    for count in range(int(os.environ.get("FIRKIN_TORTURE_ROUNDS", "1"))):
        run(calm, "one")
        if count % 2:
            calm.run("stop", "-t", "0", "one")
        fronts = [calm.popen(*PAIRS[verb], **SAYS) for verb in pair]
        said = [(*front.communicate(timeout=60), front.returncode) for front in fronts]
        assert all(code in (0, 1) for _, _, code in said), said
        assert all("Traceback" not in text and "bug" not in text for _, text, _ in said), said
        names = calm.run("ps", "-a", "--format", "{{.Names}}").stdout.split()
        assert names in ([], ["one"], ["two"]) and (names == []) >= ("rm" in pair and "rename" not in pair)
        for name in names:
            found = state(calm, name)
            assert Path(f"/proc/{found['Pid']}").exists() if found["Running"] else found["Pid"] == 0
            calm.run("rm", "-f", name)


def test_exec_in_a_container_that_has_just_ended(calm: Firkin) -> None:
    """Its monitor does not know it yet, and the kernel lets nobody into the namespaces any more."""
    first = run(calm, "one")["Pid"]
    keeper = monitor(calm, "one")
    os.kill(keeper, signal.SIGSTOP)
    try:
        front = calm.popen("exec", "one", "true", **SAYS)
        time.sleep(1)  # for its request; a later one finds the same
        os.kill(first, signal.SIGKILL)
    finally:
        os.kill(keeper, signal.SIGCONT)
    _, text = front.communicate(timeout=60)
    assert front.returncode == 1
    assert re.search(r"container [0-9a-f]{64} is not running", text)


def test_a_removal_waits_for_whoever_holds_the_names(calm: Firkin) -> None:
    calm.run("run", "-d", "--rm", "--name", "one", *NONE, *SLEEP)
    there, keeper = place(calm, "one"), monitor(calm, "one")
    with open(calm.store / "containers/lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        calm.run("kill", "one")
        time.sleep(0.3)
        assert there.exists()
    wait_until_gone(keeper)
    assert not there.exists()
    events = calm.run("events", "--since", "1h", "--until", "0s", "--filter", f"container={there.name}").stdout
    assert " container destroy " in events


# kill -9 in the middle of a command.

VICTIMS = {
    "create": ("create", "--name", "two", *NONE, "-v", "/data", *SLEEP),
    "rm": ("rm", "-v", "one"),
    "volume rm": ("volume", "rm", "loose"),
    "container prune": ("container", "prune", "-f"),
    "volume prune": ("volume", "prune", "-af"),
    "commit": ("commit", "one", "made:1"),
    "cp": ("cp", "one:/bin", "."),
    "cp in": ("cp", "/etc/services", "one:/etc/services"),
    "rename": ("rename", "one", "two"),
}


@pytest.mark.parametrize("verb", VICTIMS)
def test_a_command_killed_at_many_points(calm: Firkin, verb: str) -> None:
    points = int(os.environ.get("FIRKIN_TORTURE_ROUNDS", "3"))
    for point in range(points):
        calm.run("create", "--name", "one", *NONE, "-v", "/data", *SLEEP)
        calm.run("volume", "create", "loose")
        work = calm.directory(f"{verb}-{point}")
        began = time.monotonic()
        front = calm.popen(*VICTIMS[verb], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.05 + 0.25 * point / points)
        front.send_signal(signal.SIGKILL)
        front.wait()
        assert time.monotonic() - began < 5
        names = calm.run("ps", "-a", "--format", "{{.Names}}").stdout.split()
        assert len(names) == len({*names}) and {*names} <= {"one", "two"}
        for name in names:
            found = document(calm, name)
            assert (found["Name"], found["State"]["Status"]) == (f"/{name}", "created")
        assert ("one" in names) or verb in ("rm", "container prune", "rename")
        if names:
            calm.run("rm", "-v", *names)
        calm.run("volume", "prune", "-af")
        if calm.run("images", "-q", "made:1").stdout:
            calm.run("rmi", "made:1")
        shutil.rmtree(work)


# What a power failure leaves.


@pytest.mark.parametrize("rest", [b"", b'{"version":1,"running":tr', b"\0" * 300], ids=["empty", "half", "zeros"])
@pytest.mark.parametrize("name", ["state.json", "config.json"])
def test_a_damaged_document_can_be_removed(calm: Firkin, name: str, rest: bytes) -> None:
    calm.run("create", "--name", "one", *NONE, "-v", "/data", *SLEEP)
    id = document(calm, "one")["Id"]
    (calm.store / "containers" / id / name).write_bytes(rest)
    calm.run("create", "--name", "other", *NONE, *SLEEP)
    calm.run("ps", "-a")
    calm.run("rm", "-f", "-v", id, check=False)
    calm.run("create", "--name", "one", *NONE, *SLEEP)
    calm.run("rm", "one", "other")
    calm.run("volume", "prune", "-af")
    assert_nothing_left(calm)


def test_a_container_without_documents_is_gone_and_its_name_free(calm: Firkin) -> None:
    for missing in ("state.json", "config.json", "lock"):
        calm.run("create", "--name", "one", *NONE, *SLEEP)
        (place(calm, "one") / missing).unlink()
        calm.run("ps", "-a")
        calm.run("rm", "-f", "one", check=False)
        calm.run("create", "--name", "one", *NONE, *SLEEP)
        calm.run("rm", "one")
        assert_nothing_left(calm)


def test_names_of_nobody_are_free(calm: Firkin) -> None:
    names = calm.store / "containers" / "names"
    calm.run("create", "--name", "zero", *NONE, *SLEEP)
    for name, target in (("one", "a" * 64), ("two", "nonsense"), ("three", document(calm, "zero")["Id"])):
        (names / name).symlink_to(target)
        assert "No such" in calm.run("inspect", name, check=False).stderr
        calm.run("create", "--name", name, *NONE, *SLEEP)
        calm.run("rm", name)


def test_what_was_running_when_the_machine_went_down_runs_no_more(calm: Firkin) -> None:
    run(calm, "one", "--restart", "always", *SLEEP)
    path = place(calm, "one") / "state.json"
    before = json.loads(path.read_bytes())
    os.kill(before["monitor"], signal.SIGKILL)
    wait_until_gone(before["pid"])
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        ticks = int(Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19])
        path.write_text(json.dumps({**before, "pid": stranger.pid, "started_ticks": ticks, "boot": "another"}))
        found = state(calm, "one")
        assert (found["Status"], found["ExitCode"], found["Running"]) == ("exited", 255, False)
        assert stranger.poll() is None, "its pid is another process's now"
    finally:
        stranger.kill()
        stranger.wait()
    calm.run("start", "one")
    assert state(calm, "one")["Running"]


# Files deleted under what runs.


def test_a_store_that_is_deleted_takes_its_containers_along(box: Firkin) -> None:
    found = [run(box, name) for name in ("one", "two")]
    monitors = [monitor(box, name) for name in ("one", "two")]
    box.run("pause", "two")
    remove_with_subordinate_ids(box.store)
    for pid in (*monitors, *(each["Pid"] for each in found)):
        wait_until_gone(pid)
    assert box.run("ps", "-aq").stdout == ""


def test_a_runtime_directory_that_was_cleaned_is_made_again(calm: Firkin) -> None:
    run(calm, "one")
    pid = state(calm, "one")["Pid"]
    for verb in (("exec", "one", "true"), ("pause", "one"), ("unpause", "one"), ("stop", "-t", "0", "one")):
        shutil.rmtree(runtime(calm))
        assert calm.run("ps", "--format", "{{.Names}}").stdout == "one\n"
        calm.run(*verb)
    wait_until_gone(pid)
    run(calm, "two")
    shutil.rmtree(runtime(calm))
    calm.run("rm", "-f", "one", "two")
    assert calm.run("ps", "-aq").stdout == ""


def test_another_runtime_directory_reaches_the_same_monitor(calm: Firkin) -> None:
    run(calm, "one")
    elsewhere = {"XDG_RUNTIME_DIR": str(calm.directory("elsewhere"))}
    assert calm.run("exec", "one", "echo", "hello", env=elsewhere).stdout == "hello\n"
    calm.run("rm", "-f", "one", env=elsewhere)
    shutil.rmtree(calm.place / "elsewhere")


def test_a_monitor_outlives_the_package_that_started_it(calm: Firkin) -> None:
    copy = calm.place / "copy"
    installed = installation(calm.account.uid)
    source = Path(installed.search[0]) if installed.search else Path(__file__).parents[2] / "src"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    calm.account.give(copy)
    env = {"PYTHONPATH": ":".join((str(copy), *installed.search[1:]))}
    health = ("--health-cmd", "test -e /well", "--health-interval", "200ms", "--restart", "always")
    script = "echo begun; until rm /end 2>/dev/null; do sleep 0.1; done; exit 3"
    calm.run("run", "-d", "--name", "one", *NONE, *health, "box:1", "sh", "-c", script, env=env)
    calm.run("run", "-d", "--rm", "--name", "brief", *NONE, "-v", "/data", "box:1", "sleep", "1000", env=env)
    shutil.rmtree(copy)
    calm.run("exec", "one", "touch", "/well")
    deadline = time.monotonic() + 20
    while state(calm, "one")["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    calm.run("exec", "one", "touch", "/end")
    while calm.run("logs", "one").stdout != "begun\nbegun\n":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert document(calm, "one")["RestartCount"] == 1
    calm.run("stop", "-t", "0", "brief")
    calm.run("wait", "brief", check=False)
    assert calm.run("ps", "-a", "--format", "{{.Names}}").stdout == "one\n"
    assert calm.run("volume", "ls", "-q").stdout == ""


# Full disks.


def fill(box: Firkin) -> Path:
    """Leave no byte on the disk of a store."""
    path = box.store / "ballast"
    for size in (1 << 20, 1 << 12, 1):
        with path.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return path


def test_a_disk_that_is_full_while_a_container_logs(small_disk: Firkin) -> None:
    small_disk.run("create", "--name", "one", *NONE, "box:1", "sh", "-c", "until [ -e /go ]; do sleep 0.05; done; seq 99999; exit 7")
    small_disk.run("start", "one")
    small_disk.run("exec", "one", "touch", "/go.soon")
    ballast = fill(small_disk)
    small_disk.run("exec", "one", "mv", "/go.soon", "/go")
    assert small_disk.run("wait", "one").stdout == "7\n"
    assert (state(small_disk, "one")["Running"], state(small_disk, "one")["ExitCode"]) == (False, 7)
    small_disk.run("logs", "one")
    ballast.unlink()
    small_disk.run("start", "one")
    assert small_disk.run("wait", "one").stdout == "7\n"
    assert small_disk.run("logs", "--tail", "1", "one").stdout == "99999\n"


def test_a_full_disk_refuses_new_containers_and_lets_old_ones_go(small_disk: Firkin) -> None:
    run(small_disk, "one")
    ballast = fill(small_disk)
    refused = small_disk.run("create", "--name", "two", *NONE, "-v", "/data", *SLEEP, check=False)
    assert refused.returncode in (1, 125) and "no space left" in refused.stderr.lower(), refused.stderr
    assert small_disk.run("ps", "-a", "--format", "{{.Names}}").stdout == "one\n"
    assert small_disk.run("volume", "ls", "-q").stdout == ""
    small_disk.run("rm", "-f", "one")
    ballast.unlink()
    assert_nothing_left(small_disk)


def test_a_container_that_fills_the_disk(small_disk: Firkin) -> None:
    """Other containers, their records, logs and events survive, and commands say what is missing."""
    run(small_disk, "other", "box:1", "sh", "-c", "while :; do date; sleep 0.1; done")
    fills = small_disk.run("run", "--name", "fills", *NONE, "box:1", "sh", "-c", "cat /dev/zero >/a; cat /dev/zero >/b; exit 3", check=False)
    assert fills.returncode == 3 and "No space left on device" in fills.stderr
    before = monitor(small_disk, "other")
    assert small_disk.run("exec", "other", "echo", "alive").stdout == "alive\n"
    refused = small_disk.run("create", *NONE, *SLEEP, check=False)
    assert refused.returncode == 1 and "no space left" in refused.stderr.lower() and "hint: free some space" in refused.stderr, refused.stderr
    names = small_disk.run("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    assert sorted(names) == ["fills exited", "other running"]
    assert state(small_disk, "fills")["ExitCode"] == 3
    small_disk.run("stop", "-t", "0", "other")
    assert (state(small_disk, "other")["Running"], state(small_disk, "other")["ExitCode"]) == (False, 137)
    small_disk.run("rm", "fills")
    small_disk.run("start", "other")
    assert monitor(small_disk, "other") != before and state(small_disk, "other")["Running"]
    assert "UTC" in small_disk.run("logs", "--tail", "1", "other").stdout
    told = small_disk.run("events", "--since", "0", "--until", str(int(time.time()) + 1), "--format", "{{.Action}} {{.Actor.Attributes.name}}").stdout
    assert told.splitlines().index("create other") < told.splitlines().index("start other") and "destroy fills" in told
