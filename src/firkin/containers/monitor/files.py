"""Whole files, locks, and the removal of trees. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.linux.cgroups import read_whole
    from firkin.sandbox.init.kernel import libc

F_OFD_SETLK, F_WRLCK, LOCK_EX, LOCK_NB = 37, 1, 2, 4
FULL = (28, 122)  # ENOSPC, EDQUOT
F_NOTIFY, DN_DELETE, DN_MULTISHOT = 1026, 8, 0x80000000
JOURNAL_BYTES = 4 << 20


class Lock(ctypes.Structure):
    """struct flock of fcntl(2)."""

    _fields_ = [
        ("kind", ctypes.c_short), ("whence", ctypes.c_short), ("start", ctypes.c_int64), ("length", ctypes.c_int64),
        ("pid", ctypes.c_int),
    ]  # fmt: skip


def take_lock(path: str) -> int:
    """Lock a file for as long as the returned descriptor is open; -1 if somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if libc.fcntl(fd, F_OFD_SETLK, ctypes.byref(Lock(F_WRLCK, 0, 0, 0, 0))) < 0:
        os.close(fd)
        return -1
    return fd


def tell_of_deletions(path: str) -> None:
    """Have the signal IO sent for each file that is deleted in a directory; on a kernel that cannot, nobody tells.

    Not by inotify: a user may have 128 of these (fs.inotify.max_user_instances), and more containers.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # open for good: closed, it tells nothing
    libc.fcntl(fd, F_NOTIFY, ctypes.c_ulong(DN_DELETE | DN_MULTISHOT))


def is_deleted(fd: int) -> bool:
    """Say whether an open file has no name any more."""
    return os.fstat(fd).st_nlink == 0


def wait_for_lock(path: str, flags: int = 0) -> int:
    """Take flock(2) of a file, waiting for others; it is free again when the returned descriptor is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    libc.flock(fd, LOCK_EX)
    return fd


def try_lock(path: str) -> int:
    """Like `wait_for_lock`, but return -1 if somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if libc.flock(fd, LOCK_EX | LOCK_NB):
        os.close(fd)
        return -1
    return fd


def write_own(fd: int, text: str) -> None:
    """Say who has a lock and where to find it, in its file; a full disk leaves it empty."""
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
    except OSError:
        pass


def write_whole(path: str, content: bytes) -> None:
    """Replace a file; whoever reads it sees the old or the new one. Raises OSError.

    On a full disk it is written in its place, which has room: a wrong state would be worse than a torn one.
    """
    beside = f"{path}.new"
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, content) != len(content):
                raise OSError(FULL[0], os.strerror(FULL[0]))
        finally:
            os.close(fd)
        os.replace(beside, path)
    except OSError as error:
        unlink_if_there(beside)
        if error.errno not in FULL:
            raise
        overwrite(path, content)


def overwrite(path: str, content: bytes) -> None:
    """Write over a file that is there, with one write(2). Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.write(fd, content) == len(content):
            os.ftruncate(fd, len(content))
    finally:
        os.close(fd)


def append_line(path: str, line: bytes) -> None:
    """Add an event to the journal, whole or not at all (docs/dev/container-state.md). Raises OSError."""
    fd = open_journal(path)
    try:
        size = os.fstat(fd).st_size
        if os.write(fd, line) != len(line):
            os.ftruncate(fd, size)  # the disk is full
        elif size + len(line) > JOURNAL_BYTES:
            os.rename(path, f"{path}.1")
    finally:
        os.close(fd)


def open_journal(path: str) -> int:
    """Open the journal and lock it. Raises OSError."""
    while True:
        fd = wait_for_lock(path, os.O_APPEND)
        try:
            if os.fstat(fd).st_ino == os.stat(path).st_ino:
                return fd
        except FileNotFoundError:
            pass  # it was just renamed, and nobody has begun the next one
        os.close(fd)


def start_ticks(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), stat, field 22); 0 if it has ended."""
    fields = read_whole(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def is_exiting(pid: int) -> bool:
    """Say whether a process is ending or has ended (proc(5), stat, field 9: PF_EXITING of linux/sched.h)."""
    fields = read_whole(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return len(fields) < 7 or bool(int(fields[6]) & 4)


def link_text(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
