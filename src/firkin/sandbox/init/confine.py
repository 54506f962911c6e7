"""Keeps a command from processes, sockets, devices and system calls that it does not need. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. Process C calls `confine` while it still
has the right to. It confines only that process and its descendants, never firkin. The kernel offers three means:

- a seccomp filter (`filters.py`) judges calls by their numbers and arguments;
- a Landlock domain (landlock(7)) judges calls by their target: processes in a domain may trace only processes in it,
  and with scopes signal and reach (over abstract sockets) only these. No rule restricts files;
- a separate mount of a root that is a plain directory (`enter_root`): no device on it can be opened, and nothing is
  above it.
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
    """Take away what a command does not need, if the kernel lets this process do so.

    The alternative, no_new_privs, would disable setuid programs (su, sudo, ping) as well.
    """
    if not may_confine():
        return
    in_domain = join_domain(limits.shared, landlock_abi())
    for program in limits.filters if in_domain or not limits.shared else limits.filters + limits.strangers:
        install_filter(program)


def enter_root(root: str, devices: tuple[tuple[str, int, int], ...]) -> bool:
    """Make `root` this process's `/`, in a new mount namespace; return whether that was possible.

    Beneath it only `devices` (path, major, minor) can be opened: an image may hold the node of any disk, and a
    command may make one. The namespace holds nothing else, while chroot only hides it: a descriptor of another root,
    which a command of another step can pass over a socket, leads no further than that root.
    If this process may not mount, `sandbox.chroot` runs one command at a time, and devices are the container's.
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
        return False  # mounts need more than capabilities here
    check("leave", "old root", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    return True


def may_confine() -> bool:
    """Return whether the kernel lets this process set filters and domains: seccomp(2), landlock_restrict_self(2)."""
    if libc.prctl(PR_GET_NO_NEW_PRIVS, *(ctypes.c_ulong(0),) * 4) == 1:
        return True
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    return bool(libc.capget(header, data) == 0 and data[0] >> CAP_SYS_ADMIN & 1)


def landlock_abi() -> int:
    """Return the ABI version of the kernel's Landlock, 0 or less if there is none."""
    size, flags = ctypes.c_long(0), ctypes.c_long(CREATE_RULESET_VERSION)
    return int(libc.syscall(ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET), None, size, flags))


def join_domain(shared: bool, abi: int) -> bool:
    """Put this process and its descendants into a new domain; return whether that was possible.

    Signals are scoped only if the command can see processes of others. A domain without scopes must restrict something:
    it restricts a right and allows the same right everywhere under `/`.
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
        return False  # the container's filter may refuse these calls
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
