"""What a command leaves behind when it has killed the process that was to end it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firkin.errors import HostError
from firkin.sandbox.process import _understand
from firkin.sandbox.strays import no_strays

# A process of its own session that orphans itself, and says its number.
STRAY = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(300)
    time.sleep(300)
time.sleep(0.2)
os._exit(0)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start() -> int:
    first = subprocess.Popen([sys.executable, "-c", STRAY], stdout=subprocess.PIPE)
    assert first.stdout is not None
    pid = int(first.stdout.readline())
    first.wait()
    return pid


def test_strays_are_ended_and_others_are_not() -> None:
    mine = subprocess.Popen(["sleep", "300"])
    try:
        with pytest.raises(HostError), no_strays():
            stray = start()
            assert is_running(stray)
            raise HostError("it died", code="sandbox-died")
        assert not is_running(stray)
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


def test_nothing_is_ended_when_the_sandbox_did_not_die() -> None:
    with pytest.raises(HostError), no_strays():
        stray = start()
        raise HostError("something else", code="sandbox-setup")
    assert is_running(stray)
    with pytest.raises(HostError), no_strays():
        os.kill(stray, 9)
        raise HostError("it died", code="sandbox-died")
    for _ in range(50):
        if not is_running(stray):
            break
        time.sleep(0.1)
    assert not is_running(stray)


def test_an_end_counts_only_with_everything_undone() -> None:
    assert _understand(b"exit\0000\nundone\n", False).exit_code == 0
    for status in (b"", b"exit\0000\n", b"signal\0009\n", b"undone\n"):
        with pytest.raises(HostError) as died:
            _understand(status, False)
        assert died.value.code == "sandbox-died"
        assert _understand(status, True).cancelled
