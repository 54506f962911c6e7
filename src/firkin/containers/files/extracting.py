"""Unpacks a tar into a directory that has files already. Does I/O.

Only in a process whose `/` is the container's (containers/files/inside.py): links in the directories of a name are
followed there, by the kernel. A name cannot lead out of the directory by `..`, and its last part is never followed.
What is replaced is removed first, but for directories, which are merged. Mirrors: moby pkg/archive Unpack.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from firkin.containers.files.inside import Inner
from firkin.errors import ContainerError
from firkin.layer.attributes import make_special, set_owner, set_xattr
from firkin.layer.change import Entry
from firkin.layer.compress import iter_decompressed
from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import Member, TarReader, clean_name
from firkin.layer.unpack import write_content
from firkin.linux import syscalls
from firkin.linux.beneath import Beneath
from firkin.linux.folders import remove_tree
from firkin.oci.run import resolve_user

MODULES = ("firkin.layer.compress", "firkin.layer.unpack", "firkin.linux.folders")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_REPLACE = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_OPEN = 32
_MOST_PASSWD = 4 << 20


class Putting(NamedTuple):
    """What is unpacked where: see `put_archive`. `user` is whom all files are given to, "" for nobody.

    `path` is absolute. `chown`: files can have owners here. `readonly`: the root is marked so. `limits` are those of
    the archive.
    """

    path: str
    no_overwrite: bool
    user: str
    chown: bool
    readonly: bool
    limits: UnpackLimits


def put_job(putting: Putting, inner: Inner) -> bytes:
    """Unpack what the caller feeds; the job of `put_archive`. Raises ContainerError, OSError."""
    path = putting.path
    with Beneath("/") as root:
        owner = _owner_of(root, putting.user)
        try:
            fd = root.open(path, os.O_PATH)
        except FileNotFoundError:
            raise ContainerError(path, kind="missing", code="no-path") from None
        except NotADirectoryError:
            raise no_folder() from None
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise no_folder()
        os.fchdir(fd)
        os.close(fd)
        extractor = _Extractor(path, putting.no_overwrite, owner, putting.limits, chown=putting.chown)
        try:
            extractor.run(inner.chunks())
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise _readonly(putting.readonly) from None
    return b""


def _owner_of(root: Beneath, user: str) -> tuple[int, int] | None:
    if not user:
        return None
    found = resolve_user(user, root.read("etc/passwd", _MOST_PASSWD), root.read("etc/group", _MOST_PASSWD))
    return found.uid, found.gid


def no_folder() -> ContainerError:
    """Return the error for a place that nothing can be unpacked in."""
    return ContainerError("extraction point is not a directory", kind="invalid", code="no-folder")


def _readonly(marked: bool) -> ContainerError:
    own = marked and os.stat(".").st_dev == os.stat("/").st_dev
    what = "container rootfs" if own else "mounted volume"
    return ContainerError(f"{what} is marked read-only", kind="invalid", code="read-only")


class _Extractor:
    """One tar on its way into the working directory."""

    def __init__(
        self, shown: str, no_overwrite: bool, owner: tuple[int, int] | None, limits: UnpackLimits, *, chown: bool
    ) -> None:
        self._shown = shown.rstrip("/").removesuffix("/.")
        self._no_overwrite = no_overwrite
        self._owner = owner
        self._chown = chown
        self._limits = limits
        self._top = os.open(".", _FOLDER)
        self._open: dict[str, int] = {"": self._top}
        self._folders: list[tuple[str, Entry]] = []

    def run(self, chunks: Iterator[bytes]) -> None:
        """Unpack everything. Raises ValueError for what is no tar, ContainerError, HostError, OSError."""
        reader = TarReader(iter_decompressed(chunks), self._limits)
        while (member := reader.next_member()) is not None:
            path = clean_name(member.name)
            if path:
                self._add(path, member, reader)
        reader.drain()
        for path, entry in reversed(self._folders):
            at, name = self._parent(path)
            # Making files in it has changed its time.
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    def _add(self, path: str, member: Member, reader: TarReader) -> None:
        entry = member.entry
        if self._owner is not None:
            entry = msgspec.structs.replace(entry, uid=self._owner[0], gid=self._owner[1])
        at, name = self._parent(path)
        kind = "file" if member.is_link else entry.kind
        covered = self._make_room(path, at, name, folder=kind == "dir")
        if member.is_link:
            source, first = self._parent(clean_name(member.link))
            at, name = self._parent(path)
            os.link(first, name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        elif kind == "file":
            fd = os.open(name, _REPLACE if covered else _CREATE, 0o600, dir_fd=at)
            try:
                write_content(fd, member, reader)
                self._finish(path, fd, entry)
            finally:
                os.close(fd)
        elif kind == "dir":
            self._folder(path, at, name, entry)
        else:
            self._special(path, at, name, entry)

    def _make_room(self, path: str, at: int, name: str, *, folder: bool) -> bool:
        """Remove what is in the way; return whether a file stays, since it is a mount point, to be written to."""
        try:
            there = os.lstat(name, dir_fd=at)
        except FileNotFoundError:
            return False
        is_folder = stat.S_ISDIR(there.st_mode)
        if self._no_overwrite and is_folder != folder:
            what, shown = ("non-directory", "directory"), self._shown or "/"
            raise ContainerError(
                f'cannot overwrite {what[is_folder]} "{self._shown}/{path}" with {what[folder]} "{shown}"',
                kind="invalid", code="not-overwritten",
            )  # fmt: skip
        if is_folder and folder:
            return False
        try:
            remove_tree(name, dir_fd=at)
        except OSError as error:
            if error.errno != errno.EBUSY or is_folder or not stat.S_ISREG(there.st_mode):
                error.filename = f"{self._shown}/{path}"
                raise
            return True
        self._forget(path)
        return False

    def _folder(self, path: str, at: int, name: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=at)
        except FileExistsError:
            pass
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            self._finish(path, fd, entry)
        finally:
            os.close(fd)
        self._folders.append((path, entry))

    def _special(self, path: str, at: int, name: str, entry: Entry) -> None:
        if entry.kind == "symlink":
            os.symlink(entry.target, name, dir_fd=at)
        elif why := make_special(at, name, entry):
            raise ContainerError(f"`{path}` cannot be made: {why}", kind="failed", code="no-device")
        if self._chown:
            set_owner(name, entry, path, dir_fd=at)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=at)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    def _finish(self, path: str, fd: int, entry: Entry) -> None:
        if self._chown:
            set_owner(fd, entry, path)
        os.fchmod(fd, entry.mode)
        for attribute, value in entry.xattrs:
            set_xattr(fd, attribute, value, path, escape=False)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    # Directories

    def _parent(self, path: str) -> tuple[int, str]:
        """Return the directory of a name; makes what is missing. It stays open until the next call but one."""
        folder, _, name = path.rpartition("/")
        fd = self._open.get(folder)
        if fd is None:
            if len(self._open) > _MOST_OPEN:
                self._close_some(folder)
            fd = self._open_folder(folder)
            self._open[folder] = fd
        return fd, name

    def _open_folder(self, folder: str) -> int:
        try:
            return self._look(folder)
        except FileNotFoundError:
            at, name = self._parent(folder)
            os.mkdir(name, 0o755, dir_fd=at)
            return self._look(folder)

    def _look(self, folder: str) -> int:
        # Absolute links start at this process's root, which is the container's; /proc/PID/root would lead elsewhere.
        return syscalls.openat2(self._top, folder, _FOLDER, resolve=syscalls.RESOLVE_NO_MAGICLINKS)

    def _close_some(self, kept: str) -> None:
        for known in [known for known in self._open if known and not kept.startswith(known + "/")][:-1]:
            os.close(self._open.pop(known))

    def _forget(self, path: str) -> None:
        for known in [known for known in self._open if known == path or known.startswith(path + "/")]:
            os.close(self._open.pop(known))
