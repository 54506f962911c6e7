"""How much space the store uses, and for what: `firkin du`, `firkin info`. Does I/O."""

from __future__ import annotations

import os
import stat

import msgspec

from firkin.linux.folders import iter_statuses
from firkin.store.store import Store


class Use(msgspec.Struct, frozen=True):
    """The items of one kind in the store: layer, blob, mount, download or file; bytes on disk.

    `unmeasured` of the `count` have no size yet: an unpacked tree is measured when its size is first needed.
    """

    kind: str
    count: int
    size_bytes: int
    unmeasured: int = 0


def recorded_use(store: Store) -> tuple[Use, ...]:
    """Return the use of layers and blobs from the database; does not look at the files."""
    layers, measured, size = store.records.query("SELECT count(*), count(nullif(size, 0)), sum(size) FROM trees")[0]
    blobs, bytes_ = store.records.query("SELECT count(*), sum(size) FROM blobs")[0]
    return (
        Use("layer", _number(layers), _number(size), _number(layers) - _number(measured)),
        Use("blob", _number(blobs), _number(bytes_)),
    )


def measured_use(store: Store) -> tuple[Use, ...]:
    """Return the use of every kind; measures what was not measured before."""
    measure_trees(store)
    layout = store.layout
    mounts = [name for name in _names(layout.mounts) if not name.endswith((".lock", ".first"))]
    downloads = _names(layout.downloads)
    files = [f"{folder}/{name}" for folder in (layout.digests, layout.indexes) for name in _names(folder)]
    layers, _ = recorded_use(store)
    # Small blobs (manifests, configurations) are in no table.
    kinds = [f"{layout.blobs}/{name}" for name in _names(layout.blobs)]
    blobs = [f"{folder}/{name}" for folder in kinds for name in _names(folder)]
    return (
        layers,
        Use("blob", len(blobs), sum(map(disk_size, blobs))),
        Use("mount", len(mounts), sum(disk_size(f"{layout.mounts}/{name}") for name in mounts)),
        Use("download", len(downloads), sum(disk_size(f"{layout.downloads}/{name}") for name in downloads)),
        Use("file", len(files), sum(map(disk_size, files))),
    )


def measure_trees(store: Store) -> None:
    """Note the sizes of the trees that have none; each is walked once in its life."""
    for (tree_id,) in store.records.query("SELECT id FROM trees WHERE size = 0"):
        size = disk_size(f"{store.layout.trees}/{tree_id}")
        if size:
            store.records.measured_tree(str(tree_id), size)


def disk_size(path: str) -> int:
    """Return the bytes on disk of a file, or of everything in a directory, each file once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    try:
        if not os.path.isdir(path):
            return os.lstat(path).st_blocks * 512
        for status in iter_statuses(path):
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    except FileNotFoundError:
        pass  # a prune removed it
    return total


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _number(value: object) -> int:
    return 0 if value is None else int(str(value))
