"""Owners, attributes, special files and removals on disk. Does I/O. `layer` and `content` use it.

Files are named by the descriptor of their directory and one name in it. Spec: Linux
Documentation/filesystems/overlayfs.rst (whiteouts and opaque directories, userxattr).
"""

from __future__ import annotations

import errno
import os

from firkin.errors import HostError
from firkin.layer.change import Entry

OPAQUE_XATTR = "user.overlay.opaque"
WHITEOUT_XATTR = "user.overlay.whiteout"

_S_IFMT, _S_IFREG, _S_IFDIR, _S_IFCHR, _S_IFBLK = 0o170000, 0o100000, 0o040000, 0o020000, 0o060000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP, errno.ENOTDIR, errno.EFBIG, errno.EMLINK)


def unmakable(path: str, error: OSError) -> ValueError | None:
    """Return the error for a file that no file system can hold under this name; None for a fault of the machine."""
    if error.errno not in _OF_THE_NAME:
        return None
    shown = path if len(path) <= 120 else f"{path[:100]}…"
    return ValueError(f"`{shown}` cannot be made: {(error.strerror or '').lower()}")


def set_owner(target: str | int, entry: Entry, shown: str, *, dir_fd: int | None = None) -> None:
    """Give a file (name or descriptor, not followed) its owner; to be done before mode and xattrs.

    Raises HostError where the user namespace does not map the ids.
    """
    try:
        if isinstance(target, int):
            os.fchown(target, entry.uid, entry.gid)
        else:
            os.chown(target, entry.uid, entry.gid, dir_fd=dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise HostError(
            f"the owner {entry.uid}:{entry.gid} of `{shown}` is not among the ids of this user namespace",
            code="unmapped-owner",
            hints=("give the user more subordinate ids in /etc/subuid and /etc/subgid",),
        ) from None


def set_xattr(target: int, attribute: str, value: bytes, shown: str, *, escape: bool) -> str:
    """Set an attribute that a layer may carry, ignore any other; return why it was refused, or "".

    `escape` is for trees that overlayfs will read: a layer must not control overlayfs, and escaped attributes
    appear under their own name once mounted. Raises ValueError for an attribute that no file can have.
    """
    if attribute.startswith("user."):
        if escape and attribute.startswith("user.overlay."):
            attribute = "user.overlay." + attribute[5:]
    elif attribute != "security.capability":
        return ""
    try:
        os.setxattr(target, attribute, value)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP):
            return f"the extended attribute {attribute} was refused"
        if error.errno in (errno.EINVAL, errno.ERANGE, errno.E2BIG, errno.ENOSPC):
            why = (error.strerror or "").lower()
            raise ValueError(f"`{shown}` cannot have its extended attribute {attribute[:80]}: {why}") from None
        raise
    return ""


def make_special(dir_fd: int, name: str, entry: Entry) -> str:
    """Make a fifo or device; return why it could not be, or "". Raises FileExistsError."""
    if entry.kind == "fifo":
        os.mkfifo(name, 0o600, dir_fd=dir_fd)
        return ""
    if entry.kind == "char" and not entry.major and not entry.minor:
        return "the device 0:0 means a removal"
    try:
        mode = _S_IFCHR if entry.kind == "char" else _S_IFBLK
        os.mknod(name, mode | 0o600, os.makedev(entry.major, entry.minor), dir_fd=dir_fd)
    except PermissionError:
        return "devices need root outside of a user namespace"
    return ""


def make_whiteout(dir_fd: int, name: str) -> None:
    """Make a file that overlayfs takes for a removal; raises FileExistsError.

    Where even the device 0:0 is refused (kernels before 5.8 in user namespaces), the form by
    attributes is used, which kernels from 6.7 understand.
    """
    try:
        os.mknod(name, _S_IFCHR | 0o600, 0, dir_fd=dir_fd)
    except PermissionError:
        make_xattr_whiteout(dir_fd, name)


def make_xattr_whiteout(dir_fd: int, name: str) -> None:
    """Make a removal by attributes: an empty file with one, in a directory with another."""
    fd = os.open(name, _CREATE, 0o600, dir_fd=dir_fd)
    try:
        os.setxattr(fd, WHITEOUT_XATTR, b"y")
    finally:
        os.close(fd)
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if OPAQUE_XATTR not in os.listxattr(folder):
            os.setxattr(folder, OPAQUE_XATTR, b"x")
    finally:
        os.close(folder)


def is_whiteout(dir_fd: int, name: str) -> bool:
    """Say whether overlayfs takes a file for a removal, in either form."""
    status = os.lstat(name, dir_fd=dir_fd)
    kind = status.st_mode & _S_IFMT
    if kind == _S_IFCHR:
        return status.st_rdev == 0
    if kind != _S_IFREG or status.st_size:
        return False
    try:
        fd = os.open(name, _READ, dir_fd=dir_fd)
    except PermissionError:
        return False  # a file with the mark is always readable
    try:
        return WHITEOUT_XATTR in os.listxattr(fd)
    finally:
        os.close(fd)


def get_xattr(full: str, name: str) -> bytes | None:
    """Return an extended attribute of a file, whose links are not followed; None if it has none."""
    try:
        return os.getxattr(full, name, follow_symlinks=False)
    except OSError:
        return None
