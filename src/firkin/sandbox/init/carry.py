"""Moves, copies and removes trees that a command has written to. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. A place is an open directory and a name in
it, and trees are walked by descriptors, so no link in them can lead elsewhere.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firkin.linux.sparse import copy_data
    from firkin.sandbox.init.image_root import look

    At = tuple[int, str]  # a directory and a name in it

EXDEV = 18
S_IFMT, S_IFDIR, S_IFREG, S_IFLNK = 0o170000, 0o040000, 0o100000, 0o120000
DEEPEST = 400  # copying holds one descriptor per directory level
SHALLOW = 64  # removing as well


def move(source: At, target: At) -> None:
    """Rename a file; copy and remove it if the two places are on different file systems."""
    try:
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
    except OSError as error:
        if error.errno != EXDEV:
            raise
        Copy(target[0]).make(source, target, target[1], 0)
        remove(source)


class Copy:
    """Copies a file or directory with owners, modes, times, attributes and hard links into the directory `top`."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.links: dict[tuple[int, int], str] = {}

    def make(self, source: At, target: At, path: str, depth: int) -> None:
        """Copy one file or directory; `path` is the path of `target` from the top. Raises OSError."""
        status = os.lstat(source[1], dir_fd=source[0])
        kind = status.st_mode & S_IFMT
        if kind != S_IFDIR and status.st_nlink > 1:
            first = self.links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                os.link(first, target[1], src_dir_fd=self.top, dst_dir_fd=target[0], follow_symlinks=False)
                return
        if kind == S_IFLNK:
            os.symlink(os.readlink(source[1], dir_fd=source[0]), target[1], dir_fd=target[0])
            os.chown(target[1], status.st_uid, status.st_gid, dir_fd=target[0], follow_symlinks=False)
            times = status.st_atime_ns, status.st_mtime_ns
            os.utime(target[1], ns=times, dir_fd=target[0], follow_symlinks=False)
            return
        if kind not in (S_IFDIR, S_IFREG):
            os.mknod(target[1], kind | 0o600, status.st_rdev, dir_fd=target[0])
            os.chown(target[1], status.st_uid, status.st_gid, dir_fd=target[0], follow_symlinks=False)
            os.chmod(target[1], status.st_mode & 0o7777, dir_fd=target[0])
            return
        if kind == S_IFDIR:
            os.mkdir(target[1], 0o700, dir_fd=target[0])
        own = os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_DIRECTORY if kind == S_IFDIR else os.O_NONBLOCK)
        making = 0 if kind == S_IFDIR else os.O_WRONLY | os.O_CREAT | os.O_EXCL
        source_fd = os.open(source[1], own | os.O_RDONLY, dir_fd=source[0])
        try:
            target_fd = os.open(target[1], own | making, 0o600, dir_fd=target[0])
            try:
                if kind == S_IFREG:
                    copy_data(source_fd, target_fd, os.fstat(source_fd).st_size)
                elif depth > DEEPEST:
                    raise OSError(36, "too deep to be copied", path)
                else:
                    for name in os.listdir(source_fd):
                        self.make((source_fd, name), (target_fd, name), f"{path}/{name}", depth + 1)
                copy_looks(source_fd, target_fd, status)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)


def copy_looks(source: int, target: int, status: os.stat_result) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError:
            pass  # the attribute belongs to the file system
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(at: At) -> None:
    """Remove a file, or a directory with everything beneath it, however deep it is."""
    if not remove_file(*at):
        return
    top = open_folder(*at)
    try:
        while empty(top, top, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(at[1], dir_fd=at[0])


def empty(folder: int, top: int, depth: int) -> bool:
    """Empty a directory; move what is too deep to `top`, and return whether something was moved."""
    moved = False
    for name in os.listdir(folder):
        if not remove_file(folder, name):
            continue
        if depth == SHALLOW:
            number = 0
            while look(top, str(number)) is not None:
                number += 1
            os.rename(name, str(number), src_dir_fd=folder, dst_dir_fd=top)
            moved = True
            continue
        inner = open_folder(folder, name)
        try:
            moved |= empty(inner, top, depth + 1)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=folder)
    return moved


def open_folder(folder: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def remove_file(folder: int, name: str) -> bool:
    """Remove a file that is no directory; return whether it is a directory."""
    if os.lstat(name, dir_fd=folder).st_mode & S_IFMT == S_IFDIR:
        return True
    os.unlink(name, dir_fd=folder)
    return False
