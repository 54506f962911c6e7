"""Removes what is in no table of the database, by the times of files: a part of `firkin prune`. Does I/O.

Cache mounts are removed when no build holds their lock. Downloads and small files are removed without a lock: a build
that needs one has its own link or makes it again. Trees and blobs in no table (their record was lost) are removed like
recorded ones: under the database's write lock, and only if no build used them meanwhile. See store/gc.py.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Container, Iterator

from firkin.linux.folders import remove_tree
from firkin.oci.digest import Digest
from firkin.store.pruned import HELD, RECENT, Freed, Tally
from firkin.store.references import registered_trees
from firkin.store.store import Store
from firkin.store.usage import disk_size


def remove_mounts(
    store: Store, limit: float, dry: bool, tally: Tally, only: Container[str] | None = None
) -> list[Freed]:
    """Remove cache mounts that no build holds and that were not used since `limit`; `only` those of these names."""
    freed = []
    base = store.layout.mounts
    for name in sorted(os.listdir(base)):
        if not name.endswith(".lock") or (only is not None and name.removesuffix(".lock") not in only):
            continue
        path = f"{base}/{name[: -len('.lock')]}"
        descriptor = os.open(f"{base}/{name}", os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_mtime >= limit:
                if os.path.isdir(path):
                    tally.add("mount", RECENT, 0)
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                freed.append(Freed("mount", os.path.basename(path), disk_size(path)))
                if not dry:
                    place = store.layout.scratch_path("gone")
                    os.rename(path, place)
                    remove_tree(place)
        except BlockingIOError:
            tally.add("mount", HELD, 0)
        finally:
            os.close(descriptor)
    return freed


def remove_downloads(store: Store, limit: float, dry: bool, only: Container[str] | None = None) -> list[Freed]:
    """Remove downloads (of `only` these names) that were not used since `limit`; a build that uses one has a link."""
    base = store.layout.downloads
    groups: dict[str, list[str]] = {}
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        groups.setdefault(name.partition(".")[0], []).append(name)
    freed = []
    for group, names in groups.items():
        if only is not None and group not in only:
            continue
        size, used = 0, 0.0
        for name in names:
            status = _status(f"{base}/{name}")
            if status is None:
                continue
            size += status.st_blocks * 512
            used = max(used, status.st_mtime if name.endswith(".json") else status.st_ctime)
        if used < limit:
            freed.append(Freed("download", group, size))
            if not dry:
                for name in sorted(names, key=lambda name: not name.endswith(".json")):
                    unlink(f"{base}/{name}")
    return freed


def remove_files(store: Store, limit: float, dry: bool) -> list[Freed]:
    """Remove digests of contexts and indexes of layers that are not unpacked, by their last use."""
    return _unused(store.layout.digests, limit, dry) + _unused(store.layout.indexes, limit, dry)


def remove_orphan_trees(store: Store, limit: float, held: Container[str], dry: bool) -> list[Freed]:
    """Remove trees that are in no table."""
    known = {str(row[0]) for row in store.records.query("SELECT id FROM trees")}
    freed = []
    for name in sorted(os.listdir(store.layout.trees)):
        path = f"{store.layout.trees}/{name}"
        status = _status(path)
        if status is None or not stat.S_ISDIR(status.st_mode) or not _is_old(status, limit):
            continue
        if name in known or name in held:
            continue
        item = Freed("layer", name, disk_size(path))
        if dry or _remove_orphan_tree(store, name):
            freed.append(item)
    return freed


def _remove_orphan_tree(store: Store, name: str) -> bool:
    place = store.layout.scratch_path("gone")
    with store.images.held(), store.records.transaction() as connection:
        if connection.execute("SELECT 1 FROM trees WHERE id = ?", (name,)).fetchone():
            return False  # a build used it meanwhile
        if name in registered_trees(store):
            return False  # a container does
        try:
            os.rename(f"{store.layout.trees}/{name}", place)
        except FileNotFoundError:
            return False  # another prune removed it
    remove_tree(place)
    return True


def _unused(directory: str, limit: float, dry: bool) -> list[Freed]:
    """Remove the files of a directory that were not written or used since `limit`."""
    freed = []
    for name in sorted(os.listdir(directory)):
        path = f"{directory}/{name}"
        status = _status(path)
        if status is not None and status.st_mtime < limit:
            freed.append(Freed("file", name, status.st_blocks * 512))
            if not dry:
                unlink(path)
    return freed


def remove_orphan_blobs(store: Store, limit: float, held: Container[str], dry: bool) -> list[Freed]:
    """Remove blobs that are in no table: of images without a name, or older than the present database."""
    known = {str(row[0]) for row in store.records.query("SELECT digest FROM blobs")}
    found = [item for item in _old_blobs(store, limit) if item.name not in known and item.name not in held]
    if dry or not found:
        return found
    freed = []
    with store.records.transaction() as connection:
        for item in found:
            path = store.blobs.path(Digest(item.name))
            taken = connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (item.name,)).fetchone()
            if taken is None and _is_old(_status(path), limit):
                unlink(path)
                freed.append(item)
    return freed


def _old_blobs(store: Store, limit: float) -> Iterator[Freed]:
    for algorithm in sorted(os.listdir(store.layout.blobs)):
        for name in sorted(os.listdir(f"{store.layout.blobs}/{algorithm}")):
            digest = Digest(f"{algorithm}:{name}")
            status = _status(store.blobs.path(digest))
            if status is not None and _is_old(status, limit):
                yield Freed("blob", digest, status.st_blocks * 512)


def _is_old(status: os.stat_result | None, limit: float) -> bool:
    return status is not None and status.st_ctime < limit


def _status(path: str) -> os.stat_result | None:
    """Return the status of a file, None if another prune has removed it meanwhile."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def unlink(path: str) -> None:
    """Remove a file that another prune may have removed already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
