"""Owners that files cannot have: those that the layers of a container's image record for its paths. Does I/O.

With a single id, every file belongs to one user, and indexes beside the trees know whose it is in the image. A path
that the container wrote keeps its owner there; one that only the container has belongs to root, and what it asked
chown(2) for is recorded nowhere.
"""

from __future__ import annotations

import os

from firkin.containers.files.inside import Place
from firkin.layer.index import LayerIndex, open_index
from firkin.layer.scan import OwnerOf


def recorded_owners(place: Place) -> OwnerOf | None:
    """Return what takes a path below the root, uid and gid to the owner; None where files have their own.

    The indexes are mapped now, so that the function works in a fork that sees nothing of the store.
    """
    if not place.single_id:
        return None
    names = [f"{tree.removesuffix('/fs')}/index" for tree in place.trees]  # top down
    indexes = [open_index(name) for name in names if os.path.exists(name)]
    return None if not indexes else lambda path, uid, gid: _owner(indexes, path) or (uid, gid)


def _owner(indexes: list[LayerIndex], path: str) -> tuple[int, int] | None:
    for index in indexes:
        record = index.lookup(path)
        if record is None:
            continue
        if record.entry is not None and not record.implied:
            return record.entry.uid, record.entry.gid
        if record.entry is None or record.opaque:
            break
    return None
