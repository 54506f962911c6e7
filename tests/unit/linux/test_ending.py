"""Processes that are told to end and cannot: each is a program of its own, as what is tested ends its process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BEGIN = """
import os, signal, sys, time, ctypes
from firkin.linux.ending import at_end, held, watch
signal.signal(signal.SIGTERM, lambda number, frame: print("asked", flush=True))
at_end(lambda: print("first word", flush=True))
forgotten = at_end(lambda: print("forgotten", flush=True))
at_end(lambda: os.stat("/none/there"))
at_end(lambda: print("last word", flush=True))
forgotten()
watch(0.3)
watch(60)
print("ready", flush=True)
"""
STATES = {
    "open": "os.mkfifo(sys.argv[1] + '/fifo'); open(sys.argv[1] + '/fifo')",
    "library": "[ctypes.CDLL(None).poll(None, 0, -1) for _ in range(99)]",
    "sleep": "time.sleep(60)",
}


def start(state: str, place: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", BEGIN + state, str(place)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("state", STATES)
def test_what_cannot_end_is_ended(state: str, tmp_path: Path) -> None:
    process = start(STATES[state], tmp_path)
    time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert 0.25 < time.monotonic() - began < 5
    assert said.replace("asked\n", "") == "last word\nfirst word\n"


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    process = start("time.sleep(60)", tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


def test_work_that_ends_by_itself_is_left_alone(tmp_path: Path) -> None:
    process = start("time.sleep(0.5)\nprint('done')\nsys.exit(5)", tmp_path)
    assert process.communicate(timeout=30)[0] == "done\n"
    assert process.returncode == 5


def test_held_words_are_not_said(tmp_path: Path) -> None:
    process = start("with held():\n    time.sleep(60)", tmp_path)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "asked\n"
    assert process.returncode == 128 + signal.SIGTERM
