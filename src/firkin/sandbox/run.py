"""Run a plan to its end and pass on its output. Does I/O."""

from __future__ import annotations

import os
import select
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from firkin.linux.ending import held
from firkin.sandbox.spawn import Stdio, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.sandbox.operations import Plan
    from firkin.sandbox.result import RunResult
    from firkin.sandbox.spawn import Process, Starter

    Takers = dict[int, Callable[[bytes], None]]

_CHUNK = 1 << 16
_KILL_AFTER_S = 1.5
_KILL_UNDOING_AFTER_S = 60  # emulated mounts must be undone: a cache may have to be copied


def run(
    plan: Plan,
    start: Starter,
    *,
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None] | None,
    cancel_fd: int | None,
    stdin: int | None = None,
) -> RunResult:
    """Run one command; blocks until it and everything it started have ended. See `Sandbox.run`.

    `stdin` is a descriptor for its standard input, None for /dev/null.

    Raises HostError when an operation of the plan failed.
    """
    # Only one pipe for both streams keeps the order in which they are written.
    output, output_end = os.pipe()
    error, error_end = os.pipe() if on_error is not None else (-1, output_end)
    for fd in {output_end, error_end}:
        os.fchmod(fd, 0o622)  # a command of any user may open /dev/stdout; runc changes the owner instead
    takers = {output: on_output} if on_error is None else {output: on_output, error: on_error}
    try:
        try:
            process = spawn(plan, Stdio(stdin, output_end, error_end), start)
        finally:
            for fd in {output_end, error_end}:
                os.close(fd)
        # Emulated mounts need their scratch directory until they are undone.
        with nullcontext() if plan.namespaces else held():
            patience_s = _KILL_AFTER_S if plan.namespaces else _KILL_UNDOING_AFTER_S
            try:
                cancelled = _pass_on(process, takers, cancel_fd, patience_s)
                return process.wait(cancelled=cancelled)
            except BaseException:
                process.kill()
                raise
            finally:
                process.close()
    finally:
        for fd in takers:
            os.close(fd)


def _pass_on(process: Process, takers: Takers, cancel_fd: int | None, patience_s: float) -> bool:
    """Pass output on until nobody holds the pipes any more; return whether the command was cancelled."""
    poll = select.poll()
    for fd in (*takers, *(() if cancel_fd is None else (cancel_fd,))):
        poll.register(fd, select.POLLIN)
    cancelled = False
    kill_at: float | None = None
    open_fds = len(takers)
    while open_fds:
        wait_ms = None if kill_at is None else max(0.0, kill_at - time.monotonic()) * 1000
        ready = [fd for fd, _ in poll.poll(wait_ms)]
        if not ready:
            process.kill()
            kill_at = None
        if cancel_fd in ready:
            cancelled = True
            poll.unregister(cancel_fd)
            process.stop()
            kill_at = time.monotonic() + patience_s
            ready.remove(cancel_fd)
        for fd in ready:
            chunk = os.read(fd, _CHUNK)
            if chunk:
                takers[fd](chunk)
            else:
                poll.unregister(fd)
                open_fds -= 1
    return cancelled
