"""Ends this process soon after SIGTERM, SIGINT or SIGHUP, whatever it does, and leaves nothing behind. Does I/O.

The first signal asks: its handler sets a Cancel or raises, and the work unwinds. Some calls cannot be interrupted
(opening a FIFO, waiting for a lock, a database, a name server or a disk), and no handler runs meanwhile. So a thread
waits for signals beside the work. If the process still runs after `patience_s`, or if a second signal comes, the thread
runs the cleanups (`at_end`) and ends the process with 128 + the signal's number.

`linux` and the modules above may import it.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator
else:
    import _signal as signal  # `signal` itself takes 3 ms to load

PATIENCE_S = 1.0
_CLEANUP_S = 0.5  # time limit of all cleanups
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_cleanups: list[Callable[[], None]] = []
_holders: list[None] = []
_watched = 0  # pid of the watched process


def at_end(cleanup: Callable[[], None]) -> Callable[[], None]:
    """Have `cleanup` called if this process is ended in the middle of its work; returns a call that cancels that.

    It runs in another thread, and the work may go on meanwhile. Its OSErrors are ignored.
    """
    _cleanups.append(cleanup)

    def remove() -> None:
        if cleanup in _cleanups:
            _cleanups.remove(cleanup)

    return remove


@contextmanager
def held() -> Iterator[None]:
    """Run no cleanups during the block: another process, which ends as well, still needs what they would remove."""
    _holders.append(None)
    try:
        yield
    finally:
        _holders.pop()


def watch(patience_s: float = PATIENCE_S, asked: int = 0) -> None:
    """Start the thread, once a process. Only the main thread may call this: it has the signal handlers.

    Forks are not watched. `asked` is a signal that has come already, or 0.
    """
    global _watched
    import threading

    if _watched == os.getpid():
        return
    _watched = os.getpid()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    threading.Thread(target=_attend, args=(read_end, patience_s, asked), name="ending", daemon=True).start()


def _attend(descriptor: int, patience_s: float, asked: int) -> None:
    until = time.monotonic() + patience_s
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000 if asked else None):
            end(asked)
        for number in os.read(descriptor, 64):
            if number in _STOPPING and signal.getsignal(number) != signal.SIG_IGN:
                if asked:
                    end(asked)
                asked, until = number, time.monotonic() + patience_s


def end(number: int) -> None:
    """Run the cleanups and end this process with the exit code of a signal."""
    import threading

    if not _holders:
        thread = threading.Thread(target=_clean_up, name="cleanup", daemon=True)
        thread.start()
        thread.join(_CLEANUP_S)
    os._exit(128 + number)


def _clean_up() -> None:
    for cleanup in reversed(_cleanups):
        try:
            cleanup()
        except OSError:
            continue


def children_by_parent() -> dict[int, list[int]]:
    """Return all visible processes by their parent: proc_pid_stat(5), ppid."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(name))
    return children


def own_children() -> set[int]:
    """Return the children of this process, including those that have ended and were not waited for.

    The kernel lists the children of each thread; an orphan is added to any of the lists (proc_tid_children(5)).
    Such a list is read at once. A walk through all of /proc takes so long that it never finds processes which fork and
    end over and over.
    """
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/children", "rb") as file:
                    found.update(map(int, file.read().split()))
            except FileNotFoundError:
                if os.path.exists(f"/proc/self/task/{task}"):
                    raise  # the kernel has no CONFIG_PROC_CHILDREN
    except OSError:
        return set(children_by_parent().get(os.getpid(), ()))
    return found


def kill_tree(pid: int) -> None:
    """Kill a child of this process and all that it started."""
    children = children_by_parent()
    doomed = [pid]
    for each in doomed:
        doomed += children.get(each, ())
    for each in doomed:
        try:
            os.kill(each, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended, or belongs to another user now
