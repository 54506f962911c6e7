"""Layers that were built here: their steps' trees serve as unpacked layers, by hard links. Does I/O.

The tree of a step has the files that its blob would unpack to. Directories that a layer only implies have their
attributes from the layers below; a blob that two steps made to the byte may have been made upon others, so directories
are compared with what is below them here. What is not plainly the same is unpacked. To be called in the namespaces that
own the trees.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from firkin.linux.folders import copy_attributes
from firkin.oci.image import Layer
from firkin.store.store import Store


def take_built(store: Store, layers: Sequence[tuple[str, Layer]]) -> None:
    """Make the missing ones of an image's trees (bottom up, by their names) from those of steps that are here."""
    below: list[str] = []
    for name, layer in layers:
        if not store.trees.has(name):
            made = _step_of(store, layer)
            if not made or not _linked(store, made, name, below[::-1]):
                return  # what is above is compared with this one
        below.append(store.trees.path(name))


def _step_of(store: Store, layer: Layer) -> str:
    """Return the tree of the step that wrote a layer's blob, "" if it is not here.

    A form that changed times or left files out on the way into the blob does not count.
    """
    rows = store.records.query(
        "SELECT layer, variant FROM layer_blobs WHERE digest = ? AND diff_id = ?",
        (layer.descriptor.digest, layer.diff_id),
    )
    for name, variant in rows:
        if not any(str(variant).split(":")[2:]) and store.trees.has(str(name)):
            return str(name)
    return ""


def _linked(store: Store, made: str, name: str, below: Sequence[str]) -> bool:
    """Make a tree of a step's; False where that cannot be done, or is not plainly right."""
    source = store.trees.path(made)
    with store.stage_tree() as staged:
        try:
            if not _link(source, staged.path, "", below):
                return False
            index = store.trees.index_beside(source)
            if index is not None:
                os.link(index, staged.index_path)
        except (OSError, RecursionError):  # as links that are not allowed, too many, or too deep
            return False
        if store.trees.root_changed(source):
            staged.mark_root_changed()
        staged.seal(name)
    return True


def _link(source: str, target: str, path: str, below: Sequence[str]) -> bool:
    """Fill a directory with links; False if one in it differs from that below. Raises OSError."""
    if not _fits(source + path, path, below):
        return False
    with os.scandir(source + path) as entries:
        for entry in entries:
            inner = f"{path}/{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                os.link(entry.path, target + inner, follow_symlinks=False)
                continue
            os.mkdir(target + inner)
            if not _link(source, target, inner, below):
                return False
    for key in os.listxattr(source + path):
        os.setxattr(target + path, key, os.getxattr(source + path, key))
    copy_attributes(source + path, target + path)
    return True


def _fits(folder: str, path: str, below: Sequence[str]) -> bool:
    """Say whether a directory has mode and owner of the one below it, if there is one."""
    facts = os.lstat(folder)
    for lower in below:
        with suppress(FileNotFoundError, NotADirectoryError):
            theirs = os.lstat(lower + path)
            return (facts.st_mode, facts.st_uid, facts.st_gid) == (theirs.st_mode, theirs.st_uid, theirs.st_gid)
    return True
