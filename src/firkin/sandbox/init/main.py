"""Process A: makes the command's surroundings outside of its root, and takes them away again. Does I/O.

A part of the stand-alone program `init`, in whose names it is executed.
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
        PR_SET_PDEATHSIG,
        SYS_PIDFD_OPEN,
        Failed,
        Status,
        check,
        libc,
        prctl,
        syscall,
    )
    from firkin.sandbox.init.real_mounts import RealMounts
    from firkin.sandbox.init.supervisor import PR_SET_CHILD_SUBREAPER, kill_descendants, shares_pids, supervise
    from firkin.sandbox.operations import Plan, unpack
else:
    import _signal as signal  # `signal` itself takes 4 ms to load

PR_SET_DUMPABLE = 4


class Stop:
    """What TERM does: it kills process B, and with it all that the command started."""

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
    """Perform a plan and return the exit code of this process. What else is handed over are descriptors.

    `handle` is a socket over which a descriptor of the command is sent, `joined` one of a command whose namespaces are
    entered; -1 for none.
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
        enter_namespaces(plan, joined)
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
    # Returns when the whole namespace is dead: pid 1 is not reaped before everything else in it is.
    mounts.attend(child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return finish(plan, mounts, status)


def begin(plan: Plan, stop: Stop) -> bool:
    """Bind this process to its parent; return whether that is there."""
    # Without a PID namespace there is something left to do when the worker is killed.
    prctl("die with parent", PR_SET_PDEATHSIG, signal.SIGTERM if shares_pids(plan) else signal.SIGKILL)
    if os.getppid() != plan.parent:
        return False
    os.setsid()
    os.umask(0o022)
    if shares_pids(plan):
        signal.signal(signal.SIGTERM, stop)
    return True


def enter_namespaces(plan: Plan, joined: int) -> None:
    """Unshare namespaces, or enter those of the command that `joined` is a descriptor of."""
    if plan.joins:
        # The program that this process runs is the host's: nobody in there may take hold of it (CVE-2019-5736).
        prctl("dumpable", PR_SET_DUMPABLE, 0)
        check("join", hex(plan.namespaces), libc.setns(joined, plan.namespaces))
        os.close(joined)
    elif plan.namespaces:
        check("unshare", hex(plan.namespaces), libc.unshare(plan.namespaces))


def finish(plan: Plan, mounts: RealMounts | EmulatedMounts, status: Status) -> int:
    """End what the command left, and take its surroundings away."""
    if shares_pids(plan):
        kill_descendants()
    try:
        mounts.perform(plan.after)
        mounts.undo()
    except Failed as failed:
        status.tell_failed(failed)
        return 125
    # Without this line the command may have killed this process, and what it started may still run.
    status.tell("undone")
    return 0
