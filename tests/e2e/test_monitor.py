"""The monitor beside a container: streams, ends, stops, policies. Its commands here are ordinary processes."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.monitors import Watched, text_of

from firkin.containers.link import monitoring
from firkin.containers.link.connection import MonitorGone
from firkin.containers.monitor.wire import STDIN, STDIN_END
from firkin.errors import ContainerError

ATTACH = {"stdin": True, "stdout": True, "stderr": True}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "c"
    faults = tmp_path / "c" / "monitor.log"
    assert not faults.exists() or faults.read_text() == ""


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    assert select.select([pidfd], [], [], 10)[0], f"{pid} still runs"
    os.close(pidfd)


def test_all_output_of_a_fast_command_arrives_before_its_end(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "echo out; echo err >&2; exit 3")
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    assert text_of(watched.link) == (b"out\n", b"err\n", {"notice": "exit", "status": 3, "error": ""})
    assert sorted(watched.log()) == [("stderr", "err\n"), ("stdout", "out\n")]
    state = watched.state()
    assert (state.running, state.exit_code, state.pid) == (False, 3, 0)
    assert watched.events() == ["attach", "start", "die"]


def test_a_command_that_is_killed_has_128_and_the_signal(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "kill -USR1 $$")
    other = watched.connect()
    other.request("wait", condition="next-exit")
    watched.link.ask("start")
    assert other.answer()["status"] == 128 + signal.SIGUSR1


def test_a_command_that_cannot_be_found_says_so_and_leaves_the_container_created(home: Path) -> None:
    watched = Watched(home, "no-such-program")
    with pytest.raises(ContainerError, match=r"executable file not found in \$PATH") as caught:
        watched.link.ask("start")
    assert caught.value.exit_code == 127
    state = watched.state()
    assert (state.exit_code, state.started_at) == (127, "0001-01-01T00:00:00Z")
    assert "executable file not found" in state.error


def test_half_close_ends_the_input_of_one_client_only_with_stdin_once(home: Path) -> None:
    watched = Watched(home, "cat", open_stdin=True, stdin_once=True)
    watched.link.ask("attach", **ATTACH)
    watched.link.send(STDIN, b"before the start\n")
    watched.link.ask("start")
    watched.link.send(STDIN, b"x" * 50000)
    watched.link.send(STDIN_END, b"")
    assert text_of(watched.link)[0] == b"before the start\n" + b"x" * 50000


def test_without_stdin_once_the_next_client_goes_on(home: Path) -> None:
    watched = Watched(home, "head", "-n", "2", open_stdin=True)
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    watched.link.send(STDIN, b"one\n")
    watched.link.send(STDIN_END, b"")
    second = watched.connect()
    second.ask("attach", **ATTACH)
    second.send(STDIN, b"two\n")
    assert text_of(watched.link)[0] == b"one\ntwo\n"
    assert text_of(second)[2]["status"] == 0


def test_more_input_than_the_command_reads_at_once_is_kept_back(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "sleep 0.3; wc -c", open_stdin=True, stdin_once=True)
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    for _ in range(64):
        watched.link.send(STDIN, b"y" * (1 << 16))
    watched.link.send(STDIN_END, b"")
    assert int(text_of(watched.link)[0]) == 64 << 16


def test_twenty_clients_all_get_everything(home: Path) -> None:
    watched = Watched(home, "seq", "30000")
    links = [watched.link, *(watched.connect() for _ in range(19))]
    for link in links:
        link.ask("attach", **ATTACH)
    with ThreadPoolExecutor(20) as pool:
        reading = [pool.submit(text_of, link) for link in links[1:]]
        watched.link.ask("start")
        texts = [text_of(watched.link), *(each.result() for each in reading)]
    wanted = "".join(f"{number}\n" for number in range(1, 30001)).encode()
    assert [text[0] == wanted for text in texts] == [True] * 20


def test_a_client_that_does_not_read_holds_the_command_back_until_it_goes(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "head -c 20000000 /dev/zero; touch done", log={"type": "none"})
    lazy = watched.connect()
    lazy.ask("attach", **ATTACH)
    pid = watched.link.ask("start")["pid"]
    done = Path(f"/proc/{pid}/cwd").resolve() / "done"
    time.sleep(0.5)
    assert not done.exists()
    lazy.close()
    assert watched.link.ask("wait", condition="next-exit")["status"] == 0
    done.unlink()


def test_clients_that_vanish_end_nothing(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "sleep 0.5; echo end", open_stdin=True)
    for _ in range(5):
        link = watched.connect()
        link.ask("attach", **ATTACH)
        link.send(STDIN, b"x")
        link.close()
    watched.link.ask("start")
    assert watched.link.ask("wait", condition="next-exit")["status"] == 0
    assert ("stdout", "end\n") in watched.log()


def test_a_terminal_has_the_size_that_came_before_it(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "stty size; read x; stty size", tty=True, open_stdin=True)
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("resize", rows=33, columns=99)
    watched.link.ask("start")
    seen = b""
    while not seen.endswith(b"\r\n"):  # a terminal gives what it has, maybe half a line
        found = watched.link.read()
        assert found is not None
        seen += found[1]
    assert seen == b"33 99\r\n"
    watched.link.ask("resize", rows=10, columns=20)
    watched.link.send(STDIN, b"\n")
    output, error, _ = text_of(watched.link)
    assert output == b"\r\n10 20\r\n"
    assert error == b""
    assert {stream for stream, _ in watched.log()} == {"stdout"}


def test_stop_asks_and_then_kills(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    assert watched.link.read() == (1, b"ready\n")
    begin = time.monotonic()
    assert watched.connect().ask("stop", timeout=1)["already"] is False
    assert 1 <= time.monotonic() - begin < 5
    assert text_of(watched.link)[2]["status"] == 137
    assert watched.events() == ["attach", "start", "kill", "kill", "stop", "die"]
    assert watched.state().by_hand


def test_an_orphan_that_holds_the_output_does_not_keep_the_end_back_for_ever(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "sleep 8 & echo said; exit 0")
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    begin = time.monotonic()
    assert text_of(watched.link)[0] == b"said\n"
    assert 1.5 < time.monotonic() - begin < 5


def test_a_policy_restarts_with_waits_that_double(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "exit 7", restart={"name": "on-failure", "most": 3})
    begin = time.monotonic()
    watched.link.ask("start")
    with pytest.raises(MonitorGone):
        while True:
            assert watched.link.ask("wait", condition="next-exit")["status"] == 7
    assert 0.7 < time.monotonic() - begin < 5
    assert watched.events() == ["start", "die"] * 4
    state = watched.state()
    assert (state.running, state.restarting, state.restart_count, state.exit_code) == (False, False, 3, 7)


def test_after_a_restart_the_input_is_open_again(home: Path) -> None:
    watched = Watched(home, "head", "-n", "1", open_stdin=True, stdin_once=True, restart={"name": "always", "most": 0})
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    watched.link.send(STDIN, b"one\n")
    assert text_of(watched.link)[0] == b"one\n"
    second = watched.connect()
    second.ask("attach", **ATTACH)
    second.send(STDIN, b"two\n")
    assert text_of(second)[0] == b"two\n"
    watched.connect().ask("stop")


def test_stop_ends_a_back_off(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "exit 1", restart={"name": "always", "most": 0})
    watched.link.ask("start")
    for _ in range(3):
        watched.link.ask("wait", condition="next-exit")
    assert watched.state().restarting
    watched.link.ask("stop")
    assert watched.events()[-1] == "stop"
    state = watched.state()
    assert (state.running, state.restarting) == (False, False)


@pytest.mark.parametrize(("ask", "running", "told"), [
    ({"op": "stop", "timeout": 0}, False, ["start", "kill", "kill", "stop", "die"]),
    ({"op": "signal", "number": 9}, False, ["start", "kill", "die"]),
    ({"op": "restart", "timeout": 0}, True, ["start", "kill", "kill", "stop", "die", "start", "restart"]),
])  # fmt: skip
def test_what_is_asked_while_the_command_starts_is_done_when_it_runs(
    home: Path, ask: dict[str, Any], running: bool, told: list[str]
) -> None:
    """Not lost: else a container that fails again and again could not be stopped now and then."""
    watched = Watched(home, "sleep", "30")
    other = watched.connect()
    watched.link.request("start")
    other.request(**ask)
    watched.link.answer()
    other.answer()
    assert watched.state().running is running
    assert watched.events() == told
    if running:
        other.ask("signal", number=9)


def test_restart_stops_and_starts_once(home: Path) -> None:
    watched = Watched(home, "sleep", "30")
    first = watched.link.ask("start")["pid"]
    watched.link.ask("restart")
    assert watched.state().pid not in (0, first)
    assert watched.events() == ["start", "kill", "stop", "die", "start", "restart"]
    watched.link.ask("signal", number=9)


def test_a_signal_that_is_no_stop_signal_leaves_the_policy_alone(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done", own_stop_signal=True,
                      restart={"name": "always", "most": 0})  # fmt: skip
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    assert watched.link.read() == (1, b"up\n")
    other = watched.connect()
    other.request("wait", condition="next-exit")
    watched.link.ask("signal", number=signal.SIGUSR1)
    assert other.answer()["status"] == 5
    assert watched.state().restarting
    other.ask("signal", number=9)


def test_wait_for_the_next_exit_waits_although_nothing_runs(home: Path) -> None:
    watched = Watched(home, "true")
    assert watched.link.ask("wait", condition="not-running")["status"] == 0
    other = watched.connect()
    other.request("wait", condition="next-exit")
    watched.link.ask("start")
    assert other.answer()["status"] == 0


def test_the_command_dies_with_its_monitor(home: Path) -> None:
    watched = Watched(home, "sleep", "60")
    command = watched.link.ask("start")["pid"]
    os.kill(watched.state().monitor, signal.SIGKILL)
    wait_until_gone(command)
    assert watched.state().running  # whoever finds this mends it


def test_a_monitor_that_is_not_told_to_start_ends_with_its_last_client(home: Path) -> None:
    watched = Watched(home, "true")
    assert (home / "socket").exists()
    second = watched.connect()
    watched.link.close()
    assert second.ask("hello")["phase"] == "new"
    second.close()
    deadline = time.monotonic() + 10
    while (home / "socket").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not (home / "socket").exists()


def test_there_is_one_monitor_for_a_container(home: Path) -> None:
    first = Watched(home, "sleep", "9")
    with pytest.raises(ContainerError, match="has a monitor already"):
        Watched(home, "sleep", "9")
    first.link.ask("start")
    first.link.ask("signal", number=9)


def test_whoever_learns_of_the_end_finds_no_monitor_any_more(home: Path) -> None:
    for _ in range(5):
        watched = Watched(home, "true")
        watched.link.ask("attach", **ATTACH)
        watched.link.ask("start")
        text_of(watched.link)
        assert not (home / "socket").exists()


def test_requests_that_make_no_sense_are_refused_and_nothing_else(home: Path) -> None:
    watched = Watched(home, "sleep", "9")
    watched.link.ask("start")
    with pytest.raises(ContainerError, match="does not know"):
        watched.link.ask("dance")
    with pytest.raises(ContainerError, match="invalid request"):
        watched.link.ask("signal", number="many")
    watched.link.send(16, b"[]")
    with pytest.raises(ContainerError, match="invalid request"):
        watched.link.answer()
    watched.link.ask("signal", number=9)


def log_options(home: Path, **changes: object) -> dict[str, object]:
    return {"type": "json-file", "path": str(home / "log.json"), "max_size": 0, "max_file": 1, "compress": False,
            "attrs": {}, "buffer": 0, **changes}  # fmt: skip


def wait_until_compressed(home: Path) -> None:
    deadline = time.monotonic() + 30
    while [path for path in home.glob("log.json.*") if path.suffix != ".gz"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_logs_are_rotated_and_old_ones_compressed(home: Path) -> None:
    watched = Watched(home, "seq", "100000", log=log_options(home, max_size=500_000, max_file=3, compress=True))
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    text_of(watched.link)
    wait_until_compressed(home)
    names = sorted(path.name for path in home.glob("log.json*"))
    assert names == ["log.json", "log.json.1.gz", "log.json.2.gz"]
    last = [json.loads(line)["log"] for line in (home / "log.json").read_text().splitlines()]
    with gzip.open(home / "log.json.1.gz", "rt") as file:
        before = [json.loads(line)["log"] for line in file]
    assert last[-1] == "100000\n"
    assert int(last[0]) == int(before[-1]) + 1
    assert (home / "log.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("buffer", [0, 1 << 20], ids=["blocking", "non-blocking"])
def test_a_log_that_is_written_faster_than_compressed_is_bounded(home: Path, buffer: int) -> None:
    """No file is larger than its limit and what one write brings, and in the end the older ones are compressed."""
    options = log_options(home, max_size=200_000, max_file=4, compress=True, buffer=buffer)
    watched = Watched(home, "seq", "150000", log=options)
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    text_of(watched.link)
    sizes = {path.name: path.stat().st_size for path in home.glob("log.json*")}
    assert max(sizes.values()) < 3_000_000, sizes
    assert not [name for name in sizes if name.startswith(("log.json.4", "log.json.5"))], sizes
    wait_until_compressed(home)
    texts = [path.read_text() for path in (home / "log.json",)]
    for number in (1, 2, 3):
        with gzip.open(home / f"log.json.{number}.gz", "rt") as file:
            texts.insert(0, file.read())
    numbers = [int(json.loads(line)["log"]) for line in "".join(texts).splitlines()]
    assert numbers == sorted(numbers)
    if not buffer:
        assert numbers == list(range(numbers[0], 150_001))


def test_one_file_begins_anew_when_it_is_full(home: Path) -> None:
    watched = Watched(home, "seq", "50000", log=log_options(home, max_size=100_000))
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    text_of(watched.link)
    assert (home / "log.json").stat().st_size < 6_000_000
    assert watched.log()[-1] == ("stdout", "50000\n")


def test_a_log_that_does_not_block_loses_nothing_when_it_is_fast_enough(home: Path) -> None:
    watched = Watched(home, "seq", "1000", log=log_options(home, buffer=1 << 20))
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    text_of(watched.link)
    assert [int(text) for _, text in watched.log()] == list(range(1, 1001))


@pytest.mark.root
def test_a_full_disk_stops_neither_the_command_nor_the_monitor(tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", tmp_path / "c"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], check=True)
    try:
        command = "seq 1 9000; read x; seq 9001 9100"
        watched = Watched(home, "sh", "-c", command, open_stdin=True, log=log_options(disk, path=str(disk / "log.json")))
        watched.link.ask("attach", **ATTACH)
        watched.link.ask("start")
        seen = b""
        while not seen.endswith(b"9000\n"):
            found = watched.link.read()
            assert found is not None
            seen += found[1]
        assert "the log cannot be written: [Errno 28]" in watched.faults()
        assert watched.faults().count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        watched.link.send(STDIN, b"\n")
        assert text_of(watched.link)[2]["status"] == 0
        lines = (disk / "log.json").read_bytes().splitlines()
        whole = [json.loads(line)["log"] for line in lines if line.endswith(b"}") and line.startswith(b"{")]
        assert whole[-1] == "9100\n"
        assert len(lines) - len(whole) <= 1
    finally:
        subprocess.run(["umount", disk], check=True)


def test_term_stops_the_command_as_a_machine_does_that_goes_down(home: Path) -> None:
    watched = Watched(home, "sleep", "60", restart={"name": "always", "most": 0})
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    os.kill(watched.state().monitor, signal.SIGTERM)
    assert text_of(watched.link)[2]["status"] == 143
    assert not watched.state().by_hand


def test_a_container_whose_files_were_deleted_ends(home: Path) -> None:
    watched = Watched(home, "yes", restart={"name": "always", "most": 0})
    watched.link.ask("start")
    shutil.rmtree(home)
    while watched.link.read() is not None:
        pass
    assert not home.exists()


def test_a_file_deleted_in_its_directory_is_no_reason_to_end(home: Path) -> None:
    watched = Watched(home, "sh", "-c", "read x", open_stdin=True)
    watched.link.ask("start")
    (home / "state.json").unlink()
    (home / "log.json").touch()
    (home / "log.json").unlink()
    watched.link.ask("stop", timeout=0)
    assert watched.state().exit_code == 143


def test_who_waits_for_a_container_learns_of_its_removal(home: Path) -> None:
    watched = Watched(home, "true")
    waiting = watched.connect()
    waiting.ask("hello")
    waiting.request("wait", condition="removed")
    time.sleep(0.1)
    watched.link.ask("removed")
    assert waiting.answer()["status"] == 0
    assert not (home / "socket").exists()


def test_a_probe_that_succeeds_or_fails_changes_the_health(home: Path) -> None:
    sick = home.parent / "sick"
    health = {"test": ["sh", "-c", f"echo looked; test ! -e {sick}"], "interval": 0.1, "timeout": 5.0, "start_period": 0.0,
              "start_interval": 1.0, "retries": 2, "on_failure": "kill"}  # fmt: skip
    watched = Watched(home, "sleep", "60", health=health)
    watched.link.ask("start")
    ended = watched.connect()
    ended.request("wait", condition="next-exit")
    wait_for_health(watched, "healthy")
    sick.touch()
    assert ended.answer()["status"] == 137
    events = [each for each in watched.events() if not each.startswith("exec_")]
    assert events == ["start", "health_status: healthy", "health_status: unhealthy", "kill", "die"]
    health_now = watched.state().health
    assert health_now is not None
    assert (health_now.status, len(health_now.log) <= 5) == ("unhealthy", True)
    assert health_now.log[0].output == "looked\n"


def test_a_probe_that_takes_too_long_is_killed(home: Path) -> None:
    health = {"test": ["sh", "-c", "echo begun; sleep 60"], "interval": 0.1, "timeout": 0.2, "start_period": 0.0,
              "start_interval": 1.0, "retries": 1, "on_failure": ""}  # fmt: skip
    watched = Watched(home, "sleep", "60", health=health)
    watched.link.ask("start")
    wait_for_health(watched, "unhealthy")
    now = watched.state().health
    assert now is not None
    assert (now.log[0].exit_code, now.log[0].output) == (-1, "Health check exceeded timeout (200ms): begun\n")
    watched.link.ask("signal", number=9)


def wait_for_health(watched: Watched, wanted: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        health = watched.state().health
        if health is not None and health.status == wanted:
            return
        time.sleep(0.02)
    raise AssertionError(f"not {wanted}: {watched.state()}")


def test_a_second_command_outlives_its_client_and_can_be_looked_at(home: Path) -> None:
    watched = Watched(home, "sleep", "60")
    watched.link.ask("start")
    client = watched.connect()
    said = client.ask("exec", argv=["sh", "-c", "read x; echo $x; exit 4"], stdin=True, stdout=True, stderr=True)
    second = said["exec"]
    assert watched.link.ask("exec-inspect", exec=second)["found"]["running"] is True
    client.send(STDIN, b"hello\n")
    assert text_of(client) == (b"hello\n", b"", {"notice": "exit", "status": 4, "error": ""})
    found = watched.link.ask("exec-inspect", exec=second)["found"]
    assert (found["running"], found["exit_code"]) == (False, 4)

    lonely = watched.connect()
    third = lonely.ask("exec", argv=["sh", "-c", "sleep 0.3; exit 6"], stdout=True)["exec"]
    lonely.close()
    deadline = time.monotonic() + 10
    while watched.link.ask("exec-inspect", exec=third)["found"]["running"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert watched.link.ask("exec-inspect", exec=third)["found"]["exit_code"] == 6
    with pytest.raises(ContainerError, match="already"):
        watched.link.ask("exec-start", exec=third)
    with pytest.raises(ContainerError, match="No such exec instance"):
        watched.link.ask("exec-inspect", exec="f" * 64)
    watched.link.ask("signal", number=9)


def test_second_commands_are_told_of_their_end_when_the_container_ends(home: Path) -> None:
    watched = Watched(home, "sleep", "60")
    watched.link.ask("start")
    client = watched.connect()
    client.ask("exec", argv=["sleep", "50"], stdout=True)
    watched.link.ask("signal", number=9)
    assert text_of(client)[2]["status"] == 137


def test_a_monitor_that_was_spawned_early_is_the_next_one() -> None:
    monitoring.spawn_early()
    early = monitoring._early
    assert early is not None
    assert monitoring.spawn_monitor() is early
    early.close()
    later = monitoring.spawn_monitor()
    assert later is not early
    later.close()
