"""The monitor beside a container: streams, ends, stops, policies. Its commands here are ordinary processes."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.monitors import Watched, text_of

from firkin.containers.monitoring import STDIN, STDIN_END, MonitorGone
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
    assert watched.link.read() == (1, b"33 99\r\n")
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
