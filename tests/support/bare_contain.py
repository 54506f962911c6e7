"""A stand-in for the sandbox in tests of the monitor: `contain` starts a command of this machine, without a container.

Compiled as a part of the monitor's program, so it imports what parts may import. Packed plans are dicts: `argv`, `tty`,
and `fail` for a start that fails with (status, text).
"""

import _signal
import ctypes
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def prctl(op, option, value):
    return libc.prctl(option, *[ctypes.c_ulong(each) for each in (value, 0, 0, 0)])


def find_arguments():
    return None


def show_as(place, *words):
    pass  # it keeps its interpreter's name in ps


def close_all_but(*kept):
    for fd in range(3, 256):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass


def clone_sibling():
    library = ctypes.PyDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    zeros = [ctypes.c_long(0)] * 4
    return library.syscall(ctypes.c_long(number), ctypes.c_long(0x8000 | 17), *zeros)


class Process:
    """The fields of a command that a second one replaces."""

    __annotations__ = {"argv": None, "env": None}


def fork_into(packed):
    return os.fork(), False


def contain(packed, changes, status_fd, channel_fd, stdio, joined, parent):
    plan = {**(packed if isinstance(packed, dict) else {}), **changes}
    if plan.get("fail"):
        os.write(status_fd, b"failed\0%d\0%s\n" % (plan["fail"][0], plan["fail"][1].encode()))
        os._exit(1)
    child = clone_sibling()
    if child:
        os.write(status_fd, b"pid\0%d\n" % child)
        os._exit(0)
    prctl("die with parent", 1, 9)
    os.setsid()
    if plan.get("terminal"):
        send_terminal(channel_fd)
    else:
        null = os.open("/dev/null", os.O_RDWR)
        for place, fd in enumerate(stdio):
            os.dup2(null if fd < 0 else fd, place)
    for number in range(1, 32):
        if number not in (9, 19):
            _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execvpe(plan["argv"][0], plan["argv"], {"PATH": "/usr/bin:/bin", **plan.get("env", {})})
    except OSError:
        text = f'exec: "{plan["argv"][0]}": executable file not found in $PATH'
        os.write(status_fd, b"failed\x00127\0%s\n" % text.encode())
        os._exit(127)


def send_terminal(channel_fd):
    import _socket

    master, slave = os.openpty()
    channel = _socket.socket(fileno=os.dup(channel_fd))
    channel.sendmsg([b"t"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))])
    os.close(master)
    if os.read(channel_fd, 1) != b"g":  # it has its size
        os._exit(125)
    for place in range(3):
        os.dup2(slave, place)
    libc.ioctl(0, ctypes.c_ulong(0x540E), 0)
