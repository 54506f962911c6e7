"""What the program around a command tells, understood."""

import errno

import pytest

from firkin.errors import HostError
from firkin.sandbox.result import ExecError, RunResult
from firkin.sandbox.status import setup_error, understand

UNDONE = b"undone\n"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (b"exit\0003\n", RunResult(3)),
        (b"signal\0009\n", RunResult(137, 9)),
        (b"exec\0002\0/x\nexit\000127\n", RunResult(127, 0, ExecError(2, "/x"))),
        (b"exec\00013\0/x\nexit\000126\n", RunResult(126, 0, ExecError(13, "/x"))),
        (b"cover\0/etc/hosts\ncover\0/d\nexit\0000\n", RunResult(0, covered=("etc/hosts", "d"))),
        (
            b"warn\0ulimit\0001\0nofile\nexit\0000\n",
            RunResult(0, warnings=("ulimit `nofile` could not be set: operation not permitted",)),
        ),
        (b"unheard\00022\nexit\0000\n", RunResult(0, unheard=22)),
        (b"setup\0cut\nexit\0000\n", RunResult(0)),  # a line that was too long
    ],
)
def test_ends(status: bytes, result: RunResult) -> None:
    assert understand(status + UNDONE, False) == result


def test_an_end_counts_only_with_everything_undone() -> None:
    assert understand(b"exit\0000\nundone\n", False).exit_code == 0
    for status in (b"", b"exit\0000\n", b"signal\0009\n", b"undone\n"):
        with pytest.raises(HostError) as died:
            understand(status, False)
        assert died.value.code == "sandbox-died"
        assert understand(status, True).cancelled


def test_what_could_not_be_prepared_counts_unless_cancelled() -> None:
    status = b"setup\0attach\00020\0/m\nexit\0000\nundone\n"
    with pytest.raises(HostError, match="cannot prepare the sandbox: attach `/m`: not a directory") as failed:
        understand(status, False)
    assert failed.value.code == "sandbox-setup" and failed.value.hints
    assert understand(status, True) == RunResult(0, cancelled=True)


@pytest.mark.parametrize(
    ("op", "number"),
    [("user", errno.EINVAL), ("attach", errno.EISDIR), ("mount proc", errno.EPERM), ("unshare", errno.ENOSPC)],
)
def test_ways_out(op: str, number: int) -> None:
    assert setup_error(op, number, "x").hints
    assert not setup_error(op, errno.ENOENT, "x").hints
