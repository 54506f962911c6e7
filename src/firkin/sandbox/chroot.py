"""RUN in a directory by chroot, for containers that allow neither namespaces nor mounts. Does I/O.

A command cannot leave its root: it loses CAP_SYS_CHROOT, no descriptor leads outside, and /proc holds only a few
plain files. It shares network and process numbers with the container.

Two commands could help each other out: over an abstract socket, one can pass the other a descriptor of a directory
that is not beneath the other's root, and from there `..` leads to `/` of the container. Or the other keeps that
directory, and changes it while firkin reads the layer. Where the kernel cannot separate them (by a mount namespace for
each, as in `confine.enter_root`, and by Landlock's scopes), only one command runs at a time.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.linux.probe import CAP_SYS_ADMIN, has_capability
from firkin.linux.syscalls import LANDLOCK_SCOPES_ABI, landlock_abi
from firkin.sandbox import emulated_plan
from firkin.sandbox.mount_copies import prepare_sources, read_proc_files
from firkin.sandbox.result import RunResult
from firkin.sandbox.run import run
from firkin.sandbox.spawn import python_starter
from firkin.sandbox.strays import no_strays

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec

_PAUSE_MS = 20
_LOCKED = "/"


class ChrootSandbox:
    """Needs CAP_SYS_CHROOT, CAP_SETUID and CAP_SETGID; with CAP_MKNOD commands get real devices."""

    def __init__(self, *, python: str = sys.executable, apart: bool | None = None) -> None:
        self._start = python_starter(python)
        if apart is None:
            apart = has_capability(CAP_SYS_ADMIN) and landlock_abi() >= LANDLOCK_SCOPES_ABI
        self._apart = apart

    def run(
        self,
        spec: RunSpec,
        root: Overlay | str,
        *,
        scratch: str,
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None] | None = None,
        cancel_fd: int | None = None,
        stdin: int | None = None,
    ) -> RunResult:
        """Run one command; see `Sandbox.run`, and `sandbox.run` on `stdin`. Raises HostError."""
        if not isinstance(root, str):
            raise HostError("an overlay needs a sandbox that may mount", code="sandbox-root")
        plan = emulated_plan.prepare(
            spec,
            root,
            scratch,
            parent=os.getpid(),
            machine=os.uname().machine,
            sources=prepare_sources(spec, scratch),
            proc_files=read_proc_files(),
        )
        turn = -1 if self._apart else _wait_for_turn(cancel_fd)
        if turn is None:
            return RunResult(137, 9, cancelled=True)
        try:
            with no_strays():
                return run(plan, self._start, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd, stdin=stdin)
        finally:
            if turn >= 0:
                os.close(turn)


def _wait_for_turn(cancel_fd: int | None) -> int | None:
    """Return the lock of all chroots of this container, which is on its root; None if the build ends while waiting."""
    poll = select.poll()
    if cancel_fd is not None:
        poll.register(cancel_fd, select.POLLIN)
    lock = os.open(_LOCKED, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if poll.poll(_PAUSE_MS):
                os.close(lock)
                return None
