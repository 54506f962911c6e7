"""`python -m firkin.worker`: serves one request from standard input; events go to standard output. Does I/O.

The build runs in a fork of this process, which stays outside to write the fork's id maps.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.request import decode_request
from firkin.errors import FirkinError, UsageError
from firkin.events import encode_line
from firkin.worker.messages import STOPPING, failure_of
from firkin.worker.start import start_worker

if TYPE_CHECKING:
    from types import FrameType

    from firkin.worker.server import Build


def main(build: Build | None = None) -> int:
    """Serve one request, and return the exit code."""
    events = os.dup(1)
    os.dup2(2, 1)  # output of helpers must not get between the lines
    with open(0, "rb", closefd=False) as stream:
        data = stream.read()
    try:
        request = decode_request(data)
    except msgspec.ValidationError as error:
        os.write(events, encode_line(failure_of(UsageError(f"invalid request: {error}"))) + b"\n")
        return 2
    try:
        from firkin.linux.syscalls import set_parent_death_signal

        set_parent_death_signal(signal.SIGKILL)
        # Blocked until both processes know how to handle them.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        pid = start_worker(request, events, build=build)
    except FirkinError as error:
        os.write(events, encode_line(failure_of(error)) + b"\n")
        return error.exit_code
    os.close(events)
    return _accompany(pid)


def _accompany(pid: int) -> int:
    """Pass signals on to the fork until it ends; return its exit code."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has just ended

    for number in STOPPING:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
