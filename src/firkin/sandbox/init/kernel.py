"""What every part of the stand-alone program needs: calls of libc, and the pipe to the worker. Does I/O.

A part of the program `init`; all parts share its global names.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.sandbox.operations import Operation

SYS_PIDFD_OPEN = 434  # the same on every architecture

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
SIGKILL = 9
EIO = 5

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Poll(ctypes.Structure):
    """struct pollfd."""

    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


class Failed(Exception):
    """An operation failed: its name, the errno and the path or other detail."""

    def __init__(self, op: str, number: int, detail: str) -> None:
        super().__init__(op, number, detail)
        self.op, self.number, self.detail = op, number, detail


class Status:
    """The pipe to the worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def tell(self, *fields: object) -> None:
        line = b"\0".join(os.fsencode(str(field)).replace(b"\n", b"?").replace(b"\0", b"?") for field in fields)
        try:
            os.write(self.fd, line[:2000] + b"\n")
        except BrokenPipeError:
            pass  # the worker is gone, and this process will soon be killed

    def tell_failed(self, failed: Failed) -> None:
        self.tell("setup", failed.op, failed.number, failed.detail)


def failed_operation(method: str, operation: Operation, error: OSError | ValueError) -> Failed:
    """Return the error of a failed operation; its name is that of its method, without `op_`."""
    op = method.removeprefix("op_")
    if not isinstance(error, OSError):
        return Failed(op, EIO, str(error))
    detail = error.filename if isinstance(error.filename, str) else str(operation[0] if operation else "")
    return Failed(op, error.errno or 0, detail)


def check(op: str, detail: str, result: int) -> int:
    """Return the result of a libc call. Raises Failed for a negative one."""
    if result < 0:
        raise Failed(op, ctypes.get_errno(), detail)
    return result


def syscall(op: str, detail: str, number: int, *args: object) -> int:
    # ctypes passes int arguments as C ints, but the kernel reads longs.
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return check(op, detail, libc.syscall(ctypes.c_long(number), *wide))


def prctl(op: str, option: int, value: int, third: int = 0) -> int:
    args = (ctypes.c_ulong(value), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return check(op, str(value), libc.prctl(option, *args))


def find_arguments() -> tuple[int, int]:
    """Return where the kernel has this process's arguments: the first byte, the one after the last; or zeros."""
    try:
        stat = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, 0
    fields = os.read(stat, 4096).rpartition(b") ")[2].split()
    os.close(stat)
    return int(fields[45]), int(fields[46])


def show_as(place: tuple[int, int], *words: str) -> None:
    """Let `ps` show these words for this process, not the text of its program and where this machine has it."""
    start, end = place
    text = b"\0".join([os.fsencode(word) for word in words])[: max(0, end - start - 1)]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))
    libc.prctl(PR_SET_NAME, ctypes.c_char_p(os.fsencode(words[0].rpartition("/")[2])))


def die_with(pidfd: int) -> None:
    """Let the kernel kill this process when its parent ends; end now if the parent already has."""
    prctl("die with parent", PR_SET_PDEATHSIG, SIGKILL)
    if libc.poll(ctypes.byref(Poll(pidfd, 1, 0)), ctypes.c_ulong(1), 0) > 0:
        os._exit(125)


def close_all_but(*kept: int) -> None:
    """Close every descriptor except the standard ones and these."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 12)


class FilterProgram(ctypes.Structure):
    """struct sock_fprog; it keeps the instructions that it points to."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    instructions: object


def filter_program(program: bytes) -> FilterProgram:
    """Return a seccomp program (struct sock_filter records) in the form that the kernel takes."""
    buffer = ctypes.create_string_buffer(program, len(program))
    record = FilterProgram(len(program) // 8, ctypes.addressof(buffer))
    record.instructions = buffer
    return record


def install_filter(program: bytes) -> None:
    record = filter_program(program)
    args = (ctypes.c_ulong(2), ctypes.byref(record), ctypes.c_ulong(0), ctypes.c_ulong(0))
    check("seccomp", "filter", libc.prctl(PR_SET_SECCOMP, *args))
