"""Process B: pid 1 of the command's PID namespace; without a PID namespace, the command's parent. Does I/O.

A part of the stand-alone program `init`; all parts share its global names.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from firkin.sandbox.init.command import become_command
    from firkin.sandbox.init.emulated_mounts import EmulatedMounts
    from firkin.sandbox.init.kernel import (
        SIGKILL,
        SYS_PIDFD_OPEN,
        Failed,
        Status,
        close_all_but,
        die_with,
        prctl,
        syscall,
    )
    from firkin.sandbox.init.listener import ListeningFilter, wait_and_answer
    from firkin.sandbox.init.owners import OwnerFilter
    from firkin.sandbox.init.real_mounts import RealMounts
    from firkin.sandbox.operations import Plan

CLONE_NEWPID = 0x20000000
PR_SET_CHILD_SUBREAPER = 36


def supervise(
    plan: Plan, mounts: RealMounts | EmulatedMounts, status: Status, parent_pidfd: int, handle: int
) -> NoReturn:
    """Start the command, report how it ended, and leave no process that it started behind.

    `handle` is a socket over which a descriptor of the command is sent, -1 for none.
    """
    try:
        die_with(parent_pidfd)
        os.close(parent_pidfd)
        if shares_pids(plan):
            prctl("subreaper", PR_SET_CHILD_SUBREAPER, 1)
        mounts.perform(plan.inside)
        listening = make_listening_filter(plan, mounts)
        # A working directory like /proc/self/fd/5 must not lead to a descriptor that was held until now.
        kept = [fd for fd in (status.fd, handle) if fd >= 0]
        close_all_but(*kept, *(() if listening is None else listening.fds))
    except Failed as failed:
        status.tell_failed(failed)
        os._exit(125)
    child = os.fork()
    if child == 0:
        become_command(plan, status, listening)
    if handle >= 0:
        hand_out(handle, child)
    result = wait_for(child, -1 if listening is None else listening.after_fork())
    code = os.waitstatus_to_exitcode(result)
    status.tell("exit", code) if code >= 0 else status.tell("signal", -code)
    if listening is not None:
        listening.finish()
    if shares_pids(plan):
        kill_descendants()
    os._exit(0)


def shares_pids(plan: Plan) -> bool:
    """Return whether the command shares firkin's PID namespace, whose end does not end the command's processes."""
    return not plan.namespaces & CLONE_NEWPID


def make_listening_filter(plan: Plan, mounts: Any) -> ListeningFilter | None:
    """Return the pipes to the process that answers this command's calls, B or S; None if there is none."""
    asked = plan.questions
    if asked is None:
        return None
    if asked.owners:
        return OwnerFilter(asked.program, asked.instead, asked.calls, *mounts.owners)
    return ListeningFilter(asked.program, asked.instead)


def hand_out(handle: int, child: int) -> None:
    """Send a descriptor of the command over a socket (unix(7), SCM_RIGHTS)."""
    import _socket as socket  # `main` has loaded it from the host

    pidfd = syscall("pidfd", "command", SYS_PIDFD_OPEN, child, 0)
    channel = socket.socket(fileno=handle)
    channel.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, pidfd.to_bytes(4, sys.byteorder))])
    channel.close()
    os.close(pidfd)


def wait_for(child: int, listener: int) -> int:
    """Reap until the command has ended and return its wait status; answer its calls if it has a listener."""
    if listener >= 0:
        return wait_and_answer(child, listener)
    while True:
        pid, result = os.wait()
        if pid == child:
            return result


def kill_descendants() -> None:
    """Kill and reap all descendants; as this process is a subreaper, orphans become its children.

    A command may leave processes that fork and end over and over. So each round first reaps all ended ones: otherwise
    the few live ones among thousands would never be found, and the process table would fill up.
    """
    try:
        while True:
            reap()
            kill_children()
            os.wait()
    except ChildProcessError:
        return


def reap() -> None:
    """Reap every child that has ended; raises ChildProcessError when there are no children left."""
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass


def kill_children() -> None:
    """Kill every child of this process."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as file:
            children = [int(pid) for pid in file.read().split()]
    except OSError:  # the kernel lacks CONFIG_PROC_CHILDREN
        children = [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(name) == me]
    for pid in children:
        try:
            os.kill(pid, SIGKILL)
        except PermissionError:
            pass  # it runs as another user now, so only wait for it


def parent_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0  # it has ended
