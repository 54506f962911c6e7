"""Roots as plain directories, for machines that allow no mounts: layers are copied in, changes found by comparison.
Does I/O. See `rootfs`.

The next step reuses the directory of a step: the captured tree is the new top layer, so a step that
starts from it (or from it and the trees of some COPY steps) unpacks only what is new.
Another stage that starts from the same layers gets its own directory.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firkin.errors import StoreError
from firkin.linux.folders import remove_tree
from firkin.rootfs.flat import FlatTree

if TYPE_CHECKING:
    from collections.abc import Iterator

_Identity = tuple[tuple[int, int], ...]
_KEPT = 4  # directories that wait for a next step


class DirectoryRoot:
    """The directory that a step uses as its root."""

    def __init__(self, tree: FlatTree, lowers: tuple[str, ...], scratch: str) -> None:
        self.tree = tree
        self.mount = tree.path
        self.scratch = f"{scratch}/run"
        self.sealed: _Identity = ()
        self._lowers = lowers

    def seal(self, tree: str, covered: tuple[str, ...] = ()) -> None:
        """Copy what changed to the diff directory `tree`; see `Root.seal`. Raises StoreError."""
        try:
            self.tree.capture(tree, self._lowers, covered)
        except OSError as error:
            raise StoreError(f"cannot keep the layer of a step: {(error.strerror or '').lower()}") from error
        self.sealed = identity_of((tree, *self._lowers))


class DirectoryRootfs:
    """Makes roots as plain directories. Needs only the right to change owners of files. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[_Identity, FlatTree] = {}

    @contextmanager
    def open(self, lowers: tuple[str, ...], scratch: str) -> Iterator[DirectoryRoot]:
        """Fill a new directory, or add to the one that has most of the layers already; see `Rootfs.open`."""
        tree, missing = self._take(lowers, os.path.dirname(scratch))
        root = DirectoryRoot(tree, lowers, scratch)
        try:
            os.mkdir(root.scratch, 0o755)
            for lower in reversed(missing):
                tree.add(lower)
            tree.list()
            yield root
        finally:
            tree.forget()
            remove_tree(scratch)
            if root.sealed and not tree.spent:
                self._give_back(root.sealed, tree)
            else:
                remove_tree(tree.path)

    def _take(self, lowers: tuple[str, ...], place: str) -> tuple[FlatTree, tuple[str, ...]]:
        """Return a directory and the layers that it lacks, from the top down."""
        identity = identity_of(lowers)
        with self._lock:
            for number in range(len(identity)):
                tree = self._live.pop(identity[number:], None)
                if tree is not None:
                    return tree, lowers[:number]
        path = f"{place}/root-{secrets.token_hex(6)}"
        os.mkdir(path, 0o755)
        return FlatTree(path), lowers

    def _give_back(self, identity: _Identity, tree: FlatTree) -> None:
        with self._lock:
            known = self._live.setdefault(identity, tree)
            surplus = [] if known is tree else [tree]
            while len(self._live) > _KEPT:
                surplus.append(self._live.pop(next(iter(self._live))))
        for each in surplus:
            remove_tree(each.path)


def identity_of(lowers: tuple[str, ...]) -> _Identity:
    """Return device and inode of each directory: they stay the same when a staged tree is renamed."""
    return tuple((status.st_dev, status.st_ino) for status in map(os.stat, lowers))
