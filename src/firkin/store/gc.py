"""Removes what is not needed any more: `firkin prune`. Does I/O.

What is in the store, and when it is removed
--------------------------------------------
* **What the user owns** is never removed here: names of images (`oci/index.json`) and registered references
  (`references/`). `firkin rmi` and `release` remove them. Only images that have lost their name are removed, if
  the caller asks for that (`unnamed_images`).
* **What is referenced** stays, however old and large it is: blobs of images, trees and blobs of registered
  references, everything that was used since the oldest living process began. `store/references.py` collects these.
* **Everything else is a cache** and can be made again: layers of steps (a tree, its records, its blobs), blobs of
  bases, cache mounts, downloads, small files. It is removed by its last use, oldest first.

A layer is one item here. Its tree, its records and its blobs are removed together, and its last use is the latest of
theirs. A blob that belongs to no layer is an item of its own. A layer that was fetched and never unpacked has no tree:
it is a `record`, and its bytes are those of its blob.

Which part of the cache is removed
----------------------------------
Everything that was used since `limit` stays. `limit` is `older_than_s` ago or, if that is earlier, a minute before the
oldest living process began; the minute is there because uses are not noted more precisely. Items that were last used
before `limit` are removed until `keep_bytes` are left. Only unreferenced layers and blobs count for `keep_bytes`,
because the others stay anyway. With `only`, nothing goes but items of these names.

A prune without an age (`recent`) also removes what was used a moment ago, if no other process is alive. It first makes
the last use of all that older than the precision of notes, in a transaction of its own: a process that begins later
must note again what it uses. Then it asks which processes there are; with one, the minute counts.

Beside running builds
---------------------
Builds do not wait for a prune, and a prune does not wait for builds. A build notes that it uses a tree or blob before
it relies on it (`use_trees`, `keeps`), and then checks that it is there. A prune lists what it may remove, takes the
database's write lock, checks again that the item was not used meanwhile, and only then removes the name: a tree is
renamed into the scratch space, so that a build that looks for it does not find it and makes it again. The bytes are
removed after the transaction. `images.held` keeps names of images and references unchanged from the moment when they
are read until the blobs are removed.

Layers are removed in small transactions, so that on a full disk each makes room for the next. A killed prune has
removed some items completely; what it had renamed is removed with its scratch space.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Container, Iterator
from math import inf
from typing import NamedTuple

from firkin.linux.folders import remove_tree
from firkin.oci.digest import Digest
from firkin.store.facts import forget_unused
from firkin.store.leftovers import (
    remove_downloads,
    remove_files,
    remove_mounts,
    remove_orphan_blobs,
    remove_orphan_trees,
    unlink,
)
from firkin.store.pruned import KEPT, NEEDED, RECENT, WANTED, Freed, Pruned, Tally
from firkin.store.records import USE_PRECISION_S
from firkin.store.references import IMAGE, Held, held, held_since, registered_trees
from firkin.store.store import Store
from firkin.store.usage import disk_size

GRACE_S = 60.0
"""Subtracted from the start of the oldest living process, because uses are not noted more precisely (records.py)."""

_BATCH = 64
"""Layers in one transaction: on a full disk there is room for a short one only (layout.py, the reserve)."""


def prune(
    store: Store,
    *,
    now: float,
    older_than_s: float = 0.0,
    keep_bytes: int = 0,
    unnamed_images: bool = True,
    only_counted: bool = False,
    recent: bool = False,
    only: Container[str] | None = None,
    dry: bool = False,
) -> Pruned:
    """Remove what was not used for `older_than_s`, oldest first, until `keep_bytes` (0: nothing) are left.

    Only unreferenced layers and blobs count for `keep_bytes`. With `unnamed_images`, images that lost their name
    are removed, too. `only_counted` spares what does not count: cache mounts, downloads and small files. `recent`
    does not spare what was used a moment ago by a process that has ended. `only` are the names of the layers, blobs,
    mounts and downloads that may go. Raises StoreError when the references cannot be read.
    """
    store.layout.ensure_directories()
    tally = Tally()
    freed: list[Freed] = []
    limit, of_files = _limits(store, now, older_than_s, recent=recent and not older_than_s, dry=dry)
    if unnamed_images:
        before = limit if older_than_s else inf
        freed += [Freed("image", digest, 0) for digest in store.images.drop_unnamed(before, dry=dry)]
    lost = {item.name for item in freed}
    freed += _layers_and_blobs(store, (limit, of_files), keep_bytes, lost, only, tally, dry)
    if not only_counted:
        freed += remove_mounts(store, of_files, dry, tally, only)
        freed += remove_downloads(store, of_files, dry, only)
    if not only_counted and only is None:
        freed += remove_files(store, of_files, dry)
        freed += remove_orphan_trees(store, of_files, held(store, lost).trees, dry)
    if not dry:
        forget_unused(store)
    return Pruned(tuple(freed), tally.result())


def _layers_and_blobs(
    store: Store, limits: tuple[float, float], keep_bytes: int, lost: Container[str], only: Container[str] | None,
    tally: Tally, dry: bool,
) -> list[Freed]:  # fmt: skip
    limit, of_files = limits
    found = [item for item in candidates(store, held(store, lost)) if only is None or item.name in only]
    chosen, spared = choose(found, limit, keep_bytes, tally)
    freed = _layers(store, limit, chosen, dry)
    gone = {item.name for item in freed}
    with store.images.held():  # no image gets a name between reading the list and removing blobs
        kept = held(store, lost)
        freed += _blobs(store, limit, kept.blobs.keys() | spared, gone, only, dry)
        if only is None:
            freed += remove_orphan_blobs(store, of_files, kept.blobs, dry)
    for digest, kind in kept.blobs.items():
        tally.add("blob", _reason(kind), store.blobs.size(Digest(digest)) or 0)
    for kind in kept.trees.values():
        tally.add("layer", _reason(kind), 0)
    return freed


def _limits(store: Store, now: float, older_than_s: float, *, recent: bool, dry: bool) -> tuple[float, float]:
    """Return since when what was used stays: what tables name, and what only has the times of its files."""
    if recent and held_since(store, inf) == inf:
        if dry:
            return inf, inf
        aged = store.records.clock() - USE_PRECISION_S - 1
        store.records.age(aged, USE_PRECISION_S + 1)
        if held_since(store, inf) == inf:
            return aged + 1, now
    limit = min(now - older_than_s, held_since(store, now) - GRACE_S)
    return limit, limit


def _reason(kind: str) -> str:
    return WANTED if kind == IMAGE else NEEDED.format(kind)


class Candidate(NamedTuple):
    """An item that may be removed, with its blobs. `kind` is layer, record (a layer that is only a blob) or blob."""

    last_used: float
    kind: str
    name: str
    own_bytes: int  # of the layer's tree, or of the blob
    with_bytes: int  # of its blobs as well


def candidates(store: Store, kept: Held) -> list[Candidate]:
    """Return every unreferenced layer, and every unreferenced blob that belongs to no layer; oldest use first."""
    blobs: dict[str, tuple[int, float]] = {
        str(digest): (int(str(size)), float(str(used)))
        for digest, size, used in store.records.query("SELECT digest, size, used FROM blobs")
        if str(digest) not in kept.blobs
    }
    owned, of_layer = _owned(store, blobs)
    found = [item for item in _known_layers(store, of_layer) if item.name not in kept.trees]
    lone = [(digest, *known) for digest, known in blobs.items() if digest not in owned]
    found += [Candidate(used, "blob", digest, size, size) for digest, size, used in lone]
    return sorted(found)


def _owned(store: Store, blobs: dict[str, tuple[int, float]]) -> tuple[set[str], dict[str, int]]:
    """Return the blobs that belong to a recorded layer, and how many bytes they add to each layer."""
    owned: set[str] = set()
    of_layer: dict[str, int] = {}
    for layer, digest in store.records.query(
        "SELECT layer, digest FROM layer_blobs WHERE layer IN (SELECT layer FROM records)"
    ):
        if str(digest) in blobs and str(digest) not in owned:
            owned.add(str(digest))
            of_layer[str(layer)] = of_layer.get(str(layer), 0) + blobs[str(digest)][0]
    return owned, of_layer


def _known_layers(store: Store, of_layer: dict[str, int]) -> Iterator[Candidate]:
    """Yield layers that are unpacked, then those that are only recorded."""
    for tree_id, size, last in store.records.query(
        "SELECT trees.id, trees.size, max(trees.used, coalesce(max(records.used), 0)) AS last FROM trees "
        "LEFT JOIN records ON records.layer = trees.id GROUP BY trees.id"
    ):
        own = int(str(size)) or disk_size(f"{store.layout.trees}/{tree_id}")
        yield Candidate(float(str(last)), "layer", str(tree_id), own, own + of_layer.get(str(tree_id), 0))
    for layer, last in store.records.query(
        "SELECT layer, max(used) FROM records "
        "WHERE NOT EXISTS (SELECT 1 FROM trees WHERE trees.id = records.layer) GROUP BY layer"
    ):
        yield Candidate(float(str(last)), "record", str(layer), 0, of_layer.get(str(layer), 0))


def choose(
    found: list[Candidate], limit: float, keep_bytes: int, tally: Tally
) -> tuple[list[Candidate], set[str]]:
    """Return the layers to remove, and the names of what is kept because it fits in `keep_bytes`."""
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
    """Remove trees and records that were not used since `limit`, oldest first.

    A layer that was never unpacked is a record here; its bytes are those of its blob, which is removed next.
    """
    going = [Freed(item.kind, item.name, item.own_bytes) for item in chosen]
    if dry:
        return going
    really: list[Freed] = []
    for start in range(0, len(going), _BATCH):
        really += _remove_layers(store, limit, going[start : start + _BATCH])
    return really


def _remove_layers(store: Store, limit: float, chosen: list[Freed]) -> list[Freed]:
    """Remove a batch. Registered references are read again while nobody can add one (references.keep)."""
    trash: list[str] = []
    really: list[Freed] = []
    with store.images.held(), store.records.transaction() as connection:
        kept = registered_trees(store)
        for item in chosen:
            if item.name in kept:
                continue
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
                continue  # a build used it meanwhile
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
    """Remove the records of a layer without a tree, unless a build used it meanwhile."""
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


def _may_go(store: Store, digest: str, gone: set[str], only: Container[str] | None) -> bool:
    """Say whether no recorded layer has a blob any more; of other blobs than `only` those of layers that just went."""
    rows = store.records.query("SELECT layer FROM layer_blobs WHERE digest = ?", (digest,))
    users = {str(layer) for (layer,) in rows}
    if only is not None and digest not in only and users.isdisjoint(gone):
        return False
    return not any(store.records.query("SELECT 1 FROM records WHERE layer = ?", (layer,)) for layer in users - gone)


def _blobs(
    store: Store, limit: float, protected: Container[str], gone: set[str], only: Container[str] | None, dry: bool
) -> list[Freed]:
    """Remove blobs that no image and no remaining layer needs."""
    rows = store.records.query("SELECT digest, size FROM blobs WHERE used < ?", (limit,))
    freed = [
        Freed("blob", str(digest), int(str(size)))
        for digest, size in rows
        if str(digest) not in protected and _may_go(store, str(digest), gone, only)
    ]
    if dry:
        return freed
    really = []
    with store.records.transaction() as connection:
        for item in freed:
            if not connection.execute("DELETE FROM blobs WHERE digest = ? AND used < ?", (item.name, limit)).rowcount:
                continue  # a build used it meanwhile
            connection.execute("DELETE FROM layer_blobs WHERE digest = ?", (item.name,))
            unlink(store.blobs.path(Digest(item.name)))
            really.append(item)
    return really
