"""Process C: takes on limits, capabilities and user, and becomes the command. Does I/O.

A part of the stand-alone program `init`; all parts share its global names.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from firkin.sandbox.init.confine import confine, enter_root, may_confine
    from firkin.sandbox.init.image_root import make_all
    from firkin.sandbox.init.kernel import (
        PR_SET_PDEATHSIG,
        SIGKILL,
        Failed,
        Status,
        check,
        install_filter,
        libc,
        prctl,
    )
    from firkin.sandbox.init.listener import ListeningFilter
    from firkin.sandbox.operations import Command, Plan
else:
    import _signal as signal  # `signal` itself takes 4 ms to load

PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
TIOCSCTTY = 0x540E
UNCATCHABLE = (9, 19)


def become_command(plan: Plan, status: Status, listening: ListeningFilter | None) -> NoReturn:
    """Do everything in an order that leaves each step the rights that it needs, then become the command."""
    command = plan.command
    try:
        start_session(command.terminal)
        set_limits(command.limits, status)
        keep_privileges_back(command.keep, command.no_new_privs)
        enter(plan)
        change_directory(command)
        if command.switch:
            os.setgroups(command.groups)
            os.setresgid(command.gid, command.gid, command.gid)
        install_filters(plan, status, listening)
        if command.switch:
            os.setresuid(command.uid, command.uid, command.uid)
        if command.keep >= 0:
            set_capabilities(command.keep)
        if plan.joins:  # not earlier, as a change of user clears it
            prctl("die with parent", PR_SET_PDEATHSIG, SIGKILL)
        os.umask(command.umask)
        reset_signals()
    except Failed as failed:
        status.tell_failed(failed)
        os._exit(125)
    except OSError as error:
        detail = error.filename if isinstance(error.filename, str) else f"uid {command.uid} gid {command.gid}"
        status.tell("setup", "user" if not error.filename else "cwd", error.errno, detail)
        os._exit(125)
    number, path = execute(command.argv, command.arg0, command.env)
    status.tell("exec", number, path)
    os._exit(127 if number in (2, 20) else 126)


def start_session(terminal: bool) -> None:
    os.setsid()
    if terminal:
        check("terminal", "standard input", libc.ioctl(0, ctypes.c_ulong(TIOCSCTTY), 0))


def keep_privileges_back(keep: int, no_new_privs: bool) -> None:
    """Take capabilities from everything that the command may become; `keep` -1: none."""
    if keep >= 0:
        try:
            drop_bounding(keep)
        except Failed:
            # This needs CAP_SETPCAP. Without it, no_new_privs keeps programs from gaining more than `keep`.
            no_new_privs = True
    if no_new_privs:
        prctl("no_new_privs", PR_SET_NO_NEW_PRIVS, 1)


def enter(plan: Plan) -> None:
    """Enter the directory that is the command's root, if there is one."""
    root = plan.command.chroot
    if root and (plan.confinement is None or not enter_root(root, plan.command.devices)):
        os.chroot(root)
        os.chdir("/")


def change_directory(command: Command) -> None:
    """Go to the working directory; make a missing one, owned by the user (as buildkit does)."""
    try:
        os.chdir(command.cwd)
    except FileNotFoundError:
        owner = (command.uid, command.gid) if command.switch else (-1, -1)
        for made in make_all(os.path.realpath(command.cwd)):
            os.chown(made, *owner)
        os.chdir(command.cwd)


def install_filters(plan: Plan, status: Status, listening: ListeningFilter | None) -> None:
    if plan.confinement is not None:
        confine(plan.confinement)
    for program in plan.command.filters:
        install_filter(program)
    if listening is not None and may_confine():
        listening.admit(status)


def reset_signals() -> None:
    for number in range(1, 32):
        if number not in UNCATCHABLE:
            signal.signal(number, signal.SIG_DFL)


def set_limits(limits: tuple[tuple[str, int, int, int], ...], status: Status) -> None:
    for name, number, soft, hard in limits:
        pair = (ctypes.c_ulong * 2)(soft, hard)
        if libc.setrlimit(number, pair) == 0:
            continue
        status.tell("warn", "ulimit", ctypes.get_errno(), name)
        current = (ctypes.c_ulong * 2)()
        libc.getrlimit(number, current)
        nearest = (ctypes.c_ulong * 2)(min(soft, current[1]), min(hard, current[1]))
        libc.setrlimit(number, nearest)


def drop_bounding(keep: int) -> None:
    for number in range(64):
        if keep >> number & 1:
            continue
        if libc.prctl(PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) == 1:
            prctl("capabilities", PR_CAPBSET_DROP, number)


def set_capabilities(keep: int) -> None:
    """Keep those of `keep` that are permitted as permitted and effective; clear inheritable and ambient ones."""
    libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    check("capabilities", "capget", libc.capget(header, data))
    for word in (0, 1):
        kept = data[word * 3 + 1] & (keep >> 32 * word & 0xFFFFFFFF)
        data[word * 3] = data[word * 3 + 1] = kept
        data[word * 3 + 2] = 0
    check("capabilities", "capset", libc.capset(header, data))


def execute(argv: tuple[str, ...], arg0: str, env: dict[str, str]) -> tuple[int, str]:
    """Become the command; on failure, return errno and path of the most telling attempt."""
    name = argv[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{part or '.'}/{name}" for part in env.get("PATH", os.defpath).split(":")]
    failure = (2, name)
    for path in candidates:
        try:
            os.execve(path, [arg0 or name, *argv[1:]], env)
        except OSError as error:
            number = error.errno or 0
            if number not in (2, 20):
                failure = (number, path)
                if number != 13:
                    break
            elif os.path.exists(path) and failure[0] == 2:
                failure = (number, path)  # the file exists, but its interpreter does not
    return failure
