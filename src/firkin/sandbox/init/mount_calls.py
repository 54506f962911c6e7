"""Mounts by descriptors: made detached, changed, and put in place (open_tree(2), move_mount(2)). Does I/O.

A part of the stand-alone program `init`; all parts share its global names.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.sandbox.init.kernel import Failed, check, libc, syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
MS_NODEV = 4
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

# These numbers are the same on every architecture.
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442
# The number of this older call differs.
SYS_PIVOT_ROOT = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41,
    "armv7l": 218, "armv6l": 218, "ppc64le": 203, "s390x": 217, "i686": 217,
}  # fmt: skip


def new_filesystem(fstype: str, options: tuple[tuple[str, str], ...], attributes: int) -> int:
    """Return a detached mount of a new file system; an option with an empty value is a flag.

    Programs that read /proc/mounts find its type where the name of a device would be, as in docker's containers, unless
    the option `source` says otherwise.
    """
    op = f"mount {fstype}"
    fd = syscall(op, "fsopen", SYS_FSOPEN, fstype.encode(), 1)
    try:
        named = () if "source" in dict(options) else (("source", fstype),)
        for key, value in named + options:
            if value:
                syscall(op, f"{key}={value}", SYS_FSCONFIG, fd, 1, key.encode(), os.fsencode(value), 0)
            else:
                syscall(op, key, SYS_FSCONFIG, fd, 0, key.encode(), None, 0)
        syscall(op, "create", SYS_FSCONFIG, fd, 6, None, None, 0)
        return syscall(op, "fsmount", SYS_FSMOUNT, fd, 1, attributes)
    finally:
        os.close(fd)


def clone_tree(path: str, recursive: bool) -> int:
    """Return a detached bind mount of `path`."""
    flags = 1 | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return syscall("bind", path, SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)


def clone_tree_fd(fd: int, detail: str, recursive: bool) -> int:
    flags = 1 | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return syscall("bind", detail, SYS_OPEN_TREE, fd, b"", flags)


def attach(fd: int, target: str) -> None:
    """Put a detached mount in its place."""
    syscall("attach", target, SYS_MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
    os.close(fd)


def attach_at(fd: int, point: int, detail: str) -> None:
    """Put a detached mount over the file or directory behind the descriptor `point`, and close `point`."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("attach", detail, SYS_MOVE_MOUNT, fd, b"", point, b"", flags)
    os.close(point)


def set_attributes(fd: int, attributes: int, recursive: bool, detail: str, clear: int = 0) -> None:
    words = (attributes, clear, 0, 0)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in words), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount attributes", detail, SYS_MOUNT_SETATTR, fd, b"", flags, ctypes.addressof(buffer), 32)


def open_beneath(root: str, path: str) -> int:
    """Return an O_PATH descriptor of `path`, resolved with `root` as `/`; links cannot lead out of it."""
    fields = (os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in fields), 24)
    fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        name = os.fsencode(path.lstrip("/") or ".")
        return syscall("bind", f"{root}/{path}", SYS_OPENAT2, fd, name, ctypes.addressof(buffer), 24)
    finally:
        os.close(fd)


def is_directory(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def overlay(lowers: tuple[str, ...], upper: str, work: str, attributes: int, volatile: bool) -> int:
    """Return a detached overlay mount; `lowers` are from the top down; it is read-only without `upper`.

    It always has `userxattr`, so that root and users write the same trees. `volatile` skips the fsyncs of
    the upper directory: the code that keeps a layer makes it durable, once, and what nobody keeps need not be.
    """
    if is_before_6_5(os.uname().release):
        return overlay_before_6_5(lowers, upper, work, attributes, volatile)
    held: list[int] = []

    def short(path: str) -> str:
        # A parameter is limited to 255 bytes, and upperdir and workdir treat `\` as an escape.
        if len(os.fsencode(path)) < 200 and "\\" not in path:
            return path
        held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return f"/proc/self/fd/{held[-1]}"

    options = [("lowerdir+", short(path)) for path in lowers]
    options += [("upperdir", short(upper)), ("workdir", short(work))] if upper else []
    options += [("volatile", "")] if volatile else []
    options.append(("userxattr", ""))
    try:
        return new_filesystem("overlay", tuple(options), attributes)
    except Failed as failed:
        # Those of 6.5 and 6.6 say so to us alone.
        if failed.number != 22 or not failed.detail.startswith(("lowerdir+", "create")):
            raise
        return overlay_before_6_5(lowers, upper, work, attributes, volatile)
    finally:
        for fd in held:
            os.close(fd)


def is_before_6_5(release: str) -> bool:
    """Say whether a kernel complains in its log of each parameter `lowerdir+`, which it does not know."""
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor) if minor.isdigit() else 0) < (6, 5)


def overlay_before_6_5(lowers: tuple[str, ...], upper: str, work: str, attributes: int, volatile: bool) -> int:
    """Like `overlay` for kernels without `lowerdir+`: one page holds all options, so descriptors name the layers."""
    held: list[int] = []

    def short(path: str) -> str:
        held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return f"/proc/self/fd/{held[-1]}"

    try:
        data = f"lowerdir={':'.join([short(path) for path in lowers])},userxattr"
        if upper:
            data += f",upperdir={short(upper)},workdir={short(work)}"
        data += ",volatile" if volatile else ""
        # Only an attached mount can be opened, so attach it over its own lowest layer first.
        place = short(lowers[-1]).encode()
        flags = ctypes.c_ulong(MS_NODEV if attributes & MOUNT_ATTR_NODEV else 0)
        check("mount overlay", upper, libc.mount(b"overlay", place, b"overlay", flags, data.encode()))
        fd = clone_tree(lowers[-1], False)
        check("umount", lowers[-1], libc.umount2(os.fsencode(lowers[-1]), MNT_DETACH))
        return fd
    finally:
        for fd in held:
            os.close(fd)


def pivot_into(root: int) -> None:
    """Make a mount the root; the old one lies on top of it until it is unmounted (pivot_root(2), "." twice).

    Raises Failed.
    """
    os.fchdir(root)
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise Failed("pivot", 38, os.uname().machine)
    syscall("pivot", "/", number, b".", b".")
    os.chdir("/")


def uncover(parent: int, name: str) -> None:
    """Unmount everything over a name in a directory."""
    os.fchdir(parent)
    while libc.umount2(os.fsencode(name), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass
