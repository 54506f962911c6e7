"""Changes to a tree on disk, contents by reflink, hard link or copy in the kernel. I; `solve` and `rootfs` use it.

The twin of `stream.write_layer`: the same changes, as a diff tree (what overlayfs wants) or onto a flat one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec

from firkin.layer.attributes import (
    OPAQUE_XATTR,
    make_special,
    make_whiteout,
    remove_tree,
    set_owner,
    set_xattr,
)
from firkin.layer.change import Change, Entry, Put, Remove, View, is_beneath
from firkin.layer.scan import layer_xattrs
from firkin.layer.unpack import Form
from firkin.linux.syscalls import clone_file

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000
_EPERM, _EXDEV, _EINVAL, _EMLINK, _ENOSYS, _EOPNOTSUPP, _ENOTTY = 1, 18, 22, 31, 38, 95, 25
_SMALL = 64 << 10
_STEP = 64 << 20
_PLAIN = Entry("dir", 0o755)


class Applied(msgspec.Struct, frozen=True):
    """How it went: `linked` and `cloned` files cost nothing, `copied_bytes` did; `skipped` as in Unpacked."""

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

    Contents that `may_link` (those in trees that nobody writes to, and that will not be seen together
    with this one) are hard-linked where owner, mode, time and xattrs are what they should be already;
    never into a flat tree. `below` gives directories that the changes
    presume their attributes. Raises ValueError for a file that shrank or grew and for parents that are
    no directories, HostError for owners that are not mapped, OSError.
    """
    applier = _Applier(root, form, may_link, chown, below)
    for change in changes:
        applier.add(change)
    return applier.end()


class _Applier:
    def __init__(
        self, root: str, form: Form, may_link: Callable[[str], bool] | None, chown: bool, below: View | None
    ) -> None:
        self._root = root
        self._prefix = root + "/"
        self._flat = form == "flat"
        self._may_link = None if self._flat else may_link
        self._chown = chown
        self._below = below
        self._folders: dict[str, Entry | None] = {"": None}
        self._clone_ok = True
        self._range_ok = True
        self._entries = self._linked = self._cloned = self._copied = 0
        self._skipped: list[tuple[str, str]] = []

    def add(self, change: Change) -> None:
        """Make one change."""
        self._entries += 1
        path = change.path
        if not is_beneath(path):
            raise ValueError(f"{path!r} leads out of the root, or is no path")
        full = self._prefix + path if path else self._root
        if path:
            folder = path.rpartition("/")[0]
            if folder not in self._folders:
                self._ensure(folder)
        if type(change) is Put:
            if change.entry.kind == "dir":
                self._folder(path, full, change.entry)
            else:
                self._put(path, full, change)
        elif type(change) is Remove:
            self._clear(path, full)
            if not self._flat:
                make_whiteout(full)
        elif self._flat:
            for name in os.listdir(full):
                self._clear(f"{path}/{name}" if path else name, f"{full}/{name}")
        else:
            os.setxattr(full, OPAQUE_XATTR, b"y")

    def end(self) -> Applied:
        """Set what is set on directories last: making files in them changes their times."""
        for path in reversed(self._folders):
            entry = self._folders[path]
            if entry is not None:
                full = self._prefix + path if path else self._root
                self._set_attributes(path, full, entry)
        return Applied(self._entries, self._linked, self._cloned, self._copied, tuple(self._skipped))

    # --- kinds ---

    def _folder(self, path: str, full: str, entry: Entry) -> None:
        if path not in self._folders:
            try:
                os.mkdir(full, 0o755)
            except FileExistsError:
                if os.lstat(full).st_mode & _S_IFMT != _S_IFDIR:
                    self._clear(path, full)
                    os.mkdir(full, 0o755)
        self._folders[path] = entry

    def _put(self, path: str, full: str, put: Put) -> None:
        try:
            self._make(path, full, put)
        except FileExistsError:
            self._clear(path, full)
            self._make(path, full, put)

    def _make(self, path: str, full: str, put: Put) -> None:
        entry = put.entry
        if put.link:
            if not is_beneath(put.link):
                raise ValueError(f"`{path}` is a link to {put.link!r}, which leads out of the root")
            os.link(self._prefix + put.link, full, follow_symlinks=False)
        elif entry.kind == "file":
            content = put.content
            if type(content) is not str:
                self._write(path, full, entry, b"" if content is None else content)  # type: ignore[arg-type]
            elif not (self._may_link is not None and self._may_link(content) and self._link(content, full, entry)):
                self._copy(path, full, entry, content)
        elif entry.kind == "symlink":
            os.symlink(entry.target, full)
            if self._chown:
                set_owner(full, entry, path)
            os.utime(full, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        else:
            why = make_special(full, entry) if self._chown or entry.kind == "fifo" else "devices need root"
            if why:
                self._skipped.append((path, why))
            else:
                self._set_attributes(path, full, entry)

    def _write(self, path: str, full: str, entry: Entry, content: bytes) -> None:
        if len(content) != entry.size:
            raise ValueError(f"`{path}` has {len(content)} bytes and should have {entry.size}")
        fd = os.open(full, _CREATE, 0o600)
        try:
            done = 0
            while done < len(content):
                done += os.write(fd, memoryview(content)[done:])
            self._copied += done
            self._set_attributes(path, fd, entry)
        finally:
            os.close(fd)

    def _link(self, source: str, full: str, entry: Entry) -> bool:
        """Link where that is the same as a copy; False where it is not, or cannot be."""
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
            os.link(source, full, follow_symlinks=False)
        except OSError as error:
            if error.errno == _EXDEV:
                self._may_link = None
            elif error.errno not in (_EPERM, _EMLINK):
                raise
            return False
        self._linked += 1
        return True

    def _copy(self, path: str, full: str, entry: Entry, source: str) -> None:
        size = entry.size
        target_fd = os.open(full, _CREATE, 0o600)
        try:
            if size:
                source_fd = os.open(source, _READ)
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
        self._copied += size
        if size <= _SMALL:
            data = os.read(source_fd, size + 1)
            if len(data) != size:
                raise ValueError(f"`{shown}` changed while it was copied")
            os.write(target_fd, data)
            return
        left = size
        while left:
            done = self._copy_some(source_fd, target_fd, min(left, _STEP))
            if not done:
                raise ValueError(f"`{shown}` shrank while it was copied")
            left -= done
        if os.read(source_fd, 1):
            raise ValueError(f"`{shown}` grew while it was copied")

    def _copy_some(self, source_fd: int, target_fd: int, count: int) -> int:
        if self._range_ok:
            try:
                return os.copy_file_range(source_fd, target_fd, count)
            except OSError as error:
                if error.errno not in (_EXDEV, _EINVAL, _EOPNOTSUPP, _ENOSYS, _EPERM):
                    raise
                self._range_ok = False
        return os.sendfile(target_fd, source_fd, None, count)

    # --- around them ---

    def _set_attributes(self, path: str, target: str | int, entry: Entry) -> None:
        if self._chown and entry is not _PLAIN:
            set_owner(target, entry, path)
        os.chmod(target, entry.mode)
        for attribute, value in entry.xattrs:
            if why := set_xattr(target, attribute, value, escape=not self._flat):
                self._skipped.append((path, why))
        os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))

    def _ensure(self, folder: str) -> None:
        """Make the parents that the changes presume, looking as they do below."""
        parent = folder.rpartition("/")[0]
        if parent not in self._folders:
            self._ensure(parent)
        full = self._prefix + folder
        try:
            os.mkdir(full, 0o755)
        except FileExistsError:
            if os.lstat(full).st_mode & _S_IFMT != _S_IFDIR:
                raise ValueError(f"`{folder}` is no directory") from None
            self._folders[folder] = None
        else:
            entry = self._below.lstat(folder) if self._below is not None else None
            self._folders[folder] = entry if entry is not None and entry.kind == "dir" else _PLAIN

    def _clear(self, path: str, full: str) -> None:
        remove_tree(full)
        if path in self._folders:
            beneath = path + "/"
            for known in [known for known in self._folders if known == path or known.startswith(beneath)]:
                del self._folders[known]
