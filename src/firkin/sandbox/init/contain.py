"""Processes of containers: A sets up the surroundings, process 1 becomes the command. Does I/O.

A part of the stand-alone programs that start containers; all parts share its global names. The monitor of a container
forks by `fork_into`, and the fork calls `contain`. Where it can, the fork is process 1 of its PID namespace already:

    monitor ── clone(CLONE_NEWPID) ──▶ the command, process 1 of its PID namespace
                                       or the reaper (`reaper.py`), whose child is the command

Else, as with namespaces of other containers or of its own user namespace, it becomes process A, which ends soon:

    monitor ── fork ──▶ A ── clone(CLONE_PARENT) ──▶ the command, a child of the monitor
                        namespaces, mounts

A pipe takes lines of fields separated by NUL; it is closed when the command runs or will never do so:

    pid N             the process that became the command, a child of the monitor, as the monitor sees it; 0: the fork
    warn TEXT         something that the command may do without was refused
    failed CODE TEXT  the command never ran; CODE is its exit code by docker's rules: 125 to 128

A socket connects process A with the monitor. Each message is a byte:

    u  →  the user namespace is there; write its maps
    g  ←  the maps are written
    t  →  the terminal, a descriptor of which comes along (SCM_RIGHTS)
    g  ←  it has its size
    l  →  all is ready but for limits that would have been in the way
    g  ←  they are written
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn

    from firkin.oci.users import NoSuchId, find_groups, find_user
    from firkin.sandbox.init.command import (
        execute,
        keep_privileges_back,
        reset_signals,
        set_capabilities,
        start_session,
    )
    from firkin.sandbox.init.container_mounts import (
        DEVPTS_MAGIC,
        TMPFS_MAGIC,
        ContainerMounts,
        filesystem_type,
        open_how,
        open_plainly,
    )
    from firkin.sandbox.init.image_root import EINVAL, O_ANY, make_all
    from firkin.sandbox.init.kernel import (
        PR_SET_DUMPABLE,
        PR_SET_PDEATHSIG,
        SIGKILL,
        Failed,
        Poll,
        Status,
        check,
        close_all_but,
        find_arguments,
        install_filter,
        libc,
        prctl,
        show_as,
    )
    from firkin.sandbox.init.mount_calls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, attach_at, clone_tree_fd
    from firkin.sandbox.init.reaper import block_signals, reap_for
    from firkin.sandbox.operations import Contained, Process, unpack_contained

    Ids = tuple[int, int, tuple[int, ...]]  # user, group, other groups
else:
    import _signal as signal  # `signal` itself takes 4 ms to load

CLONE_PARENT, CLONE_NEWNS, CLONE_NEWIPC = 0x00008000, 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
SYS_CLONE = {
    "x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220,
    "i686": 120, "armv7l": 120, "armv6l": 120, "armv8l": 120, "ppc64le": 120,
}  # fmt: skip
TIOCGPTPEER, TIOCSPTLCK = 0x5441, 0x40045431
MOST_OF_PASSWD = 16 << 20
F_DUPFD_CLOEXEC = 1030
ENOTDIR = 20
LIFTED = 200  # descriptors that stay open are moved up there


class NeverRan(Exception):
    """The command never ran: its exit code by docker's rules, and why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def fork_into(packed: Any) -> tuple[int, bool]:
    """Fork the process that is to call `contain` for a plan; return like fork(2), and whether it is process 1.

    Raises OSError.
    """
    namespaces, joined = packed[:2]
    if not joined and namespaces & (CLONE_NEWPID | CLONE_NEWUSER) == CLONE_NEWPID:
        try:
            return clone_process(CLONE_NEWPID), True
        except Failed:
            pass  # process A tells why
    return os.fork(), False


def contain(
    packed: Any,
    changes: dict[str, Any],
    status_fd: int,
    channel_fd: int,
    stdio: tuple[int, int, int],
    joined: tuple[int, ...],
    parent: int,
) -> NoReturn:
    """Perform a plan (`operations.pack_contained`) in this fork of the process `parent`; never returns.

    `parent` is 0 if this process is in a PID namespace of its own and cannot see the other. `changes` are fields of its
    process that are replaced. `stdio` are the descriptors of the command, -1 for none; a terminal needs none. `joined`
    are descriptors (pidfd_open(2)) of processes for the plan's field of that name. All other descriptors of this
    process are closed.
    """
    status = Status(status_fd)
    try:
        plan = unpack_contained(packed, changes)
        status_fd, channel_fd, joined = take_descriptors(status_fd, channel_fd, stdio, joined)
        status = Status(status_fd)
        mounts = ContainerMounts()
        begin_containing(plan, parent, channel_fd, joined, mounts)
        arguments = find_arguments() if plan.reaper else (0, 0)
        mounts.perform(plan.setup)
        child = clone_process(CLONE_PARENT) if parent else 0
        if child == 0:
            if not parent:
                status.tell("pid", 0)
            become_contained(plan, mounts, status, channel_fd, arguments)
        status.tell("pid", child)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  nothing may reach the frames of the monitor
        fail(status, error)


def fail(status: Status, error: BaseException) -> NoReturn:
    """Tell why the command never ran, and end."""
    if isinstance(error, NeverRan):
        code, text = error.code, error.text
    elif isinstance(error, Failed):
        code, text = 127 if is_wrong_kind(error) else 128, failure_text(error)
    else:
        code, text = 128, f"{type(error).__name__}: {error}"
    status.tell("failed", code, text)
    os._exit(code)


def is_wrong_kind(failed: Failed) -> bool:
    """Say whether a file was mounted where a directory is, or the reverse."""
    return failed.number == ENOTDIR or (failed.op == "attach" and failed.number == EINVAL)


def failure_text(failed: Failed) -> str:
    if not failed.number:
        return failed.detail
    text = f"cannot prepare the container: {failed.op} `{failed.detail}`: {os.strerror(failed.number).lower()}"
    if is_wrong_kind(failed):
        text += (
            ": are you trying to mount a directory onto a file (or vice-versa)? "
            "Check if the specified host path exists and is the expected type"
        )
    return text


def take_descriptors(
    status: int, channel: int, stdio: tuple[int, int, int], joined: tuple[int, ...]
) -> tuple[int, int, tuple[int, ...]]:
    """Put the standard descriptors in their places and close all but the given ones; return where these are now."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    lifted = [lift(fd) for fd in (status, channel, *joined)]
    places = [lift(null if fd < 0 else fd) for fd in stdio]
    for number, fd in enumerate(places):
        os.dup2(fd, number)
    close_all_but(*lifted)
    return lifted[0], lifted[1], tuple(lifted[2:])


def lift(fd: int) -> int:
    """Return a duplicate with a high number, which exec closes."""
    return check("descriptor", str(fd), libc.fcntl(fd, F_DUPFD_CLOEXEC, ctypes.c_long(LIFTED)))


def begin_containing(
    plan: Contained, parent: int, channel: int, joined: tuple[int, ...], mounts: ContainerMounts
) -> None:
    """Enter the namespaces of a plan."""
    die_with_monitor(channel)
    if os.getppid() != parent:
        os._exit(125)
    os.umask(0o022)
    write_oom_score(plan.process.oom_score)
    own_user = plan.namespaces & CLONE_NEWUSER
    if own_user:
        # Who writes the maps must own this process's files in /proc.
        prctl("dumpable", PR_SET_DUMPABLE, 1)
        check("unshare", "user namespace", libc.unshare(CLONE_NEWUSER))
        os.write(channel, b"u")
        wait_for(channel)
    # From here on, processes of containers may see this one, whose memory and program are the monitor's
    # (CVE-2019-5736).
    prctl("dumpable", PR_SET_DUMPABLE, 0)
    for flags, fd in zip(plan.joined, joined, strict=True):
        check("join", hex(flags), libc.setns(fd, flags))
        if flags & (CLONE_NEWIPC | CLONE_NEWNS) == CLONE_NEWIPC:
            mounts.trees["shm"] = borrow_shm(fd)
        os.close(fd)
    if own_user or any(flags & CLONE_NEWUSER for flags in plan.joined):
        become_root()
    prctl("die with parent", PR_SET_PDEATHSIG, SIGKILL)
    rest = plan.namespaces & ~(CLONE_NEWUSER if parent else CLONE_NEWUSER | CLONE_NEWPID)
    if rest:
        check("unshare", hex(rest), libc.unshare(rest))


def wait_for(channel: int) -> None:
    """Wait for the answer of the monitor; without one, there is none any more."""
    if os.read(channel, 1) != b"g":
        os._exit(125)


def borrow_shm(pidfd: int) -> int:
    """Return a mount of the /dev/shm of a process: who shares its IPC namespace shares that too. Raises Failed.

    Only a process in its mount namespace may make one, and might never get back from there, so a fork does it.
    """
    import _socket as socket  # the monitor has loaded it

    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            check("join", "mounts", libc.setns(pidfd, CLONE_NEWNS))
            shm = open_plainly(os.open("/", O_ANY), "dev/shm")
            if shm >= 0 and filesystem_type(shm) == TMPFS_MAGIC:
                tree = clone_tree_fd(shm, "/dev/shm", False)
                theirs.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, tree.to_bytes(4, sys.byteorder))])
        finally:
            os._exit(0)
    theirs.close()
    _, sent, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    ours.close()
    os.waitpid(child, 0)
    if not sent:
        raise Failed("shm", 0, "the other container has no /dev/shm to share")
    return int.from_bytes(sent[0][2][:4], sys.byteorder)


def become_root() -> None:
    """Take on the ids of root in this user namespace."""
    try:
        os.setgroups([])
    except PermissionError:
        pass  # with a single id, groups are denied
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    prctl("dumpable", PR_SET_DUMPABLE, 0)


def clone_process(flags: int) -> int:
    """Fork with flags of clone(2); returns like fork(2). Raises Failed.

    PyDLL keeps the interpreter's lock, so the child goes on as if it had been forked.
    """
    flags |= 17  # SIGCHLD
    number = SYS_CLONE[os.uname().machine]
    library = ctypes.PyDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    args = [ctypes.c_long(value) for value in (number, flags, 0, 0, 0, 0)]
    return check("clone", "process", library.syscall(*args))


def become_contained(
    plan: Contained, mounts: ContainerMounts, status: Status, channel: int, arguments: tuple[int, int]
) -> NoReturn:
    """Do the rest within the namespaces, and become the command or its reaper, which is shown by docker's name."""
    try:
        die_with_monitor(channel)
        mounts.perform(plan.inside)
        if plan.process.terminal:
            open_terminal(mounts, channel)
        close_all_but(status.fd, channel)  # a working directory like /proc/self/fd/5 must lead to none of them
        ids = resolve_ids(plan.process)
        if plan.reaper:
            block_signals()
            ready, weak = os.pipe()
            child = os.fork()
            if child:
                show_as(arguments, "/sbin/docker-init", "--", *plan.process.argv)
                become_as_weak(plan.process, ids)
                os.close(weak)
                reap_for(child)
            os.close(weak)
            os.read(ready, 1)  # until the reaper has no more rights than this command
            os.close(ready)
        run_process(plan.process, ids, channel)
    except BaseException as error:  # noqa: BLE001  nothing may reach the frames of the monitor
        fail(status, error)


def die_with_monitor(channel: int) -> None:
    """Let the kernel kill this process when the monitor ends; end now if it already has: the socket says so."""
    prctl("die with parent", PR_SET_PDEATHSIG, SIGKILL)
    poll = Poll(channel, 0, 0)
    libc.poll(ctypes.byref(poll), ctypes.c_ulong(1), 0)
    if poll.revents & 0x10:
        os._exit(125)


def open_terminal(mounts: ContainerMounts, channel: int) -> None:
    """Make a terminal of the container's own devpts this process's standard descriptors; send its other end.

    Raises NeverRan.
    """
    import _socket as socket  # the monitor has loaded it

    pts = mounts.held.get("pts", -1)
    own = pts >= 0
    if not own:
        pts = open_plainly(os.open("/", O_ANY), "dev/pts")
        if pts < 0 or filesystem_type(pts) != DEVPTS_MAGIC:
            raise NeverRan(128, "the container has no /dev/pts, so there are no terminals in it")
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pts)
    check("terminal", "unlock", libc.ioctl(master, ctypes.c_ulong(TIOCSPTLCK), ctypes.byref(ctypes.c_int(0))))
    flags = ctypes.c_long(os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    slave = check("terminal", "open", libc.ioctl(master, ctypes.c_ulong(TIOCGPTPEER), flags))
    with_it = socket.socket(fileno=os.dup(channel))
    with_it.sendmsg([b"t"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))])
    with_it.close()
    os.close(master)
    wait_for(channel)  # or the command's first look could come before the size
    console = mounts.held.get("console", -1)
    if own and console >= 0:
        tree = clone_tree_fd(slave, "terminal", False)
        attach_at(tree, console, "/dev/console")
        os.close(tree)
    for number in (0, 1, 2):
        os.dup2(slave, number)


def become_as_weak(process: Process, ids: Ids) -> None:
    """Give the reaper the rights of its command: a command that may trace it (SYS_PTRACE) would gain all others."""
    keep_privileges_back(process.keep, process.no_new_privs)
    take_on_rights(process, ids)
    if process.no_new_privs:
        install_all(process)


def run_process(process: Process, ids: Ids, channel: int) -> NoReturn:
    """Take on limits, user and capabilities in an order that leaves each step the rights it needs; then exec.

    Raises NeverRan.
    """
    start_session(process.terminal)
    raise_limits(process.limits)
    own_stdio(ids[0] if process.switch else 0)
    keep_privileges_back(process.keep, process.no_new_privs)
    entered = enter_directory(process, may_fail=True)
    write_apparmor(process.apparmor)
    take_on_rights(process, ids)
    if not entered:
        enter_directory(process, may_fail=False)
    os.umask(0o022)
    reset_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if process.no_new_privs:
        install_all(process)
    if process.waits:
        os.write(channel, b"l")
        wait_for(channel)
    os.close(channel)
    number, path = execute(process.argv, "", process.env)
    raise exec_error(process.argv[0], number, path)


def take_on_rights(process: Process, ids: Ids) -> None:
    """Become the user with no more than the kept capabilities, under the filters if these need rights."""
    uid, gid, groups = ids
    if process.switch:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
    if not process.no_new_privs:
        install_all(process)
    if process.switch:
        os.setresuid(uid, uid, uid)
    if process.keep >= 0:
        set_capabilities(process.keep)
    # A change of user has cleared the first, and with some settings (fs.suid_dumpable) the second.
    prctl("die with parent", PR_SET_PDEATHSIG, SIGKILL)
    prctl("dumpable", PR_SET_DUMPABLE, 0)


def install_all(process: Process) -> None:
    for program in process.filters:
        install_filter(program)


def exec_error(name: str, number: int, path: str) -> NeverRan:
    """Return why a command could not be executed, in the words that scripts look for."""
    said = "unable to start container process: exec: "
    if number == 2 and "/" not in name:
        return NeverRan(127, f'{said}"{name}": executable file not found in $PATH')
    if number in (2, 20):
        return NeverRan(127, f'{said}"{name}": stat {path}: no such file or directory')
    if number == 13 and os.path.isdir(path):
        return NeverRan(126, f'{said}"{name}": is a directory: permission denied')
    return NeverRan(126, f'{said}"{name}": {os.strerror(number).lower()}')


def resolve_ids(process: Process) -> Ids:
    """Find user and groups in the container's files, and set HOME. Raises NeverRan."""
    try:
        uid, gid, groups, home = find_user(process.user, read_plain("etc/passwd"), read_plain("etc/group"))
        added = find_groups(process.groups, read_plain("etc/group")) if process.groups else ()
    except NoSuchId as error:
        raise NeverRan(128, str(error)) from None
    process.env.setdefault("HOME", home or "/")
    return uid, gid, tuple(dict.fromkeys((*groups, *added)))


def read_plain(path: str) -> bytes:
    """Return a file of the container, b"" if there is none. A pipe or a device is none."""
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = fd = -1
    try:
        found = open_how(top, path, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        if found < 0 or os.fstat(found).st_mode & 0o170000 != 0o100000:
            return b""
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return os.read(fd, MOST_OF_PASSWD)
    except OSError:
        return b""
    finally:
        for each in (top, found, fd):
            if each >= 0:
                os.close(each)


def own_stdio(uid: int) -> None:
    """Give pipes and terminals to the user, who may open /dev/stdout then."""
    for number in (0, 1, 2):
        status = os.fstat(number)
        if status.st_uid == uid or status.st_rdev == os.makedev(1, 3):
            continue
        try:
            os.fchown(number, uid, -1)
        except OSError:
            pass  # it belongs to somebody else


def raise_limits(limits: tuple[tuple[str, int, int, int], ...]) -> None:
    """Set resource limits. Raises NeverRan for one that the kernel refuses."""
    for name, number, soft, hard in limits:
        if libc.setrlimit(number, (ctypes.c_ulong * 2)(soft, hard)):
            why = os.strerror(ctypes.get_errno()).lower()
            raise NeverRan(128, f"error setting rlimits for ready process: error setting rlimit {name}: {why}")


def write_apparmor(profile: str) -> None:
    """Have the command run under an AppArmor profile, where the kernel has AppArmor. Raises NeverRan."""
    if not profile or not os.path.exists("/proc/self/attr/apparmor/exec"):
        return
    try:
        with open("/proc/self/attr/apparmor/exec", "w") as file:
            file.write(f"exec {profile}")
    except OSError as error:
        why = (error.strerror or "").lower()
        raise NeverRan(128, f"unable to apply apparmor profile: {profile}: {why}") from None


def write_oom_score(score: int | None) -> None:
    """Set how readily the kernel kills this process. Raises NeverRan."""
    if score is None:
        return
    prctl("dumpable", PR_SET_DUMPABLE, 1)  # the file is root's else
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError as error:
        why = (error.strerror or "").lower() + (": it needs CAP_SYS_RESOURCE" if error.errno == 13 else "")
        raise NeverRan(128, f"cannot set the OOM score to {score}: {why}") from None


def enter_directory(process: Process, *, may_fail: bool) -> bool:
    """Go to the working directory, and make sure that it is in the container; return whether that was possible.

    A path through /proc/self/fd could lead out (CVE-2024-21626). Raises NeverRan.
    """
    try:
        try:
            os.chdir(process.cwd)
        except FileNotFoundError:
            if not process.make_cwd:
                raise
            make_all(os.path.realpath(process.cwd))
            os.chdir(process.cwd)
        os.getcwd()  # fails outside of the root
    except PermissionError as error:
        if may_fail:
            return False
        raise no_directory(process.cwd, error) from None
    except OSError as error:
        raise no_directory(process.cwd, error) from None
    return True


def no_directory(path: str, error: OSError) -> NeverRan:
    text = (error.strerror or "").lower()
    code = 127 if error.errno == 2 else 126 if error.errno == 13 else 128
    return NeverRan(code, f'unable to start container process: chdir to cwd ("{path}") failed: {text}')
