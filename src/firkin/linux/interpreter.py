"""The machine's interpreter, as it is started for those who may try to write to it. Does I/O."""

from __future__ import annotations

import os

from firkin.linux.syscalls import MOUNT_ATTR_RDONLY, mount_setattr, open_tree_clone


def read_only_program(path: str) -> int:
    """Return a descriptor of a program on a read-only mount of its own, -1 where that cannot be.

    What enters a root of somebody else's runs this program until it becomes the command, and a command that is called
    `/proc/self/exe` is the program again (CVE-2019-5736). A root that is the machine's could write to it, but not so.
    """
    if os.geteuid() != 0 or _has_library_elsewhere():
        return -1
    fd = -1
    try:
        fd = open_tree_clone(path)
        mount_setattr(fd, MOUNT_ATTR_RDONLY)
        return fd
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1


def _has_library_elsewhere() -> bool:
    """Say whether the interpreter's library is not where every program finds it, but relative to the program."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            paths = (line.rpartition(b" ")[2] for line in maps if b"/libpython" in line)
            return not all(path.startswith((b"/usr/", b"/lib")) for path in paths)
    except OSError:
        return True  # without /proc, no program can be started by its descriptor
