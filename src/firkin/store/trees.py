"""Unpacked layers: overlay diff directories under names that say what they hold. Does I/O.

A tree's id is 64 hex digits: the chain id of a pulled layer (its attributes may depend on the layers
below), or the cache key of the step that made it. Beside its diff directory is its index, if one was
written, and a mark, if its step changed the attributes of `/`. Only this module knows their file names. All
other modules name a tree by its id, or by the path of its diff directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

from firkin.layer.index import IndexWriter
from firkin.linux.folders import remove_tree
from firkin.store.layout import StoreLayout, store_error

_FILES = "fs"
_INDEX = "index"
_ROOT_CHANGED = "root-changed"


class Trees:
    """The unpacked layers of one store."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout

    def path(self, tree_id: str) -> str:
        """Return the path of the diff directory, whether it is there or not."""
        return f"{self._layout.trees}/{tree_id}/{_FILES}"

    def has(self, tree_id: str) -> bool:
        """Say whether the layer is unpacked here."""
        return os.path.isdir(self.path(tree_id))

    def index_beside(self, tree: str) -> str | None:
        """Return the path of the index beside a diff directory, None if there is none."""
        path = f"{tree.removesuffix(f'/{_FILES}')}/{_INDEX}"
        return path if os.path.exists(path) else None

    def root_changed(self, tree: str) -> bool:
        """Say whether the step that made a diff directory changed the attributes of `/` itself."""
        return os.path.exists(f"{tree.removesuffix(f'/{_FILES}')}/{_ROOT_CHANGED}")


class StagedTree:
    """A tree that is being made in the scratch space: fill the diff directory `path`, then `seal` it.

    As a context manager it removes the tree at the end of the block if it was not sealed. `note` is called with
    the id of a sealed tree.
    """

    def __init__(self, layout: StoreLayout, note: Callable[[str], None]) -> None:
        self._layout = layout
        self._note = note
        self._place = layout.scratch_path("tree")
        self._sealed = False
        self.path = f"{self._place}/{_FILES}"
        self.index_path = f"{self._place}/{_INDEX}"
        try:
            os.makedirs(self.path, mode=0o755)
            os.chmod(self.path, 0o755)
        except OSError as error:
            raise store_error("cannot make a tree", error) from error

    def __enter__(self) -> StagedTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def write_index(self, index: IndexWriter) -> None:
        """Write the tree's index, which keeps owners and devices that files cannot have here."""
        with open(self.index_path, "wb") as file:
            index.write(file)

    def mark_root_changed(self) -> None:
        """Note that the step changed the attributes of `/` itself, so they are part of its layer."""
        with open(f"{self._place}/{_ROOT_CHANGED}", "wb"):
            pass

    def seal(self, tree_id: str) -> None:
        """Give the tree its name; raises StoreError.

        If another process was faster, its tree is kept: equal ids hold equal results.
        """
        target = f"{self._layout.trees}/{tree_id}"
        try:
            os.rename(self._place, target)
        except OSError as error:
            if not os.path.isdir(f"{target}/{_FILES}"):
                raise store_error("cannot keep a tree", error) from error
            remove_tree(self._place)
        self._sealed = True
        self._note(tree_id)

    def drop(self) -> None:
        """Remove the tree, if it is not sealed."""
        if not self._sealed:
            remove_tree(self._place)
