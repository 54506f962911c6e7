"""Parts of what notes owners that need neither a namespace nor a filter, and what happens where there is no listener."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firkin.linux.syscalls import set_no_new_privs
from firkin.sandbox.filters import ask_filter, asked_calls
from firkin.sandbox.spawn import _code, emulated_codes

KEPT = 0xFFFFFFFF


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return the names of the stand-alone program."""
    found: dict[str, Any] = {"__name__": "firkin_init"}
    for code in (*emulated_codes(), _code("init/owners")):
        exec(code, found)
    return found


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("chown", (0x1000, 5, 6, 0, 0), (-100, 0x1000, 0, 5, 6)),
        ("lchown", (0x1000, 5, KEPT, 0, 0), (-100, 0x1000, 0x100, 5, KEPT)),
        ("fchown", (7, 5, 6, 0, 0), (7, 0, 0x1000, 5, 6)),
        ("fchownat", (-100 & (1 << 64) - 1, 0x1000, 5, 6, 0x100), (-100, 0x1000, 0x100, 5, 6)),
        ("fchownat", (9, 0x1000, (1 << 64) - 1, 6, 0), (9, 0x1000, 0, KEPT, 6)),
        ("chown16", (0x1000, 0xFFFF, 6, 0, 0), (-100, 0x1000, 0, KEPT, 6)),
        ("fchown16", (7, 0x1FFFE, 0xFFFF, 0, 0), (7, 0, 0x1000, 0xFFFE, KEPT)),
    ],
)
def test_arguments(names: dict[str, Any], name: str, args: tuple[int, ...], expected: tuple[int, ...]) -> None:
    call = names["Call"](name, args)
    assert (call.directory, call.path, call.flags, call.uid, call.gid) == expected


def test_what_is_left_out_stays_as_it_was(names: dict[str, Any]) -> None:
    notes = names["Notes"]({}, -1)
    for uid, gid in ((1, 2), (3, KEPT), (KEPT, 4)):
        notes.note((10, 0), uid, gid)
    assert notes.owners == {(10, 0): (3, 4)}


def test_a_number_that_is_used_again_is_another_file(names: dict[str, Any], tmp_path: Path) -> None:
    """File systems take the first free number, and their clocks tick every 4 ms or so."""
    notes = names["Notes"]({}, -1)
    born = []
    for _ in range(2000):
        fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        os.unlink(tmp_path / "file")
        notes.hold(fd)
        born.append(names["birth"](fd))
    assert len(notes.recent) <= 501
    for _, fd in notes.recent:
        os.close(fd)
    if not born[0][1]:
        pytest.skip("this file system has no times of birth")
    assert len(set(born)) == len(born)


def test_texts_of_other_processes(names: dict[str, Any]) -> None:
    import ctypes
    import mmap

    memory = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    text = b"p" * 300
    memory[mmap.PAGESIZE - 100 : mmap.PAGESIZE + 201] = text + b"\0"  # across pages
    assert names["read_text"](os.getpid(), start + mmap.PAGESIZE - 100) == text
    with pytest.raises(OSError, match=r"\[Errno 14\]"):
        names["read_text"](os.getpid(), 8)
    memory[:] = b"x" * len(memory)
    with pytest.raises(OSError, match=r"\[Errno 36\]"):
        names["read_text"](os.getpid(), start)


def in_a_fork(work: Callable[[], str]) -> str:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, work().encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="ascii") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize("granted", [True, False])
def test_where_the_kernel_grants_no_listener_nothing_is_kept_and_it_is_said(
    names: dict[str, Any], tmp_path: Path, granted: bool
) -> None:
    machine = os.uname().machine
    program = ask_filter(machine, owners=True, sockets=True)
    if not program:
        pytest.skip("no filter is known for this machine")
    told: list[tuple[object, ...]] = []

    class Status:
        def tell(self, *fields: object) -> None:
            told.append(fields)

    def work() -> str:
        instead = ask_filter(machine, owners=True, sockets=True, heard=False)
        upper, file = os.open("/", os.O_RDONLY), os.open(tmp_path / "owners", os.O_CREAT | os.O_WRONLY)
        if not granted:
            names["SYS_SECCOMP"] = {machine: 5000}
        owner_filter = names["OwnerFilter"](program, instead, asked_calls(machine), upper, file)
        set_no_new_privs()
        owner_filter.admit(Status())
        os.chown(tmp_path, 12345, 12345)  # nobody is allowed to, but root
        owner = os.stat(tmp_path).st_uid == os.geteuid()
        return f"{told} {owner}"

    if granted and os.geteuid():
        pytest.skip("only root may take another process's descriptors with that little")
    assert in_a_fork(work) == ("[] True" if granted else "[('unheard', 38)] True")
