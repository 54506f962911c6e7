"""Commands by chroot: whose turn it is where nothing keeps them apart."""

import contextlib
import fcntl
import os
import threading
from pathlib import Path

import pytest

from firkin.oci.run import RunSpec
from firkin.sandbox import chroot
from firkin.sandbox.chroot import _wait_for_turn
from firkin.sandbox.result import RunResult


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What is locked: not the machine's root, as others in the run may lock that. This process adopts no orphans."""
    monkeypatch.setattr(chroot, "_LOCKED", str(tmp_path))
    monkeypatch.setattr(chroot, "no_strays", contextlib.nullcontext)
    return tmp_path


def test_one_at_a_time() -> None:
    first = _wait_for_turn(None)
    assert first is not None
    got: list[int | None] = []
    other = threading.Thread(target=lambda: got.append(_wait_for_turn(None)))
    other.start()
    other.join(0.2)
    assert got == []
    os.close(first)
    other.join(10)
    assert got[0] is not None
    os.close(got[0])


@pytest.mark.parametrize(("may_mount", "abi", "apart"), [(True, 6, True), (True, 5, False), (False, 6, False)])
def test_who_can_reach_another_over_a_socket_takes_turns(
    may_mount: bool, abi: int, apart: bool, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(chroot, "has_capability", lambda number: may_mount)
    monkeypatch.setattr(chroot, "landlock_abi", lambda: abi)
    monkeypatch.setattr(chroot.emulated_plan, "prepare", lambda *args, **named: None)
    monkeypatch.setattr(chroot, "prepare_sources", lambda *args: ())
    turns: list[bool] = []

    def run(*args: object, **named: object) -> RunResult:
        waiting = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
            turns.append(False)
        except BlockingIOError:
            turns.append(True)
        finally:
            os.close(waiting)
        return RunResult(0)

    monkeypatch.setattr(chroot, "run", run)
    chroot.ChrootSandbox().run(RunSpec(("true",), "step"), "/root", scratch="/scratch", on_output=lambda data: None)
    assert turns == [not apart]


def test_a_build_that_ends_does_not_wait() -> None:
    first = _wait_for_turn(None)
    assert first is not None
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert _wait_for_turn(reader) is None
    for fd in (first, reader, writer):
        os.close(fd)
