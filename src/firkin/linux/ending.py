"""How a process ends that is told to (SIGTERM, SIGINT, SIGHUP): soon, whatever it does, with nothing left behind. Does
I/O.

A signal asks first: its handler sets a Cancel or raises, and the work unwinds. Some calls cannot be asked (opening a
FIFO, waiting for a lock, a database, a name server or a disk), nor does a handler run meanwhile. So a thread waits
for signals beside the work. When the process is still there after its patience, or a second signal comes, the thread
does what has to be done (`at_end`) and ends the process with 128 + the signal's number.

`linux` and the modules above may import it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 1.0
_WORDS_S = 0.5  # what the last words may take
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_last_words: list[Callable[[], None]] = []
_holders: list[None] = []
_watched = 0  # the process that is


def at_end(word: Callable[[], None]) -> Callable[[], None]:
    """Have `word` called when this process is ended in the middle of its work; returns its removal.

    It runs in another thread while the work may go on. An OSError of it is ignored.
    """
    _last_words.append(word)

    def remove() -> None:
        if word in _last_words:
            _last_words.remove(word)

    return remove


@contextmanager
def held() -> Iterator[None]:
    """Say no last words while the block runs: another process, which ends as well, needs what they would take away."""
    _holders.append(None)
    try:
        yield
    finally:
        _holders.pop()


def watch(patience_s: float = PATIENCE_S, asked: int = 0) -> None:
    """Begin to watch, if not begun; for the main thread, which has handlers for the signals. Forks are not watched.

    `asked` is the signal that came already, if one did.
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
            if number in _STOPPING and signal.getsignal(number) is not signal.SIG_IGN:
                if asked:
                    end(asked)
                asked, until = number, time.monotonic() + patience_s


def end(number: int) -> None:
    """Say the last words and end this process as a signal would have."""
    import threading

    if not _holders:
        words = threading.Thread(target=_speak, name="last-words", daemon=True)
        words.start()
        words.join(_WORDS_S)
    os._exit(128 + number)


def _speak() -> None:
    for word in reversed(_last_words):
        try:
            word()
        except OSError:
            continue


def children_by_parent() -> dict[int, list[int]]:
    """Return the processes that this one can see, by the process that they belong to: proc_pid_stat(5), ppid."""
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
    """Return the processes that belong to this one, those included that have ended and were not waited for.

    Each thread has a list of those that it started, and orphans come to any of them (proc_tid_children(5)).
    Such a list is read at once, while a walk through all of /proc takes so long that processes which fork and end over
    and over are never met alive.
    """
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/children", "rb") as file:
                    found.update(map(int, file.read().split()))
            except FileNotFoundError:
                if os.path.exists(f"/proc/self/task/{task}"):
                    raise  # a kernel without CONFIG_PROC_CHILDREN
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
            continue  # it has ended, or became somebody else's
