"""System calls that Python's `os` lacks, one function each. Does I/O. Any module from `linux` upwards may import it.

Every function raises OSError with the errno and, if there is one, the path. The first call loads it all,
because the start of the command line must not pay for it. Calls newer than
Linux 5.1 have the same number on every architecture; the few older ones without a libc wrapper are in
`_OLD_NUMBERS`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NODEV = 0x4

# inotify(7): file written to, metadata changed, closed after writing; and events were lost.
IN_CHANGED = 0x2 | 0x4 | 0x8
IN_Q_OVERFLOW = 0x4000
_IN_CLOEXEC, _IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_CAPABILITY_VERSION = 0x20080522

_SYS_OPEN_TREE = 428
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_PIDFD_OPEN = 434
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_SYS_LANDLOCK_CREATE_RULESET = 444

_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_FSCONFIG_CMD_CREATE = 6
_FICLONE = 0x40049409

_libc: Any = None


def _load() -> Any:
    global _libc
    if _libc is None:
        from firkin.linux import slim_ctypes as ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        _libc = libc
    return _libc


def _fail(path: str | None = None) -> NoReturn:
    from firkin.linux import slim_ctypes as ctypes

    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)


def _libc_call(name: str, *args: object, path: str | None = None) -> int:
    function: Callable[..., int] = getattr(_load(), name)
    result = function(*args)
    if result < 0:
        _fail(path)
    return result


def _syscall(number: int, *args: object, path: str | None = None) -> int:
    # ctypes passes Python ints to a variadic C function as C ints; the kernel reads longs.
    libc = _load()
    from firkin.linux import slim_ctypes as ctypes

    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result: int = libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        _fail(path)
    return result


def _bytes(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _prctl(option: int, value: int) -> None:
    # prctl is variadic in C: the unused arguments must be zero as longs, because some options check them.
    from firkin.linux import slim_ctypes as ctypes

    _libc_call("prctl", option, *(ctypes.c_ulong(arg) for arg in (value, 0, 0, 0)))


def unshare(flags: int) -> None:
    """Move this process into new namespaces; CLONE_NEWUSER gives EINVAL in a threaded process."""
    _libc_call("unshare", flags)


def setns(fd: int, flags: int) -> None:
    """Enter namespaces of the process behind a pidfd, all in one step; Python's own function is younger than 3.11."""
    _libc_call("setns", fd, flags)


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None) -> None:
    """Mount with the old call, which cuts `data` at one page (4096 bytes)."""
    from firkin.linux import slim_ctypes as ctypes

    _libc_call(
        "mount", _bytes(source), _bytes(target), _bytes(fstype), ctypes.c_ulong(flags), _bytes(data), path=target
    )


def umount2(target: str, flags: int) -> None:
    """Unmount the topmost mount at `target`; MNT_DETACH hides it at once and frees it later."""
    _libc_call("umount2", _bytes(target), flags, path=target)


def set_parent_death_signal(signal: int) -> None:
    """Make the kernel send `signal` to this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def set_no_new_privs() -> None:
    """Make setuid bits and file capabilities ineffective for this process and all that it starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_capabilities(kept: int) -> None:
    """Give up all capabilities of this thread except those in the mask; threads that it starts later inherit that.

    Spec: capset(2), version 3 of its structures: effective, permitted, inheritable, low halves first.
    """
    from firkin.linux import slim_ctypes as ctypes

    libc = _load()
    header = ctypes.create_string_buffer(_CAPABILITY_VERSION.to_bytes(4, sys.byteorder) + bytes(4), 8)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data) < 0:
        _fail()
    left = b""
    for at in (0, 12):
        mask = kept >> (32 * (at // 12)) & 0xFFFFFFFF
        permitted = int.from_bytes(data.raw[at + 4 : at + 8], sys.byteorder) & mask
        left += permitted.to_bytes(4, sys.byteorder) * 2 + bytes(4)
    if libc.capset(header, left) < 0:
        _fail()


def set_child_subreaper() -> None:
    """Become the parent of orphaned descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(dumpable: bool) -> None:
    """Say whether processes of the same user may ptrace this one and read its memory and environment.

    The `/proc` files of a process that is not dumpable belong to the initial root, so id maps must be
    written before.
    """
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def pidfd_open(pid: int) -> int:
    """Return a descriptor of a process; unlike a pid, it never refers to another process."""
    return _syscall(_SYS_PIDFD_OPEN, pid, 0)


def fsopen(fstype: str) -> int:
    """Return a context in which a new file system of `fstype` can be configured."""
    return _syscall(_SYS_FSOPEN, os.fsencode(fstype), _FSOPEN_CLOEXEC, path=fstype)


def fsconfig_create(fd: int) -> None:
    """Make the file system that was configured."""
    _syscall(_SYS_FSCONFIG, fd, _FSCONFIG_CMD_CREATE, None, None, 0)


def fsmount(fd: int) -> int:
    """Return a detached mount (an O_PATH descriptor) of what `fsconfig_create` made."""
    return _syscall(_SYS_FSMOUNT, fd, _FSMOUNT_CLOEXEC, 0)


def open_tree_clone(path: str) -> int:
    """Return a detached bind mount of `path`, which can be moved to its place later."""
    return _syscall(_SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC, path=path)


def mount_setattr(fd: int, attributes: int) -> None:
    """Set `MOUNT_ATTR_*` on the mount that `fd` refers to."""
    from firkin.linux import slim_ctypes as ctypes

    buffer = ctypes.create_string_buffer(_pack_longs(attributes, 0, 0, 0), 32)
    _syscall(_SYS_MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH, ctypes.addressof(buffer), 32)


def openat2(dir_fd: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` relative to `dir_fd` with RESOLVE_* rules for every component.

    Raises OSError; ENOSYS or EPERM where a seccomp filter older than the call is in force.
    """
    from firkin.linux import slim_ctypes as ctypes

    buffer = ctypes.create_string_buffer(_pack_longs(flags | os.O_CLOEXEC, mode, resolve), 24)
    return _syscall(_SYS_OPENAT2, dir_fd, os.fsencode(path), ctypes.addressof(buffer), 24, path=path)


LANDLOCK_SCOPES_ABI = 6
"""The first version that can restrict abstract sockets and signals: Linux 6.12, landlock(7)."""


def landlock_abi() -> int:
    """Return the kernel's Landlock version (landlock(7)), 0 if it has none or a seccomp filter forbids the call."""
    try:
        return _syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def inotify_init() -> int:
    """Return a non-blocking descriptor from which events can be read; EMFILE above the user's limit."""
    return _libc_call("inotify_init1", _IN_CLOEXEC | _IN_NONBLOCK)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file, or a directory and its entries; return the watch's number, which its events have."""
    return _libc_call("inotify_add_watch", fd, os.fsencode(path), mask, path=path)


def clone_file(source_fd: int, target_fd: int) -> None:
    """Share the blocks of one file with another (reflink); EOPNOTSUPP or EXDEV if that is impossible."""
    import fcntl

    fcntl.ioctl(target_fd, _FICLONE, source_fd)


def _pack_longs(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, sys.byteorder) for value in values)
