"""Helper programs: what they print, and that none of them outlives its welcome."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from firkin.errors import Cancelled
from firkin.linux.programs import run_program

ECHO = [
    sys.executable,
    "-c",
    "import sys; data = sys.stdin.read(); print(data[::-1]); print(len(data), file=sys.stderr)",
]
# A shell that hears nothing, and a child of its own.
DEAF = ["sh", "-c", "trap '' TERM INT; (trap '' TERM; echo $$ >child; exec sleep 1236) & echo $! >child; sleep 1236; :"]


def alive(place: Path) -> bool:
    try:
        return "1236" in Path(f"/proc/{(place / 'child').read_text().strip()}/cmdline").read_text()
    except OSError:
        return False


def test_input_and_output() -> None:
    done = run_program(ECHO, data=b"abc", timeout_s=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"cba\n", b"3\n")
    assert run_program(["sh", "-c", "exit 7"], timeout_s=30).returncode == 7


def test_more_than_a_pipe_holds_goes_through_a_slow_reader() -> None:
    data = b"x" * 1_000_000
    slow = [sys.executable, "-c", "import sys, time; time.sleep(0.3); print(len(sys.stdin.read()))"]
    assert run_program(slow, data=data, timeout_s=30).stdout == b"1000000\n"


@pytest.mark.parametrize("why", ["time", "cancel"])
def test_it_is_killed_with_its_children(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    if why == "time":
        with pytest.raises(subprocess.TimeoutExpired):
            run_program(DEAF, timeout_s=0.5)
    else:
        with pytest.raises(Cancelled):
            run_program(DEAF, timeout_s=30, cancelled=lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() - began < 10
    deadline = time.monotonic() + 2
    while alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "child").exists() and not alive(tmp_path)
