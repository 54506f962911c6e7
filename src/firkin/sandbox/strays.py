"""Processes that are left when a command has killed what was to end them. I; `chroot` imports it.

A step ends when nothing that it started is left, which process A sees to. A command that may signal its neighbours can
kill process A; what it started then comes to the worker, as the next subreaper (prctl(2)), and is ended there.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.linux import syscalls
from firkin.linux.ending import children_by_parent

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_strays() -> Iterator[None]:
    """Leave no process behind when the sandbox inside dies; children that were there before stay."""
    syscalls.set_child_subreaper()
    before = _children()
    try:
        yield
    except HostError as error:
        if error.code == "sandbox-died":
            # What their end orphans comes here in turn.
            while strays := _children() - before:
                for pid in strays:
                    _end(pid)
        raise


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # somebody else has waited for it


def _children() -> set[int]:
    return set(children_by_parent().get(os.getpid(), ()))
