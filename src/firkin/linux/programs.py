"""Runs helper programs and waits for them, with a time limit. Does I/O. The modules above may import it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping

from firkin.errors import Cancelled
from firkin.linux.ending import at_end, kill_tree

_TICK_S = 0.1


def run_program(
    argv: list[str],
    *,
    data: bytes = b"",
    environ: Mapping[str, str] | None = None,
    timeout_s: float,
    cancelled: Callable[[], bool] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with `data` on its standard input and return what it printed.

    The program is killed with all its children after the time limit, when `cancelled` returns True, or when anything
    is raised. Raises subprocess.TimeoutExpired, Cancelled, OSError.
    """
    # The input is a file in memory: `communicate` does not resume its input after a time-out (CPython's subprocess).
    with open(os.memfd_create("input"), "w+b") as file:
        file.write(data)
        file.seek(0)
        process = subprocess.Popen(argv, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    with process:
        forget = at_end(lambda: kill_tree(process.pid))
        try:
            output, errors = _listen(process, time.monotonic() + timeout_s, cancelled)
        except BaseException:
            kill_tree(process.pid)
            raise
        finally:
            forget()
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def _listen(
    process: subprocess.Popen[bytes], until_s: float, cancelled: Callable[[], bool] | None
) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            if cancelled is not None and cancelled():
                raise Cancelled("the work was cancelled") from None
            if time.monotonic() > until_s:
                raise
