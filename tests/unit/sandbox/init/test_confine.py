"""Landlock domains of every age, made in forks of this process as process C makes them."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firkin.linux.syscalls import landlock_abi, set_no_new_privs
from firkin.sandbox.filters import strangers_filter
from firkin.sandbox.spawn import emulated_codes

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return the names of the stand-alone program."""
    found: dict[str, Any] = {"__name__": "firkin_init"}
    for code in emulated_codes():
        exec(code, found)
    return found


@pytest.fixture
def stranger() -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def in_a_fork(work: Callable[[], set[str]]) -> set[str]:
    """Return what `work` found out in a process of its own."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            set_no_new_privs()
            os.write(write_end, " ".join(work()).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="ascii") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return set(said.split())


def can_trace(pid: int) -> bool:
    libc = ctypes.CDLL(None)
    traced: int = libc.ptrace(PTRACE_SEIZE, pid, None, None)
    if traced == 0:
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return traced == 0


def can_trace_own() -> bool:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        return can_trace(child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def can_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True


def abilities(stranger: int) -> set[str]:
    found = {"strangers": can_trace(stranger), "own": can_trace_own(), "signals": can_signal(stranger)}
    return {name for name, able in found.items() if able}


def test_who_is_not_confined_can_trace_and_signal(stranger: int) -> None:
    assert in_a_fork(lambda: abilities(stranger)) == {"strangers", "own", "signals"}


@pytest.mark.skipif(landlock_abi() < 6, reason="the kernel's Landlock has no scopes")
def test_a_domain_with_scopes(names: dict[str, Any], stranger: int) -> None:
    def work() -> set[str]:
        return {"joined"} | abilities(stranger) if names["join_domain"](True, landlock_abi()) else set()

    assert in_a_fork(work) == {"joined", "own"}


@pytest.mark.skipif(landlock_abi() < 2, reason="the kernel has no Landlock, or its first one")
def test_a_domain_before_there_were_scopes(names: dict[str, Any], stranger: int, tmp_path: Path) -> None:
    """It restricts no file: a rename from directory to directory is what the first domains always refused."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    def work() -> set[str]:
        joined = names["join_domain"](True, 5)
        (tmp_path / "one/file").write_text("x")
        os.rename(tmp_path / "one/file", tmp_path / "two/file")
        os.link(tmp_path / "two/file", tmp_path / "one/file")
        return {"joined", "renamed"} | abilities(stranger) if joined else set()

    assert in_a_fork(work) == {"joined", "renamed", "own", "signals"}


@pytest.mark.parametrize(("shared", "abi"), [(True, 1), (True, 0), (True, -1), (False, 5)])
def test_where_there_is_no_domain(names: dict[str, Any], shared: bool, abi: int) -> None:
    assert not names["join_domain"](shared, abi)


@pytest.mark.parametrize("shared", [True, False])
def test_without_landlock_a_filter_keeps_strangers_apart(names: dict[str, Any], stranger: int, shared: bool) -> None:
    program = strangers_filter(os.uname().machine)
    if not program:
        pytest.skip("no filter is known for this machine")

    def work() -> set[str]:
        names["landlock_abi"] = lambda: -1
        names["confine"](names["Confinement"](shared, (), (program,)))
        return abilities(stranger)

    assert in_a_fork(work) == ({"signals"} if shared else {"strangers", "own", "signals"})
