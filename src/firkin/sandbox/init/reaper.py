"""Process 1 of a container with an init of firkin's own: passes signals on and reaps. Does I/O.

A part of the stand-alone programs that start containers; all parts share its global names. It stays a fork of the
monitor, so it must not be dumpable: its program and its memory are not for the container. It has the rights of its
command, as an init in the image would have. Mirrors: krallin/tini.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # `signal` itself takes 4 ms to load

SIGCHLD = 17
WAITED = set(range(1, 65)) - {9, 19, 32, 33}  # all but KILL, STOP and the C library's own


def block_signals() -> None:
    """Keep signals for `reap_for`; before the command is forked, whose end would be missed else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)


def reap_for(child: int) -> NoReturn:
    """Wait for the command, and end as it ends; everybody else in the PID namespace ends then."""
    os.setsid()
    os.closerange(0, 1 << 12)
    while True:
        number = signal.sigwait(WAITED)
        if number != SIGCHLD:
            try:
                os.kill(child, number)
            except OSError:
                pass  # it has just ended, or is somebody whom the container's user may not signal
            continue
        while True:
            try:
                pid, result = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(255)
            if not pid:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(result)
                os._exit(code if code >= 0 else 128 - code)
