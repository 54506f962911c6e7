"""Frees what is not of use any more: `firkin prune`. Does I/O.

Safe beside running builds: a build notes what it looks up (`used`), and nothing is removed that was of
use since the oldest living build began. Names are taken away in one transaction, with the database's
write lock held: a tree is renamed into the scratch space, so whoever looks for it afterwards misses it
and makes it again; the bytes go later. What a named image needs is never touched.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

import msgspec

from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, parse_manifest
from firkin.store.layout import remove_tree
from firkin.store.store import Store
from firkin.store.usage import disk_size

GRACE_S = 60.0
"""Uses are noted with this precision (records.py), so this much is added to every age."""

_BATCH = 64
"""So many layers go in one transaction: on a full disk there is room for a short one only (layout.py, the reserve)."""


class Freed(msgspec.Struct, frozen=True):
    """What went: `kind` is layer, record, blob, mount, image, download or file; `size_bytes` on disk."""

    kind: str
    name: str
    size_bytes: int


class Spared(msgspec.Struct, frozen=True):
    """What stays for one reason: how many of a kind, and their bytes where they are known."""

    kind: str
    why: str
    count: int
    size_bytes: int


RECENT = "of use lately, or to a build that runs"
WANTED = "part of an image with a name"
KEPT = "within the space to keep"
HELD = "held by a build"


class _Tally:
    """Counts what is spared."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, kind: str, why: str, size_bytes: int) -> None:
        count, size = self._found.get((kind, why), (0, 0))
        self._found[kind, why] = count + 1, size + size_bytes

    def result(self) -> tuple[Spared, ...]:
        return tuple(Spared(kind, why, count, size) for (kind, why), (count, size) in self._found.items())


class Pruned(msgspec.Struct, frozen=True):
    """The outcome of a prune (or, when dry, what it would have been)."""

    freed: tuple[Freed, ...]
    spared: tuple[Spared, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.freed)


def prune(
    store: Store,
    *,
    now: float,
    older_than_s: float = 0.0,
    keep_bytes: int = 0,
    unnamed_images: bool = True,
    only_counted: bool = False,
    dry: bool = False,
) -> Pruned:
    """Remove what was of no use for `older_than_s`, oldest first, until `keep_bytes` (0: nothing) are left of it.

    What is left counts as layers and blobs that no image with a name needs. With `unnamed_images` images that
    lost their name count as unused, too. `only_counted` leaves alone what is not in that count: cache mounts,
    downloads and small files.
    """
    limit = min(now - older_than_s, _oldest_build(store, now) - GRACE_S)
    tally = _Tally()
    freed: list[Freed] = []
    if unnamed_images:
        before = limit if older_than_s else inf
        freed += [Freed("image", digest, 0) for digest in store.images.drop_unnamed(before, dry=dry)]
    lost = {item.name for item in freed}
    chosen, kept = choose(candidates(store, needed_by_images(store, lost)), limit, keep_bytes, tally)
    layers = _layers(store, limit, chosen, dry)
    freed += layers
    gone = {item.name for item in layers}
    with store.images.held():  # no image gets a name between our look at them and the end of their blobs
        protected = needed_by_images(store, lost)
        freed += _blobs(store, limit, protected | kept, gone, dry)
        freed += _orphans(store, limit, protected, dry)
    for digest in protected:
        tally.add("blob", WANTED, store.blobs.size(Digest(digest)) or 0)
    if not only_counted:
        freed += _mounts(store, limit, dry, tally)
        freed += _downloads(store, limit, dry)
        freed += _files(store, limit, dry)
    return Pruned(tuple(freed), tally.result())


def _oldest_build(store: Store, now: float) -> float:
    """Return when the oldest living process of this store began (its own scratch does not count)."""
    oldest = now
    base = f"{store.layout.root}/tmp"
    own = os.path.basename(store.layout.scratch) + ".lock"
    for name in os.listdir(base):
        if name.endswith(".lock") and name != own:
            try:
                oldest = min(oldest, os.stat(f"{base}/{name}").st_mtime)
            except FileNotFoundError:
                continue
    return oldest


def needed_by_images(store: Store, lost: Iterable[str] = ()) -> set[str]:
    """Return the digests of everything that the listed images consist of."""
    needed: set[str] = set()
    todo = [image.descriptor for image in store.images.entries() if image.descriptor.digest not in lost]
    while todo:
        descriptor = todo.pop()
        if descriptor.digest in needed:
            continue
        needed.add(descriptor.digest)
        if store.blobs.size(descriptor.digest) is None:
            continue
        if descriptor.media_type in (*media.MANIFESTS, *media.INDEXES):
            todo += _children(store, descriptor)
    return needed


def _children(store: Store, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    document = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(document, Index):
        return document.manifests
    return (document.config, *document.layers)


class Candidate(NamedTuple):
    """What may go, with all that goes with it. `kind` is layer, record (a layer that is only a blob) or blob."""

    last_used: float
    kind: str
    name: str
    own_bytes: int  # of the layer's tree, or of the blob
    with_bytes: int  # of its blobs as well


def candidates(store: Store, protected: set[str]) -> list[Candidate]:
    """Return every layer, and every blob that belongs to none, that is not protected; by last use, oldest first."""
    query = store.records.query
    blobs = {str(digest): (int(str(size)), float(str(used))) for digest, size, used in query(
        "SELECT digest, size, used FROM blobs") if str(digest) not in protected}  # fmt: skip
    of_layer: dict[str, int] = {}
    owned: set[str] = set()
    for layer, digest in query("SELECT layer, digest FROM layer_blobs WHERE layer IN (SELECT layer FROM records)"):
        if str(digest) in blobs and str(digest) not in owned:
            owned.add(str(digest))
            of_layer[str(layer)] = of_layer.get(str(layer), 0) + blobs[str(digest)][0]
    found = []
    for tree_id, size, last in query(
        "SELECT trees.id, trees.size, max(trees.used, coalesce(max(records.used), 0)) AS last FROM trees "
        "LEFT JOIN records ON records.layer = trees.id GROUP BY trees.id"
    ):
        own = int(str(size)) or disk_size(f"{store.layout.trees}/{tree_id}")
        found.append(Candidate(float(str(last)), "layer", str(tree_id), own, own + of_layer.get(str(tree_id), 0)))
    for layer, last in query(
        "SELECT layer, max(used) FROM records "
        "WHERE NOT EXISTS (SELECT 1 FROM trees WHERE trees.id = records.layer) GROUP BY layer"
    ):
        found.append(Candidate(float(str(last)), "record", str(layer), 0, of_layer.get(str(layer), 0)))
    lone = [(digest, *known) for digest, known in blobs.items() if digest not in owned]
    found += [Candidate(used, "blob", digest, size, size) for digest, size, used in lone]
    return sorted(found)


def choose(
    found: list[Candidate], limit: float, keep_bytes: int, tally: _Tally
) -> tuple[list[Candidate], set[str]]:
    """Return the layers that go, and the blobs that stay although nobody needs them."""
    left = sum(item.with_bytes for item in found)
    chosen: list[Candidate] = []
    kept: set[str] = set()
    for item in found:
        kind = "layer" if item.kind == "record" else item.kind
        if item.last_used >= limit:
            tally.add(kind, RECENT, item.with_bytes)
        elif keep_bytes and left <= keep_bytes:
            tally.add(kind, KEPT, item.with_bytes)
            kept.add(item.name)
        else:
            left -= item.with_bytes
            if item.kind != "blob":
                chosen.append(item)
    return chosen, kept


def _layers(store: Store, limit: float, chosen: list[Candidate], dry: bool) -> list[Freed]:
    """Remove trees and records that were of no use since `limit`, oldest first.

    A layer that was only ever a blob is a record here; its bytes are those of the blob, which goes next.
    """
    going = [Freed(item.kind, item.name, item.own_bytes) for item in chosen]
    if dry:
        return going
    really: list[Freed] = []
    for start in range(0, len(going), _BATCH):
        really += _remove_layers(store, limit, going[start : start + _BATCH])
    return really


def _remove_layers(store: Store, limit: float, chosen: list[Freed]) -> list[Freed]:
    trash: list[str] = []
    really: list[Freed] = []
    with store.records.transaction() as connection:
        for item in chosen:
            if item.kind == "record":
                if _forget(connection, item.name, limit):
                    really.append(item)
                continue
            used = connection.execute(
                "SELECT max(trees.used, coalesce(max(records.used), 0)) FROM trees "
                "LEFT JOIN records ON records.layer = trees.id WHERE trees.id = ? GROUP BY trees.id",
                (item.name,),
            ).fetchone()
            if used is None or float(used[0]) >= limit:
                continue  # a build took it up meanwhile
            connection.execute("DELETE FROM records WHERE layer = ?", (item.name,))
            connection.execute("DELETE FROM trees WHERE id = ?", (item.name,))
            place = store.layout.scratch_path("gone")
            try:
                os.rename(f"{store.layout.trees}/{item.name}", place)
            except FileNotFoundError:
                continue
            trash.append(place)
            really.append(item)
    for place in trash:
        remove_tree(place)
    return really


def _forget(connection: sqlite3.Connection, layer: str, limit: float) -> bool:
    """Remove the records of a layer without a tree, unless a build took it up meanwhile."""
    (used,) = connection.execute("SELECT max(used) FROM records WHERE layer = ?", (layer,)).fetchone()
    if used is None or float(used) >= limit:
        return False
    connection.execute("DELETE FROM records WHERE layer = ?", (layer,))
    connection.execute(
        "DELETE FROM layer_blobs WHERE layer = ? "
        "AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = layer_blobs.digest)",
        (layer,),
    )
    return True


def _blobs(store: Store, limit: float, protected: set[str], gone: set[str], dry: bool) -> list[Freed]:
    """Remove blobs that neither an image nor a layer that stays needs."""
    rows = store.records.query("SELECT digest, size FROM blobs WHERE used < ?", (limit,))
    freed = []
    for digest, size in rows:
        if str(digest) in protected:
            continue
        users = store.records.query("SELECT layer FROM layer_blobs WHERE digest = ?", (digest,))
        alive = [
            layer
            for (layer,) in users
            if str(layer) not in gone and store.records.query("SELECT 1 FROM records WHERE layer = ?", (layer,))
        ]
        if not alive:
            freed.append(Freed("blob", str(digest), int(str(size))))
    if dry:
        return freed
    really = []
    with store.records.transaction() as connection:
        for item in freed:
            if not connection.execute("DELETE FROM blobs WHERE digest = ? AND used < ?", (item.name, limit)).rowcount:
                continue  # a build took it up meanwhile
            connection.execute("DELETE FROM layer_blobs WHERE digest = ?", (item.name,))
            _unlink(store.blobs.path(Digest(item.name)))
            really.append(item)
    return really


def _mounts(store: Store, limit: float, dry: bool, tally: _Tally) -> list[Freed]:
    """Remove cache mounts that no build holds and that were not used since `limit`."""
    freed = []
    base = store.layout.mounts
    for name in sorted(os.listdir(base)):
        if not name.endswith(".lock"):
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


def _downloads(store: Store, limit: float, dry: bool) -> list[Freed]:
    """Remove downloads that were not used since `limit`; a build that uses one has a link of its own."""
    base = store.layout.downloads
    groups: dict[str, list[str]] = {}
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        groups.setdefault(name.partition(".")[0], []).append(name)
    freed = []
    for group, names in groups.items():
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
                    _unlink(f"{base}/{name}")
    return freed


def _files(store: Store, limit: float, dry: bool) -> list[Freed]:
    """Remove what is known of contexts and of layers not unpacked, by its last use; and trees without a record."""
    freed = _unused(store.layout.digests, limit, dry) + _unused(store.layout.indexes, limit, dry)
    known = {str(row[0]) for row in store.records.query("SELECT id FROM trees")}
    for name in sorted(os.listdir(store.layout.trees)):
        path = f"{store.layout.trees}/{name}"
        status = _status(path)
        if name not in known and status is not None and stat.S_ISDIR(status.st_mode) and status.st_ctime < limit:
            size = disk_size(path)
            if not dry:
                place = store.layout.scratch_path("gone")
                with store.records.transaction() as connection:
                    if connection.execute("SELECT 1 FROM trees WHERE id = ?", (name,)).fetchone():
                        continue  # a build took it up meanwhile
                    try:
                        os.rename(path, place)
                    except FileNotFoundError:
                        continue  # another prune took it
                remove_tree(place)
            freed.append(Freed("layer", name, size))
    return freed


def _unused(directory: str, limit: float, dry: bool) -> list[Freed]:
    """Remove the files of a directory that were not written or used since `limit`."""
    freed = []
    for name in sorted(os.listdir(directory)):
        path = f"{directory}/{name}"
        status = _status(path)
        if status is not None and status.st_mtime < limit:
            freed.append(Freed("file", name, status.st_blocks * 512))
            if not dry:
                _unlink(path)
    return freed


def _orphans(store: Store, limit: float, protected: set[str], dry: bool) -> list[Freed]:
    """Remove blobs that nobody remembers: of images without a name, or from before the database was renewed."""
    known = {str(row[0]) for row in store.records.query("SELECT digest FROM blobs")}
    found = []
    for algorithm in sorted(os.listdir(store.layout.blobs)):
        for name in sorted(os.listdir(f"{store.layout.blobs}/{algorithm}")):
            digest = Digest(f"{algorithm}:{name}")
            status = _status(store.blobs.path(digest))
            if status is not None and digest not in known and digest not in protected and status.st_ctime < limit:
                found.append(Freed("blob", digest, status.st_blocks * 512))
    if dry or not found:
        return found
    freed = []
    with store.records.transaction() as connection:
        for item in found:
            path = store.blobs.path(Digest(item.name))
            status = _status(path)
            taken = connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (item.name,)).fetchone()
            if taken is None and status is not None and status.st_ctime < limit:
                _unlink(path)
                freed.append(item)
    return freed


def _status(path: str) -> os.stat_result | None:
    """Return what stat says; None for what another prune has taken meanwhile."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
