"""Applies changes to a tree on disk; contents by reflink, hard link or copy in the kernel. Does I/O.

The twin of `stream.write_layer`: it takes the same changes, and makes a diff tree (what overlayfs needs) or changes a
flat tree. `content`, `rootfs`, `sandbox` and `builder` use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from firkin.layer.attributes import (
    OPAQUE_XATTR,
    make_special,
    make_whiteout,
    set_owner,
    set_xattr,
    unmakable,
)
from firkin.layer.change import Change, Entry, Put, Remove, View, is_beneath
from firkin.layer.scan import layer_xattrs
from firkin.linux.files import open_content
from firkin.linux.folders import Folders, remove_tree
from firkin.linux.sparse import SPARSE_FROM, copy_data
from firkin.linux.syscalls import clone_file

Form = Literal["diff", "flat"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000
_EPERM, _EXDEV, _EINVAL, _EMLINK, _ENOSYS, _EOPNOTSUPP, _ENOTTY = 1, 18, 22, 31, 38, 95, 25
_PLAIN = Entry("dir", 0o755)


class Applied(msgspec.Struct, frozen=True):
    """What was done: `linked` and `cloned` files cost nothing, `copied_bytes` were copied; `skipped` as in Unpacked."""

    entries: int
    linked: int = 0
    cloned: int = 0
    copied_bytes: int = 0
    skipped: tuple[tuple[str, str], ...] = ()


def apply_changes(
    changes: Iterable[Change],
    root: str,
    *,
    form: Form = "diff",
    may_link: Callable[[str], bool] | None = None,
    chown: bool = True,
    below: View | None = None,
) -> Applied:
    """Make the changes beneath `root`: a diff tree (fresh, or a former one of the same layer) or a flat tree.

    Contents for which `may_link` is true (those in trees that nobody writes to, and that are never seen
    together with this one) are hard-linked if their owner, mode, time and xattrs are right already; never into
    a flat tree. Parents without a change of their own get their attributes from `below`. Raises ValueError for
    a file that shrank or grew and for parents that are no directories, HostError for owners that are not
    mapped, OSError.
    """
    with Folders(root) as folders:
        applier = _Applier(folders, form, may_link, chown, below)
        for change in changes:
            try:
                applier.add(change)
            except OSError as error:
                raise unmakable(change.path, error) or error from None
        return applier.end()


class _Applier:
    """The tree being made. `_known` has its directories, with the attributes to set on them at the end."""

    def __init__(
        self, folders: Folders, form: Form, may_link: Callable[[str], bool] | None, chown: bool, below: View | None
    ) -> None:
        self._folders = folders
        self._flat = form == "flat"
        self._may_link = None if self._flat else may_link
        self._chown = chown
        self._below = below
        self._known: dict[str, Entry | None] = {"": None}
        self._clone_ok = True
        self._entries = self._linked = self._cloned = self._copied = 0
        self._skipped: list[tuple[str, str]] = []

    def add(self, change: Change) -> None:
        """Make one change."""
        self._entries += 1
        path = change.path
        if not is_beneath(path):
            raise ValueError(f"{path!r} leads out of the root, or is no path")
        folder = path.rpartition("/")[0]
        if folder not in self._known:
            self._ensure(folder)
        if type(change) is Put:
            if change.entry.kind == "dir":
                self._folder(path, change.entry)
            else:
                self._put(path, change)
        elif type(change) is Remove:
            self._clear(path)
            if not self._flat:
                make_whiteout(*self._folders.split(path))
        else:
            self._hide(path)

    def end(self) -> Applied:
        """Set the attributes of directories last, because making files in them changes their times."""
        for path in reversed(self._known):
            entry = self._known[path]
            if entry is not None:
                fd = self._folders.readable(path)
                try:
                    self._set_attributes(path, fd, entry)
                finally:
                    os.close(fd)
        return Applied(self._entries, self._linked, self._cloned, self._copied, tuple(self._skipped))

    # --- kinds ---

    def _folder(self, path: str, entry: Entry) -> None:
        if path not in self._known:
            at, name = self._folders.split(path)
            try:
                os.mkdir(name, 0o755, dir_fd=at)
            except FileExistsError:
                if os.lstat(name, dir_fd=at).st_mode & _S_IFMT != _S_IFDIR:
                    self._clear(path)
                    os.mkdir(name, 0o755, dir_fd=at)
        self._known[path] = entry

    def _hide(self, path: str) -> None:
        """Hide what a directory held before."""
        fd = self._folders.readable(path)
        try:
            if not self._flat:
                os.setxattr(fd, OPAQUE_XATTR, b"y")
                return
            for name in os.listdir(fd):
                self._clear(f"{path}/{name}" if path else name)
        finally:
            os.close(fd)

    def _put(self, path: str, put: Put) -> None:
        try:
            self._make(path, put)
        except FileExistsError:
            self._clear(path)
            self._make(path, put)

    def _make(self, path: str, put: Put) -> None:
        entry = put.entry
        at, name = self._folders.split(path)
        if put.link:
            self._make_link(path, at, name, put.link)
        elif entry.kind == "file":
            content = put.content
            if type(content) is not str:
                self._write(path, at, name, entry, b"" if content is None else content)  # type: ignore[arg-type]
            elif not (self._may_link is not None and self._may_link(content) and self._link(content, at, name, entry)):
                self._copy(path, at, name, entry, content)
        elif entry.kind == "symlink":
            os.symlink(entry.target, name, dir_fd=at)
            if self._chown:
                set_owner(name, entry, path, dir_fd=at)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)
        else:
            self._make_special(path, at, name, entry)

    def _make_link(self, path: str, at: int, name: str, target: str) -> None:
        if not is_beneath(target):
            raise ValueError(f"`{path}` is a link to {target!r}, which leads out of the root")
        source, first = self._folders.split(target)
        os.link(first, name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)

    def _make_special(self, path: str, at: int, name: str, entry: Entry) -> None:
        why = make_special(at, name, entry) if self._chown or entry.kind == "fifo" else "devices need root"
        if why:
            self._skipped.append((path, why))
            return
        if self._chown:
            set_owner(name, entry, path, dir_fd=at)
        os.chmod(name, entry.mode, dir_fd=at)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

    def _write(self, path: str, at: int, name: str, entry: Entry, content: bytes) -> None:
        if len(content) != entry.size:
            raise ValueError(f"`{path}` has {len(content)} bytes and should have {entry.size}")
        fd = os.open(name, _CREATE, 0o600, dir_fd=at)
        try:
            done = 0
            while done < len(content):
                done += os.write(fd, memoryview(content)[done:])
            self._copied += done
            self._set_attributes(path, fd, entry)
        finally:
            os.close(fd)

    def _link(self, source: str, at: int, name: str, entry: Entry) -> bool:
        """Hard-link a file if that equals a copy; return False if it does not, or if it cannot be linked."""
        status = os.lstat(source)
        if (
            status.st_mtime_ns != entry.mtime_ns
            or status.st_mode != _S_IFREG | entry.mode  # a socket counts as an empty file, but is none
            or status.st_size != entry.size
            or (self._chown and (status.st_uid, status.st_gid) != (entry.uid, entry.gid))
            # Two names that a command may see together must not become one file: not in one layer, and
            # not by way of a third tree that this content was linked into before.
            or status.st_nlink > 1
        ):
            return False
        names = os.listxattr(source, follow_symlinks=False)
        if (layer_xattrs(source, names) if names else ()) != entry.xattrs:
            return False
        try:
            os.link(source, name, dst_dir_fd=at, follow_symlinks=False)
        except OSError as error:
            if error.errno == _EXDEV:
                self._may_link = None
            elif error.errno not in (_EPERM, _EMLINK):
                raise
            return False
        self._linked += 1
        return True

    def _copy(self, path: str, at: int, name: str, entry: Entry, source: str) -> None:
        size = entry.size
        target_fd = os.open(name, _CREATE, 0o600, dir_fd=at)
        try:
            if size:
                source_fd = open_content(source)
                try:
                    self._copy_content(source_fd, target_fd, size, source)
                finally:
                    os.close(source_fd)
            self._set_attributes(path, target_fd, entry)
        finally:
            os.close(target_fd)

    def _copy_content(self, source_fd: int, target_fd: int, size: int, shown: str) -> None:
        if self._clone_ok:
            try:
                clone_file(source_fd, target_fd)
            except OSError as error:
                if error.errno not in (_EXDEV, _EINVAL, _EOPNOTSUPP, _ENOTTY, _ENOSYS, _EPERM):
                    raise
                self._clone_ok = False
            else:
                if os.fstat(target_fd).st_size != size:
                    raise ValueError(f"`{shown}` changed while it was copied")
                self._cloned += 1
                return
        if size < SPARSE_FROM:
            self._copied += size
            data = os.read(source_fd, size + 1)
            if len(data) != size:
                raise ValueError(f"`{shown}` changed while it was copied")
            os.write(target_fd, data)
            return
        try:
            self._copied += copy_data(source_fd, target_fd, size)
        except ValueError as error:
            raise ValueError(f"`{shown}`: {error}") from None
        if os.fstat(source_fd).st_size != size:
            raise ValueError(f"`{shown}` grew while it was copied")

    # --- around them ---

    def _set_attributes(self, path: str, fd: int, entry: Entry) -> None:
        if self._chown and entry is not _PLAIN:
            set_owner(fd, entry, path)
        os.fchmod(fd, entry.mode)
        for attribute, value in entry.xattrs:
            if why := set_xattr(fd, attribute, value, path, escape=not self._flat):
                self._skipped.append((path, why))
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _ensure(self, folder: str) -> None:
        """Make the parents that have no change of their own, with the attributes that they have below."""
        missing = []
        while folder not in self._known:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for path in reversed(missing):
            at, name = self._folders.split(path)
            try:
                os.mkdir(name, 0o755, dir_fd=at)
            except FileExistsError:
                if os.lstat(name, dir_fd=at).st_mode & _S_IFMT != _S_IFDIR:
                    raise ValueError(f"`{path}` is no directory") from None
                self._known[path] = None
            else:
                entry = self._below.lstat(path) if self._below is not None else None
                self._known[path] = entry if entry is not None and entry.kind == "dir" else _PLAIN

    def _clear(self, path: str) -> None:
        at, name = self._folders.split(path)
        remove_tree(name, dir_fd=at)
        if path in self._known:
            beneath = path + "/"
            for known in [known for known in self._known if known == path or known.startswith(beneath)]:
                del self._known[known]
            self._folders.forget(path)
