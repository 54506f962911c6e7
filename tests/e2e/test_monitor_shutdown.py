"""A monitor that is asked to end, as systemd asks when a machine shuts down or a session ends."""

import os
import signal
import time
from pathlib import Path

import pytest
from support.monitors import Watched, text_of

ATTACH = {"stdin": True, "stdout": True, "stderr": True}


@pytest.mark.parametrize("policy", ["no", "always"])
def test_the_command_gets_its_own_signal_and_nobody_stopped_it_by_hand(tmp_path: Path, policy: str) -> None:
    watched = Watched(tmp_path / "c", "sh", "-c", "trap 'echo bye; exit 3' USR1; echo up; while :; do sleep 0.1; done",
                      stop_signal=int(signal.SIGUSR1), own_stop_signal=True, restart={"name": policy, "most": 0})  # fmt: skip
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    assert watched.link.read() == (1, b"up\n")
    os.kill(watched.state().monitor, signal.SIGTERM)
    assert text_of(watched.link)[::2] == (b"bye\n", {"notice": "exit", "status": 3, "error": ""})
    state = watched.state()
    assert (state.running, state.restarting, state.exit_code, state.by_hand) == (False, False, 3, False)


def test_one_that_does_not_listen_is_killed_in_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "c", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", stop_timeout=1)
    watched.link.ask("attach", **ATTACH)
    watched.link.ask("start")
    assert watched.link.read() == (1, b"up\n")
    os.kill(watched.state().monitor, signal.SIGTERM)
    os.kill(watched.state().monitor, signal.SIGTERM)  # asked twice
    assert text_of(watched.link)[2]["status"] == 137


def test_one_that_waits_for_its_restart_ends(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "c", "false", restart={"name": "always", "most": 0})
    other = watched.connect()
    watched.link.ask("start")
    deadline = time.monotonic() + 10
    while not (watched.state().restarting and watched.state().restart_count > 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    other.request("wait", condition="not-running")
    other.ask("hello", version=1)  # so that it has read the first
    os.kill(watched.state().monitor, signal.SIGTERM)
    assert other.answer()["status"] == 1
    assert not watched.state().running
