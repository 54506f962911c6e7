"""Owners, attributes, special files and removals on disk. I; `layer` and `rootfs` use it.

Spec: Linux Documentation/filesystems/overlayfs.rst (whiteouts and opaque directories, userxattr).
"""

from __future__ import annotations

import os

from firkin.errors import HostError
from firkin.layer.change import Entry

OPAQUE_XATTR = "user.overlay.opaque"
WHITEOUT_XATTR = "user.overlay.whiteout"

_S_IFMT, _S_IFREG, _S_IFDIR, _S_IFCHR, _S_IFBLK = 0o170000, 0o100000, 0o040000, 0o020000, 0o060000
_EPERM, _EINVAL, _ENOTSUP = 1, 22, 95


def set_owner(target: str | int, entry: Entry, shown: str) -> None:
    """Give a file (path or descriptor, not followed) its owner; to be done before mode and xattrs.

    Raises HostError where the user namespace does not map the ids.
    """
    try:
        if isinstance(target, int):
            os.fchown(target, entry.uid, entry.gid)
        else:
            os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        raise HostError(
            f"the owner {entry.uid}:{entry.gid} of `{shown}` is not among the ids of this user namespace",
            code="unmapped-owner",
            hints=("give the user more subordinate ids in /etc/subuid and /etc/subgid",),
        ) from None


def set_xattr(target: str | int, attribute: str, value: bytes, *, escape: bool) -> str:
    """Set what a layer may carry, ignore the rest; return why it was refused, or "".

    `escape` is for trees that overlayfs will read: a layer must not give it orders, and escaped
    attributes show under their own name once mounted.
    """
    if attribute.startswith("user."):
        if escape and attribute.startswith("user.overlay."):
            attribute = "user.overlay." + attribute[5:]
    elif attribute != "security.capability":
        return ""
    try:
        os.setxattr(target, attribute, value)
    except OSError as error:
        if error.errno not in (_EPERM, _ENOTSUP):
            raise
        return f"the extended attribute {attribute} was refused"
    return ""


def make_special(full: str, entry: Entry) -> str:
    """Make a fifo or device; return why it could not be, or "". Raises FileExistsError."""
    if entry.kind == "fifo":
        os.mkfifo(full, 0o600)
        return ""
    if entry.kind == "char" and not entry.major and not entry.minor:
        return "the device 0:0 means a removal"
    try:
        mode = _S_IFCHR if entry.kind == "char" else _S_IFBLK
        os.mknod(full, mode | 0o600, os.makedev(entry.major, entry.minor))
    except PermissionError:
        return "devices need root outside of a user namespace"
    return ""


def make_whiteout(full: str) -> None:
    """Make what overlayfs takes for a removal; raises FileExistsError.

    Where even the device 0:0 is refused (kernels before 5.8 in user namespaces), the form by
    attributes is used, which kernels from 6.7 understand.
    """
    try:
        os.mknod(full, _S_IFCHR | 0o600, 0)
    except PermissionError:
        make_xattr_whiteout(full)


def make_xattr_whiteout(full: str) -> None:
    """Make a removal by attributes: an empty file with one, in a directory with another."""
    os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    os.setxattr(full, WHITEOUT_XATTR, b"y")
    parent = full.rpartition("/")[0]
    if get_xattr(parent, OPAQUE_XATTR) is None:
        os.setxattr(parent, OPAQUE_XATTR, b"x")


def is_whiteout(full: str) -> bool:
    """Say whether overlayfs takes a file for a removal, in either form."""
    status = os.lstat(full)
    kind = status.st_mode & _S_IFMT
    if kind == _S_IFCHR:
        return status.st_rdev == 0
    return kind == _S_IFREG and status.st_size == 0 and get_xattr(full, WHITEOUT_XATTR) is not None


def get_xattr(full: str, name: str) -> bytes | None:
    """Return an extended attribute of a file that is not followed; None: it has none."""
    try:
        return os.getxattr(full, name, follow_symlinks=False)
    except OSError:
        return None


def remove_tree(full: str) -> None:
    """Remove a file, or a directory with all beneath it, following no link; what is not there is fine."""
    try:
        os.unlink(full)
        return
    except FileNotFoundError:
        return
    except OSError:
        if os.lstat(full).st_mode & _S_IFMT != _S_IFDIR:
            raise
    folders = [full]
    at = 0
    while at < len(folders):
        with os.scandir(folders[at]) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.path)
                else:
                    os.unlink(item.path)
        at += 1
    for folder in reversed(folders):
        os.rmdir(folder)
