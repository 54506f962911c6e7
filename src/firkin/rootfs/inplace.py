"""This container's own root as the root of one step after another (the executor image). Does I/O. See `rootfs`.

    OWN/original/fs    the contents of `/` before the first step, kept until the build ends
    OWN/run-N/         scratch space of one command
    OWN/.inplace.lock  held by the build that uses `/`

What does not belong to the image is never touched: firkin's own directory, mount points, /proc, /sys, /dev,
files of the network configuration, the store, the context, outputs. When a step does not start from the result of
the last one, everything else in `/` is removed and the step's layers are unpacked. Files are removed and created
again, never overwritten, so running programs keep their open files. At the end `/` is as it was before.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import HostError, StoreError
from firkin.hints import Hint
from firkin.layer.compare import TreeIndex, compare
from firkin.layer.scan import scan_tree
from firkin.layer.view import StackView
from firkin.linux.folders import remove_tree
from firkin.linux.mounts import iter_mount_points
from firkin.rootfs.directory import identity_of
from firkin.rootfs.flat import FlatTree

if TYPE_CHECKING:
    from collections.abc import Iterator

# These belong to the container, not to the image; most of them are mounts, but not everywhere.
SYSTEM_PATHS = ("proc", "sys", "dev", "etc/resolv.conf", "etc/hosts", "etc/hostname")
# Directories that images usually have; a mount in them does no harm.
_USUAL = ("tmp", "run", "var/run", "var/tmp", "var/cache", "mnt", "media", "opt", "srv", "home", "root", "var/lib")


class _Withheld:
    """A file with credentials that is removed while commands run, and kept in memory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.status = os.stat(path)
        with open(path, "rb") as file:
            self._data = file.read()
        os.unlink(path)

    def put_back(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(self._data)
            os.fchown(descriptor, self.status.st_uid, self.status.st_gid)
            os.fchmod(descriptor, self.status.st_mode & 0o7777)


class InplaceRoot:
    """`/` while a step uses it."""

    mount = "/"

    def __init__(self, rootfs: InplaceRootfs, lowers: tuple[str, ...], scratch: str) -> None:
        self.scratch = scratch
        self._rootfs = rootfs
        self._lowers = lowers

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        """Copy the changes to the diff directory `tree`; see `Root.seal`."""
        self._rootfs.capture(tree, self._lowers, covered)


class InplaceRootfs:
    """Makes one root at a time: `open` waits for the previous step.

    `own` is firkin's directory. `keep` are further paths that are never touched. `credentials` are files
    that are removed while commands run. `foreign` are directories among `keep` that no command may write
    to, because what it writes would be lost. `root` is "/" except in tests.
    """

    def __init__(
        self,
        own: str,
        keep: tuple[str, ...],
        credentials: tuple[str, ...] = (),
        foreign: tuple[str, ...] = (),
        *,
        root: str = "/",
    ) -> None:
        self._own = own
        self._keep = keep
        self._credentials = credentials
        self._foreign = foreign
        self._foreign_before: tuple[tuple[str, TreeIndex], ...] = ()
        self._path = root
        self._busy = threading.Lock()
        self._tree: FlatTree | None = None
        self._current: tuple[tuple[int, int], ...] | None = None  # None: `/` holds something that is no snapshot
        self._withheld: list[_Withheld] = []
        self._own_before: TreeIndex | None = None
        self._lock = -1
        self._closed = False

    @contextmanager
    def open(self, lowers: tuple[str, ...], scratch: str) -> Iterator[InplaceRoot]:
        """Make `/` the root of the given layers; see `Rootfs.open`. Scratch of commands is in firkin's directory.

        Raises HostError.
        """
        place = f"{self._own}/run-{secrets.token_hex(6)}"
        with self._busy:
            if self._closed:
                raise HostError("the build has ended", code="inplace")
            tree = self._tree or self._begin()
            try:
                missing = self._missing(lowers)
                for lower in missing:
                    self._check_conflict(lower)
                self._current = None
                if len(missing) == len(lowers):
                    tree.clear()
                for lower in reversed(missing):
                    tree.add(lower)
                tree.list()
                self._foreign_before = self._list_foreign()
                os.mkdir(place, 0o755)
                yield InplaceRoot(self, lowers, place)
            finally:
                tree.forget()
                remove_tree(place)
                remove_tree(scratch)

    def capture(self, tree: str, lowers: tuple[str, ...], covered: tuple[str, ...]) -> None:
        """Fill `tree` with the changes of the step that uses the root. Raises HostError and StoreError."""
        self._check_own()
        self._check_foreign()
        if self._tree is None:
            raise HostError("the root was not opened", code="inplace")
        try:
            self._tree.capture(tree, lowers, covered)
        except OSError as error:
            raise StoreError(f"cannot keep the layer of a step: {(error.strerror or '').lower()}") from error
        # Here these directories belong to the container. Other backends make them in the root of the command.
        view = StackView(tuple(reversed(lowers)))
        for name in ("dev", "proc", "sys"):
            if view.lstat(name) is None and not os.path.lexists(f"{tree}/{name}"):
                os.mkdir(f"{tree}/{name}", 0o755)
        self._current = None if self._tree.spent else identity_of((tree, *lowers))

    def close(self) -> None:
        """Restore everything as it was before the first step."""
        with self._busy:
            self._closed = True
            if self._tree is None:
                return
            self._tree.clear()
            self._tree.add(f"{self._own}/original/fs", apart=False)
            remove_tree(f"{self._own}/original")
            while self._withheld:
                self._withheld.pop().put_back()
            self._tree = None
            self._current = None
            os.close(self._lock)

    def _begin(self) -> FlatTree:
        """Remove the credentials and save the contents of `/`; waits for another build in this container."""
        self._lock = os.open(f"{self._own}/.inplace.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for name in os.listdir(self._own):
            if name.startswith("run-"):
                remove_tree(f"{self._own}/{name}")
        for path in self._credentials:
            try:
                self._withheld.append(_Withheld(path))
            except OSError:
                pass  # it is on a mount and cannot be removed; for that reason `auto` chooses another backend
        tree = FlatTree(self._path, self._ignored())
        original = f"{self._own}/original"
        # An existing one was left by a killed build: then the present contents of `/` need not be saved.
        if not os.path.isdir(f"{original}/fs"):
            staged = f"{original}.new"
            remove_tree(staged)
            os.makedirs(f"{staged}/fs", 0o755)
            tree.copy_to(f"{staged}/fs")
            os.rename(staged, original)
        self._own_before = self._list_own()
        self._tree = tree
        return tree

    def _ignored(self) -> frozenset[str]:
        root = self._path.rstrip("/")
        mounts = [path for path, _ in iter_mount_points() if path.startswith(root + "/")]
        paths = [self._own, *self._keep, *mounts]
        found = {os.path.realpath(path)[len(root) :].strip("/") for path in paths if path.startswith(root + "/")}
        found.discard("")
        return frozenset(found | set(SYSTEM_PATHS))

    def _missing(self, lowers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the layers that `/` lacks, from the top down; all layers if it holds something else."""
        identity = identity_of(lowers)
        for number in range(len(identity)):
            if identity[number:] == self._current:
                return lowers[:number]
        return lowers

    def _check_conflict(self, lower: str) -> None:
        """Refuse an image that has files at a path of this container that must not be touched."""
        own = self._own[len(self._path.rstrip("/")) :].strip("/")
        for path in self._ignored():
            full = f"{lower}/{path}"
            if path in SYSTEM_PATHS or path.startswith(("proc/", "sys/", "dev/")) or not os.path.lexists(full):
                continue
            if os.path.isdir(full) and not os.path.islink(full) and (path in _USUAL or path == own):
                with os.scandir(full) as found:
                    if next(found, None) is None:
                        continue
            raise _conflict(f"the image has `/{path}`", f"/{path}")

    def _list_foreign(self) -> tuple[tuple[str, TreeIndex], ...]:
        keep = frozenset(self._keep)
        found = []
        for path in self._foreign:
            if os.path.isdir(path):
                within = frozenset(each[len(path) + 1 :] for each in keep if each.startswith(path + "/"))
                found.append((path, scan_tree(path, within)))
        return tuple(found)

    def _check_foreign(self) -> None:
        """Fail if a command wrote to a `foreign` directory, because the files would be lost."""
        for (path, before), (_, after) in zip(self._foreign_before, self._list_foreign(), strict=False):
            for difference in compare(before, after):
                raise _conflict(f"the step wrote to `{path}/{difference.path}`", path)

    def _list_own(self) -> TreeIndex:
        changing = {"original", *(name for name in os.listdir(self._own) if name.startswith("run-"))}
        for path in self._keep:
            if path.startswith(self._own + "/"):
                changing.add(path[len(self._own) + 1 :])
        return scan_tree(self._own, frozenset(changing))

    def _check_own(self) -> None:
        """Fail if a command has changed firkin's own files: they can no longer be trusted."""
        if self._own_before is None:
            return
        for difference in compare(self._own_before, self._list_own()):
            # The top directory itself changes, because scratch directories are made and removed in it.
            if difference.path:
                raise HostError(
                    f"the step changed firkin's own files (`{self._own}/{difference.path}`)",
                    code="inplace-tampered",
                    hints=("do not use this container again: what runs in it may not be firkin any more",),
                )


def _conflict(what: str, path: str) -> HostError:
    return HostError(
        f"{what}, which belongs to this container",
        code="inplace-conflict",
        hints=(Hint.of("isolation-chroot", path=path),),
    )
