"""What a RUN that fails is told about: its exit code, and a way out where the reason is known."""

import errno
import struct
from typing import Any

import pytest
from support.hints import hints_of

from firkin.builder.graph import ops
from firkin.builder.solve.ops import run_failure
from firkin.builder.solve.ops.run_failure import Tail, fail
from firkin.errors import Cancelled, StepFailed
from firkin.layer.change import Entry
from firkin.oci.run import RunSpec
from firkin.sandbox.result import ExecError, RunResult


class Files:
    """A view of files, each with its bytes."""

    def __init__(self, **files: bytes) -> None:
        self._files = files

    def lstat(self, path: str) -> Entry | None:
        return Entry(kind="file", mode=0o755, size=1) if path in self._files else None

    def content(self, path: str) -> bytes:
        return self._files[path]


def failed(result: RunResult, said: bytes = b"", *, argv: tuple[str, ...] = ("/prog",), **files: bytes) -> StepFailed:
    view: Any = Files(**files)
    with pytest.raises(StepFailed) as caught:
        fail(ops.Run(argv), result, RunSpec(argv, "step", (("PATH", "/bin"),)), view, said, "/")
    return caught.value


def elf(machine: int, order: str = "<") -> bytes:
    return b"\x7fELF\x02" + (b"\1" if order == "<" else b"\2") + bytes(10) + struct.pack(f"{order}HH", 2, machine) + bytes(99)


@pytest.mark.parametrize(("start", "told"), [
    (elf(183), "`/prog` is a program for arm64"), (elf(22, ">"), "is a program for s390x"),
    (elf(999), "is a program for machine 999"), (b"echo hi\n", "as a script it would begin with `#!`"),
    (b"#!/bin/other\n", "check its mode and architecture"), (b"", "check its mode and architecture"),
])
def test_a_format_that_cannot_be_executed_is_explained(start: bytes, told: str) -> None:
    error = failed(RunResult(126, 0, ExecError(errno.ENOEXEC, "/prog")), prog=start)
    assert (error.code, error.exit_code) == ("run-exec", 126) and told in hints_of(error)[0]
    if "program for" in told:
        assert "qemu-user-static" in hints_of(error)[0] and "binfmt" in hints_of(error)[0] and "--platform" in hints_of(error)[0]


def test_a_program_that_is_not_there() -> None:
    assert "PATH=/bin" in failed(RunResult(127, 0, ExecError(errno.ENOENT, "x")), argv=("x",)).hints[0]
    assert "the image has no `/x`" in failed(RunResult(127, 0, ExecError(errno.ENOENT, "/x")), argv=("/x",)).hints[0]


@pytest.mark.parametrize(("last", "said", "hinted"), [
    (65536, b"chown: /f: Invalid argument\n", True), (65536, b"tar: Cannot change ownership: invalid argument", True),
    (65536, b"no such file\n", False), (None, b"chown: /f: Invalid argument\n", False),
])
def test_owners_beyond_the_range_are_explained(
    monkeypatch: pytest.MonkeyPatch, last: int | None, said: bytes, hinted: bool
) -> None:
    monkeypatch.setattr(run_failure, "_last_id", lambda: last)
    error = failed(RunResult(7), said)
    assert (error.code, error.exit_code) == ("run-failed", 7)
    assert bool(error.hints) is hinted and all("above 65536" in hint and "/etc/subuid" in hint for hint in error.hints)


def test_signals_and_being_stopped() -> None:
    error = failed(RunResult(137, 9))
    assert (error.code, error.exit_code) == ("run-killed", 137) and "SIGKILL" in error.message
    with pytest.raises(Cancelled):
        view: Any = Files()
        fail(ops.Run(("x",)), RunResult(0, cancelled=True), RunSpec(("x",), "step"), view, b"", "/")


def test_the_end_of_the_output_is_kept() -> None:
    received: list[bytes] = []
    tail = Tail(received.append)
    for piece in (b"a" * 5000, b"b" * 3000, b"c" * 2000):
        tail(piece)
    assert tail.end == b"b" * 2096 + b"c" * 2000 and b"".join(received) == b"a" * 5000 + b"b" * 3000 + b"c" * 2000
