"""Unpacked layers: overlay diff directories under names that say what they hold. Does I/O.

A tree's id is 64 hex digits: the chain id of a pulled layer (its attributes may depend on the layers
below), or the cache key of the step that made it.
"""

from __future__ import annotations

import os

from firkin.store.layout import StoreLayout, remove_tree, store_error


class Trees:
    """The unpacked layers of one store."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout

    def path(self, tree_id: str) -> str:
        """Return the diff directory, whether it is there or not."""
        return f"{self._layout.trees}/{tree_id}/fs"

    def has(self, tree_id: str) -> bool:
        """Say whether the layer is unpacked here."""
        return os.path.isdir(self.path(tree_id))

    def stage(self) -> str:
        """Make an empty tree in the scratch space; returns its directory (`fs` within)."""
        path = self._layout.scratch_path("tree")
        try:
            os.makedirs(f"{path}/fs", mode=0o755)
            os.chmod(f"{path}/fs", 0o755)
        except OSError as error:
            raise store_error("cannot make a tree", error) from error
        return path

    def seal(self, staged: str, tree_id: str) -> str:
        """Give a staged tree its name and return its diff directory.

        When another process was faster its tree is kept: equal ids hold equal results.
        """
        target = f"{self._layout.trees}/{tree_id}"
        try:
            os.rename(staged, target)
        except OSError as error:
            if not self.has(tree_id):
                raise store_error("cannot keep a tree", error) from error
            remove_tree(staged)
        return f"{target}/fs"

    def drop(self, staged: str) -> None:
        """Remove a staged tree that is not wanted."""
        remove_tree(staged)
