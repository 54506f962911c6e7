"""Finds the layers of a snapshot that hold the files that a step reads. Does I/O. A few lstat calls a layer.

A step that reads `/app/node_modules` of a stage depends on the layers that touch that path, and on no
others: a change of another layer does not change these files. No tree is walked and no file is read.
"""

from __future__ import annotations

import os
import stat

from firkin.builder.graph.ops import PathSource
from firkin.content.snapshot import Snapshot
from firkin.oci.digest import framed_hash
from firkin.store.store import Store

_SPECIAL = frozenset("*?[\\")


def selected_layers(store: Store, snapshot: Snapshot, sources: tuple[PathSource, ...]) -> str:
    """Return an identity of the files below the paths, made of the layers that touch them.

    Falls back to the whole snapshot's identity where a layer is not unpacked here, and where a link
    on the way makes the path lead elsewhere.
    """
    trees = []
    for layer in snapshot.layers:
        if not store.trees.has(layer.tree_id):
            return snapshot.identity
        trees.append((layer.tree_id, store.trees.path(layer.tree_id)))
    parts = [b"selection"]
    for source in sources:
        path = _fixed_part(source) if source.wildcard else source.path
        components = [part for part in path.split("/") if part]
        touching = _touching(trees, components)
        if touching is None:
            return snapshot.identity
        parts += [source.path.encode("utf-8", "surrogateescape"), b"%d" % len(touching)]
        parts += [tree_id.encode() for tree_id in touching]
    return framed_hash(parts)


def _fixed_part(source: PathSource) -> str:
    """Return the leading directories of a pattern that hold no special character."""
    kept = []
    for part in source.path.split("/"):
        if _SPECIAL.intersection(part):
            break
        kept.append(part)
    return "/".join(kept)


def _touching(trees: list[tuple[str, str]], components: list[str]) -> list[str] | None:
    """Return the ids of the layers that have or hide the path or files below it; None if a link is on the way."""
    found = []
    for tree_id, root in trees:
        path = root
        touches = not components
        for depth, component in enumerate(components):
            path = f"{path}/{component}"
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                break
            if stat.S_ISLNK(status.st_mode):
                return None
            last = depth == len(components) - 1
            if last or not stat.S_ISDIR(status.st_mode) or _opaque(path):
                touches = True
                break
        if touches:
            found.append(tree_id)
    return found


def _opaque(path: str) -> bool:
    try:
        return os.getxattr(path, "user.overlay.opaque") == b"y"
    except OSError:
        return False
