"""Process A: sets up the command's surroundings outside of its root, and removes them again. Does I/O.

A part of the stand-alone program `init`; all parts share its global names.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from firkin.sandbox.init.emulated_mounts import EmulatedMounts
    from firkin.sandbox.init.kernel import (
        PR_SET_DUMPABLE,
        PR_SET_PDEATHSIG,
        SYS_PIDFD_OPEN,
        Failed,
        Status,
        check,
        close_all_but,
        libc,
        prctl,
        syscall,
    )
    from firkin.sandbox.init.real_mounts import RealMounts
    from firkin.sandbox.init.supervisor import PR_SET_CHILD_SUBREAPER, kill_descendants, shares_pids, supervise
    from firkin.sandbox.operations import Plan, unpack
else:
    import _signal as signal  # `signal` itself takes 4 ms to load


class Stop:
    """The handler of TERM: kills process B, and with it everything that the command started."""

    def __init__(self) -> None:
        self.asked = False
        self.children: list[int] = []

    def __call__(self, *_: object) -> None:
        self.asked = True
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)

    def watch(self, child: int) -> None:
        self.children.append(child)
        signal.signal(signal.SIGTERM, self)
        if self.asked:
            self()


def main(packed: Any, status_fd: int, handle: int = -1, joined: int = -1) -> int:
    """Perform a plan and return the exit code of this process. The other arguments are descriptors.

    `handle` is a socket over which a descriptor of the command is sent; `joined` is a descriptor of a command whose
    namespaces are entered; -1 for none.
    """
    plan = unpack(packed)
    for fd in (status_fd, handle, joined):
        if fd >= 0:
            os.set_inheritable(fd, False)
    if handle >= 0:
        import _socket  # noqa: F401  used by process B, where nothing of the host can be loaded any more
    status = Status(status_fd)
    shared_pids = shares_pids(plan)
    mounts = EmulatedMounts(status) if plan.emulated else RealMounts()
    stop = Stop()
    try:
        if not begin(plan, stop):
            return 125
        enter_namespaces(plan, joined, status_fd, handle)
        mounts.perform(plan.setup)
        own_pidfd = syscall("pidfd", "self", SYS_PIDFD_OPEN, os.getpid(), 0)
    except Failed as failed:
        status.tell_failed(failed)
        if shared_pids:
            mounts.undo()
        return 125
    if shared_pids:
        libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    child = os.fork()
    if child == 0:
        supervise(plan, mounts, status, own_pidfd, handle)
    if handle >= 0:
        os.close(handle)
    stop.watch(child)
    # The kernel reaps pid 1 last, so this returns when everything in the namespace has ended.
    mounts.attend(child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return finish(plan, mounts, status)


def begin(plan: Plan, stop: Stop) -> bool:
    """Bind this process to its parent; return whether the parent is still there."""
    # Without a PID namespace, this process must still clean up after the worker is killed.
    prctl("die with parent", PR_SET_PDEATHSIG, signal.SIGTERM if shares_pids(plan) else signal.SIGKILL)
    if os.getppid() != plan.parent:
        return False
    os.setsid()
    os.umask(0o022)
    if shares_pids(plan):
        signal.signal(signal.SIGTERM, stop)
    return True


def enter_namespaces(plan: Plan, joined: int, *others: int) -> None:
    """Unshare namespaces, or enter those of the command that `joined` is a descriptor of; `others` stay open then."""
    if plan.joins:
        # This process runs a program of the host, and may have inherited descriptors of its files: nobody in the
        # namespaces may get hold of either (CVE-2019-5736, CVE-2024-21626).
        prctl("dumpable", PR_SET_DUMPABLE, 0)
        close_all_but(*(fd for fd in (joined, *others) if fd >= 0))
        check("join", hex(plan.namespaces), libc.setns(joined, plan.namespaces))
        os.close(joined)
    elif plan.namespaces:
        check("unshare", hex(plan.namespaces), libc.unshare(plan.namespaces))


def finish(plan: Plan, mounts: RealMounts | EmulatedMounts, status: Status) -> int:
    """End the command's remaining processes, and remove its surroundings."""
    if shares_pids(plan):
        kill_descendants()
    try:
        mounts.perform(plan.after)
        mounts.undo()
    except Failed as failed:
        status.tell_failed(failed)
        return 125
    # A missing line means that the command may have killed this process, and its own processes may still run.
    status.tell("undone")
    return 0
