"""Answers calls of a command that a filter alone cannot judge. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. A filter with a listener sends calls to
another process (seccomp_unotify(2)), which reads the arguments in memory and makes the call itself. The kernel never
reads that memory, which the caller may have changed meanwhile. Process B answers, or process S of `owners.py`.

    C  installs the filter, names its listener ("PID FD" through a pipe), and goes on when B has taken it
    B  takes the listener (pidfd_getfd(2)) and answers until the command has ended

Without a listener (an older kernel, or another listener already there) such calls give ENOSYS.

Answered here: socketcall(2) of 32-bit x86, which older C libraries use for every socket.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.sandbox.init.kernel import (
        SYS_PIDFD_OPEN,
        Failed,
        Poll,
        Status,
        filter_program,
        install_filter,
        libc,
        syscall,
    )

SYS_PIDFD_GETFD = 438
SYS_SECCOMP = {
    "x86_64": 317, "i686": 354, "aarch64": 277, "armv8l": 383, "armv7l": 383, "armv6l": 383, "riscv64": 277,
    "loongarch64": 277,
}  # fmt: skip
SET_MODE_FILTER, NEW_LISTENER = 1, 8
NOTIF_RECV, NOTIF_SEND, NOTIF_ID_VALID = 0xC0502100, 0xC0182101, 0x40082102
NOTIF_ADDFD, NOTIF_SET_FLAGS = 0x40182103, 0x40082104
SYNC_WAKE_UP = 1
REAP_MS = 1000  # how long ended orphans may wait to be reaped

EPERM, ENOENT, EBADF, EFAULT, ENAMETOOLONG, ELOOP, EAFNOSUPPORT = 1, 2, 9, 14, 36, 40, 97
MOST_PATH, PAGE = 4096, 4096
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17
SOCK_TYPE, SOCK_RAW, SOCK_PACKET, SOCK_CLOEXEC = 0xF, 3, 10, 0o2000000


class ListeningFilter:
    """The pipes between C and the process that answers; made before these two processes are forked."""

    def __init__(self, program: bytes, instead: bytes) -> None:
        self.program, self.instead = program, instead
        self.hello, self.hello_end = os.pipe()
        self.ready, self.ready_end = os.pipe()
        self.fds: tuple[int, ...] = (self.hello, self.hello_end, self.ready, self.ready_end)

    def admit(self, status: Status) -> None:
        """Install the filter in process C; if the kernel grants it no listener, install `instead`."""
        number = SYS_SECCOMP.get(os.uname().machine, -1)
        record = filter_program(self.program)
        try:
            listener = syscall("listen", "filter", number, SET_MODE_FILTER, NEW_LISTENER, ctypes.addressof(record))
        except Failed as failed:
            install_filter(self.instead)
            status.tell("unheard", failed.number)
            return
        os.close(self.ready_end)
        os.write(self.hello_end, b"%d %d" % (os.getpid(), listener))
        os.read(self.ready, 1)
        os.close(listener)

    def after_fork(self) -> int:
        """Return the listener that process B answers, -1 if it does not."""
        return self.take()

    def finish(self) -> None:
        """Do the remaining work after the command has ended."""

    def take(self) -> int:
        """Return the listener, -1 if there is none; waits for C."""
        os.close(self.hello_end)
        os.close(self.ready)
        listener = -1
        hello = os.read(self.hello, 64)
        try:
            if hello:
                pid, number = map(int, hello.split())
                pidfd = syscall("listen", "pidfd", SYS_PIDFD_OPEN, pid, 0)
                listener = syscall("listen", "getfd", SYS_PIDFD_GETFD, pidfd, number, 0)
                os.close(pidfd)
                # The two processes wait for each other, so one core serves both (Linux 6.6; older kernels are slower).
                libc.ioctl(listener, ctypes.c_ulong(NOTIF_SET_FLAGS), ctypes.c_ulong(SYNC_WAKE_UP))
        except Failed:
            pass  # C runs where this process may not look into it: its calls give ENOSYS
        os.close(self.hello)
        os.close(self.ready_end)  # which C waits for
        return listener


def wait_and_answer(child: int, listener: int) -> int:
    """Act as process B: answer calls and reap until the command has ended; return its wait status."""
    ended = syscall("listen", "pidfd", SYS_PIDFD_OPEN, child, 0)
    waits = (Poll * 2)(Poll(ended, 1, 0), Poll(listener, 1, 0))
    while True:
        libc.poll(waits, ctypes.c_ulong(2), REAP_MS)
        if waits[1].revents & 1:
            asked = receive(listener)
            if asked is not None:
                answer_socket(listener, asked)
        elif waits[1].revents:
            waits[1].fd = -1  # no process with the filter is left
        pid = -1
        while pid:
            pid, result = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return result


class Asked:
    """One call that waits for its answer."""

    def __init__(self, words: list[int]) -> None:
        self.ident, self.pid = words[0], words[1] & 0xFFFFFFFF
        self.number, self.architecture = signed(words[2]), words[2] >> 32
        self.args = tuple(words[4:])


def receive(listener: int) -> Asked | None:
    """Return the next call, None if it was withdrawn."""
    buffer = ctypes.create_string_buffer(80)
    if libc.ioctl(listener, ctypes.c_ulong(NOTIF_RECV), buffer) < 0:
        return None
    return Asked([int.from_bytes(buffer.raw[at : at + 8], sys.byteorder) for at in range(0, 80, 8)])


def answer(listener: int, asked: Asked, value: int, error: int) -> None:
    fields = (asked.ident, value, -error & 0xFFFFFFFF)  # error, then flags (none)
    reply = b"".join(field.to_bytes(8, sys.byteorder) for field in fields)
    libc.ioctl(listener, ctypes.c_ulong(NOTIF_SEND), ctypes.create_string_buffer(reply, 24))


def still_waits(listener: int, asked: Asked) -> bool:
    """Return whether the caller still waits, so that its pid cannot belong to another process."""
    known = ctypes.c_uint64(asked.ident)
    return bool(libc.ioctl(listener, ctypes.c_ulong(NOTIF_ID_VALID), ctypes.byref(known)) == 0)


def answer_socket(listener: int, asked: Asked) -> None:
    """Answer socketcall(SYS_SOCKET, …): make the socket here, if it is one that `filters` allows."""
    try:
        words = read_memory(asked.pid, asked.args[1] & 0xFFFFFFFF, 12)
    except OSError:
        answer(listener, asked, 0, EFAULT)
        return
    family, kind, protocol = (int.from_bytes(words[at : at + 4], sys.byteorder) for at in (0, 4, 8))
    error = judge_socket(family, kind)
    made = -1
    if not error:
        made = libc.socket(family, signed(kind | SOCK_CLOEXEC), signed(protocol))
        error = ctypes.get_errno() if made < 0 else 0
    given = 0
    if made >= 0 and still_waits(listener, asked):
        cloexec = os.O_CLOEXEC if kind & SOCK_CLOEXEC else 0
        fields = b"".join(field.to_bytes(4, sys.byteorder) for field in (0, made, 0, cloexec))
        request = ctypes.create_string_buffer(asked.ident.to_bytes(8, sys.byteorder) + fields, 24)
        given = libc.ioctl(listener, ctypes.c_ulong(NOTIF_ADDFD), request)
        error = ctypes.get_errno() if given < 0 else 0
    if made >= 0:
        os.close(made)
    answer(listener, asked, max(given, 0), error)


def judge_socket(family: int, kind: int) -> int:
    """Return the errno for a socket, 0 if it is allowed. Raw sockets are refused, as this process has rights to all."""
    if family in (AF_UNIX, AF_NETLINK):
        return 0
    if family in (AF_INET, AF_INET6):
        return EPERM if kind & SOCK_TYPE in (SOCK_RAW, SOCK_PACKET) else 0
    return EPERM if family == AF_PACKET else EAFNOSUPPORT


def signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Return `size` bytes of a process's memory. Raises OSError if they cannot be read."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.pread(memory, size, address)
    finally:
        os.close(memory)
    if len(found) < size:
        raise OSError(EFAULT, "")
    return found


def read_text(pid: int, address: int) -> bytes:
    """Return the path at an address of a process. Raises OSError."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    text = b""
    try:
        while len(text) < MOST_PATH:
            try:
                piece = os.pread(memory, PAGE - address % PAGE, address)
            except OSError:
                raise OSError(EFAULT, "") from None
            end = piece.find(b"\0")
            if end >= 0:
                return text + piece[:end]
            if not piece:
                raise OSError(EFAULT, "")
            text += piece
            address += len(piece)
    finally:
        os.close(memory)
    raise OSError(ENAMETOOLONG, "")
