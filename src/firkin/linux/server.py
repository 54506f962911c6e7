"""Fork a process that serves this one over a socket and ends with it. Does I/O."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

from firkin.linux import syscalls

if TYPE_CHECKING:
    from _socket import socket as Socket
    from collections.abc import Callable
    from typing import NoReturn

_MAX_FD = 1 << 16
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def fork_server(
    serve: Callable[[Socket], NoReturn], *, on_stop: signal.Handlers, with_parent: signal.Signals
) -> tuple[int, Socket]:
    """Fork a process that calls `serve` with one end of a socket; return its number and the other end.

    This process must have only one thread. The fork keeps only the standard descriptors and its socket. It handles
    signals that stop a build with `on_stop`, and gets the signal `with_parent` when this process ends.
    """
    from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair

    own, other = socketpair(AF_UNIX, SOCK_SEQPACKET)
    parent = os.getpid()
    # Garbage collection then skips all present objects, so their pages stay shared: copying them would cost ten times
    # as much as the fork.
    gc.freeze()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        pid = os.fork()
        if pid == 0:
            try:
                for number in _STOPPING:
                    signal.signal(number, on_stop)
                signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
                signal.set_wakeup_fd(-1)
                syscalls.set_parent_death_signal(with_parent)
                if os.getppid() == parent:
                    own.close()
                    os.closerange(3, other.fileno())
                    os.closerange(other.fileno() + 1, _MAX_FD)
                    serve(other)
            finally:
                os._exit(70)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    other.close()
    return pid, own
