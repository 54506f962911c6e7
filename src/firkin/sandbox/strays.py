"""Processes that are left when a command has killed the process that should end them. Does I/O.

A step ends when everything that it started has ended; process A takes care of that. A command that may signal its
neighbours can kill process A. The orphans then come to the worker, the next subreaper (prctl(2)), which ends them.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.linux import syscalls
from firkin.linux.ending import own_children

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_strays() -> Iterator[None]:
    """Leave no process behind when the sandbox inside dies; children that were there before stay."""
    syscalls.set_child_subreaper()
    before = own_children()
    try:
        yield
    except HostError as error:
        if error.code == "sandbox-died":
            _end_all_but(before)
        raise


def _end_all_but(kept: set[int]) -> None:
    """Kill and reap all children except these, and the orphans that this creates.

    A command may leave processes that fork and end over and over. So each round first reaps all ended ones: otherwise
    the few live ones among thousands would never be found, and the process table would fill up.
    """
    while True:
        for pid in own_children() - kept:
            _wait(pid, os.WNOHANG)
        living = own_children() - kept
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # somebody else has waited for it
        if not living:
            return
        _wait(living.pop(), 0)


def _wait(pid: int, options: int) -> None:
    try:
        os.waitpid(pid, options)
    except ChildProcessError:
        pass  # somebody else has waited for it
