"""What keeps a command from processes, sockets, devices and system calls that it has no business with. Does I/O.

A part of the stand-alone program `init`, in whose names it is executed: process C calls `confine` while it
still has the right to. Only that process and what comes of it are confined, never firkin. Three means of the kernel:

- a seccomp filter (`filters.py`), which judges calls by their numbers and arguments;
- a Landlock domain (landlock(7)), which judges by whom something belongs to: whoever is in one may trace, and with
  scopes signal and reach over abstract sockets, only those who are in it too. No rule restricts files;
- a mount of its own for a root that is a plain directory (`enter_root`): no device can be opened on it, and nothing
  lies above it.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.sandbox.init.image_root import O_ANY, Root, look
    from firkin.sandbox.init.kernel import Failed, check, install_filter, libc, syscall
    from firkin.sandbox.init.mount_calls import (
        MNT_DETACH,
        attach,
        attach_at,
        clone_tree_fd,
        pivot_into,
        set_attributes,
    )
    from firkin.sandbox.operations import Confinement

PR_GET_NO_NEW_PRIVS = 39
CAP_SYS_ADMIN = 21
CLONE_NEWNS = 0x00020000
MS_REC_PRIVATE = 16384 | 1 << 18
NODEV = 0x4

# The same on every architecture.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
ACCESS_FS_MAKE_BLOCK = 1 << 11
ACCESS_FS_REFER = 1 << 13
SCOPE_ABSTRACT_UNIX_SOCKET = 1
SCOPE_SIGNAL = 2
ABI_REFER, ABI_SCOPES = 2, 6


def confine(limits: Confinement) -> None:
    """Take away what a command need not have, if the kernel lets this process do so.

    The alternative, no_new_privs, would take setuid programs (su, sudo, ping) from it as well.
    """
    if not may_confine():
        return
    in_domain = join_domain(limits.shared, landlock_abi())
    for program in limits.filters if in_domain or not limits.shared else limits.filters + limits.strangers:
        install_filter(program)


def enter_root(root: str, devices: tuple[tuple[str, int, int], ...]) -> bool:
    """Make `root` this process's `/`, in a mount namespace of its own; say whether that could be.

    No device beneath it can be opened but `devices` (path, major, minor): an image may hold the node of any disk, and
    a command may make one. And there is nothing else in that namespace, while chroot only hides it: a descriptor of
    another root, which a command of another step can pass over a socket, leads no further than that root.
    Where this process may not mount, `sandbox.chroot` runs one command at a time, and devices are the container's.
    """
    if libc.unshare(CLONE_NEWNS) < 0:
        return False
    held = []
    try:
        check("private", "/", libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None))
        below = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        for path, major, minor in devices:
            parent, rest = Root(below).find(path)
            status = look(parent, rest[0])
            if status is not None and status.st_rdev == os.makedev(major, minor):
                held.append((path, clone_tree_fd(os.open(rest[0], O_ANY, dir_fd=parent), path, False)))
        cover = clone_tree_fd(below, root, False)
        set_attributes(cover, NODEV, False, root)
        attach(os.dup(cover), root)
        for path, node in held:
            parent, rest = Root(cover).find(path)
            attach_at(node, os.open(rest[0], O_ANY, dir_fd=parent), path)
        pivot_into(cover)
    except Failed:
        return False  # something else than capabilities decides about mounts here
    check("leave", "old root", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    return True


def may_confine() -> bool:
    """Say whether the kernel takes filters and domains from this process: seccomp(2), landlock_restrict_self(2)."""
    if libc.prctl(PR_GET_NO_NEW_PRIVS, *(ctypes.c_ulong(0),) * 4) == 1:
        return True
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    return bool(libc.capget(header, data) == 0 and data[0] >> CAP_SYS_ADMIN & 1)


def landlock_abi() -> int:
    """Return what the kernel's Landlock can do, 0 or less where it has none."""
    size, flags = ctypes.c_long(0), ctypes.c_long(CREATE_RULESET_VERSION)
    return int(libc.syscall(ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET), None, size, flags))


def join_domain(shared: bool, abi: int) -> bool:
    """Make a domain for this process and what comes of it; say whether it is in one.

    Signals are scoped only where there is somebody else to send them to. A domain without scopes needs a rule to be
    one: it allows under `/` what it restricts.
    """
    words: tuple[int, ...]
    if abi >= ABI_SCOPES:
        words = (0, 0, SCOPE_ABSTRACT_UNIX_SOCKET | (SCOPE_SIGNAL if shared else 0))
    elif abi >= ABI_REFER and shared:
        words = (ACCESS_FS_MAKE_BLOCK | ACCESS_FS_REFER,)
    else:
        return False
    ruleset = -1
    try:
        attributes = packed(*words)
        ruleset = syscall("landlock", "ruleset", SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
        if words[0]:
            allow_everywhere(ruleset, words[0])
        syscall("landlock", "domain", SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    except Failed:
        return False  # the container's own filter may not know these calls
    finally:
        if ruleset >= 0:
            os.close(ruleset)
    return True


def allow_everywhere(ruleset: int, access: int) -> None:
    top = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        rule = packed(access) + top.to_bytes(4, sys.byteorder)
        syscall("landlock", "rule", SYS_LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(top)


def packed(*words: int) -> bytes:
    return b"".join(word.to_bytes(8, sys.byteorder) for word in words)
