"""A plain directory made of layer trees, and the changes in it since. Does I/O. `directory` and `inplace` use it.

Changes are found by one lstat a file: inode, ctime, size, mode and owner. Three things change a ctime without
changing the layer: a mount point that covered a path while the command ran (`covered`), names that were added to a
directory and removed again while its mtime was restored, and other names of a file (`links`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firkin.layer.apply import apply_changes
from firkin.layer.change import Opaque, Put, Remove
from firkin.layer.compare import TreeIndex
from firkin.layer.scan import iter_tree_changes, iter_upper_changes, layer_xattrs, scan_tree
from firkin.layer.view import StackView
from firkin.rootfs.links import Links

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from firkin.layer.change import Change
    from firkin.layer.compare import Difference

_S_IFMT, _S_IFDIR = 0o170000, 0o040000


class FlatTree:
    """A directory that layers are unpacked into, one after the other. Not thread-safe.

    `ignored` are paths in it that do not belong to the image: they are never written or read.
    """

    def __init__(self, path: str, ignored: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.ignored = ignored
        self._guarded = _ancestors(ignored)
        self.spent = False  # True: a shared file was changed, so its other names have wrong contents
        self._before: TreeIndex | None = None
        self._links = Links(path)

    def add(self, tree: str, *, apart: bool = True) -> None:
        """Unpack one more layer tree, by reflink or copy, because a step may write to every file here.

        With `apart`, each name of a file with hard links gets its own file.
        """
        self._before = None
        changes = iter_upper_changes(tree, skip=self.ignored, include_root=True)
        changes = self._links.apart(changes, tree) if apart else changes
        apply_changes(self._allowed(changes) if self._guarded else changes, self.path, form="flat")

    def list(self) -> None:
        """Record the present state of the tree, unless it is known: `capture` compares with it."""
        if self._before is None:
            self._before = scan_tree(self.path, self.ignored)
        self._links.watch()

    def capture(self, tree: str, lowers: tuple[str, ...], covered: tuple[str, ...]) -> None:
        """Fill the diff directory `tree` with the changes since `list`; `lowers` are given from the top down.

        Raises ValueError if `list` was not called.
        """
        before = self._before
        if before is None:
            raise ValueError("the tree was not listed")
        after = scan_tree(self.path, self.ignored)
        paths = frozenset(covered)
        written = self._links.changed()

        def wanted(difference: Difference) -> bool:
            if difference.path in self._links.shared and _is_same_file(difference):
                self.spent = True
                return self._is_written(difference, written, paths)
            return not self._only_touched(difference, paths)

        changes = self._links.separate(iter_tree_changes(self.path, before, after, wanted=wanted))
        status = os.stat(self.path)
        os.chown(tree, status.st_uid, status.st_gid)
        os.chmod(tree, status.st_mode & 0o7777)
        apply_changes(changes, tree, below=StackView(tuple(reversed(lowers))))
        os.utime(tree, ns=(status.st_mtime_ns, status.st_mtime_ns))
        self._before = after
        if not self.spent:
            self._take_apart()

    def _take_apart(self) -> None:
        """Replace hard links that the last step made by separate files, for the next step."""
        copies = self._links.copies()
        if not copies:
            return
        folders = {os.path.dirname(f"{self.path}/{put.path}") for put in copies}
        times = {folder: os.stat(folder) for folder in folders}
        apply_changes(copies, self.path, form="flat")
        for folder, was in times.items():
            os.utime(folder, ns=(was.st_atime_ns, was.st_mtime_ns))
        self._before = None

    def copy_to(self, tree: str) -> None:
        """Copy everything that is not ignored to an empty directory."""
        after = scan_tree(self.path, self.ignored)
        apply_changes(iter_tree_changes(self.path, TreeIndex(after.root), after), tree)

    def forget(self) -> None:
        """Stop the watch that `list` began, if the tree was not captured."""
        self._links.changed()

    def clear(self) -> None:
        """Remove everything except ignored paths and the directories above them."""
        self._before = None
        self.spent = False
        self._links = Links(self.path)
        self._clear_folder("")

    def _clear_folder(self, folder: str) -> None:
        from firkin.linux.folders import remove_tree

        prefix = folder + "/" if folder else ""
        for name in os.listdir(f"{self.path}/{folder}"):
            path = prefix + name
            if path in self.ignored:
                continue
            if path in self._guarded and os.lstat(f"{self.path}/{path}").st_mode & _S_IFMT == _S_IFDIR:
                self._clear_folder(path)
            else:
                remove_tree(f"{self.path}/{path}")

    def _is_written(self, difference: Difference, written: frozenset[str] | None, covered: frozenset[str]) -> bool:
        """Say whether a shared file was changed by this name."""
        if difference.path in covered:
            return False
        if written is not None:
            return difference.path in written
        was, now = difference.was, difference.stat
        return was is None or now is None or was._replace(ctime_ns=0, nlink=0) != now._replace(ctime_ns=0, nlink=0)

    def _only_touched(self, difference: Difference, covered: frozenset[str]) -> bool:
        was, now = difference.was, difference.stat
        if was is None or now is None:
            return False
        if was.is_dir and now.is_dir:
            # A directory's link count and size follow from its names, which are compared separately.
            same = was._replace(ctime_ns=0, nlink=0, size=0) == now._replace(ctime_ns=0, nlink=0, size=0)
            return same and not self._has_xattrs(difference.path)
        return difference.path in covered and was._replace(ctime_ns=0) == now._replace(ctime_ns=0)

    def _has_xattrs(self, path: str) -> bool:
        full = f"{self.path}/{path}"
        names = os.listxattr(full, follow_symlinks=False)
        return bool(names and layer_xattrs(full, names))

    def _allowed(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Pass on changes that leave the ignored paths reachable; skip a file that would replace a parent of them."""
        blocked: set[str] = set()
        for change in changes:
            path = change.path
            if path not in self._guarded:
                yield change
            elif isinstance(change, Put) and change.entry.kind == "dir":
                full = f"{self.path}/{path}"
                if not path or not os.path.lexists(full) or os.lstat(full).st_mode & _S_IFMT == _S_IFDIR:
                    yield change
            elif isinstance(change, (Opaque, Remove)):
                self._clear_folder(path)
            else:
                blocked.add(path)
        if blocked:
            self.ignored |= blocked
            self._guarded = _ancestors(self.ignored)


def _is_same_file(difference: Difference) -> bool:
    was, now = difference.was, difference.stat
    return was is not None and now is not None and (was.dev, was.ino) == (now.dev, now.ino)


def _ancestors(paths: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        while "/" in path:
            path = path.rpartition("/")[0]
            found.add(path)
        found.add("")
    return frozenset(found)
