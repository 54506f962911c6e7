"""Removes blobs at once that were an image's, when nothing else needs them. Does I/O. `images` calls it.

`firkin prune` (store/gc.py) looks at everything in the store; this looks only at the blobs of images that were just
removed. A blob stays when another image or a registered reference names it, when a recorded step has it as its layer
(then it is cache), or when another process may rely on it.

Beside running builds
---------------------
A process that relies on a blob notes its use first, but not again within some seconds (`USE_PRECISION_S`), and then
looks whether it is there. So blobs are removed in two transactions. The first makes their last use older than that
precision: a process that begins later must note its use. The second asks which processes there are; with one, only
what was last used before it began goes. Otherwise what still has the older use is removed, while the database's write
lock keeps a new process waiting with its note, after which it finds the blob gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf

from firkin.errors import StoreError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.store.gc import GRACE_S
from firkin.store.images import StoredImage
from firkin.store.leftovers import unlink
from firkin.store.pruned import Freed
from firkin.store.records import USE_PRECISION_S
from firkin.store.references import children_of, held_since, registered
from firkin.store.store import Store


class Needs:
    """Which blobs images need; each document is read once. For one thread.

    `damaged` are the roots of which something cannot be read, so that nobody knows what they need.
    """

    def __init__(self, store: Store) -> None:
        self.damaged: set[str] = set()
        self._store = store
        self._children: dict[Digest, tuple[Descriptor, ...]] = {}
        self._whole: dict[Digest, frozenset[str]] = {}

    def of(self, images: Iterable[StoredImage]) -> set[str]:
        """Return the digests of the images' documents, configurations and layers."""
        found: set[str] = set()
        for root in {image.descriptor.digest: image.descriptor for image in images}.values():
            if root.digest not in self._whole:
                self._whole[root.digest] = self._closure(root)
            found |= self._whole[root.digest]
        return found

    def _closure(self, root: Descriptor) -> frozenset[str]:
        blobs: set[str] = set()
        todo = [root]
        while todo:
            descriptor = todo.pop()
            if descriptor.digest not in blobs:
                blobs.add(descriptor.digest)
                try:
                    if descriptor.digest not in self._children:
                        self._children[descriptor.digest] = children_of(self._store, descriptor)
                    todo += self._children[descriptor.digest]
                except (StoreError, ValueError):
                    self.damaged.add(root.digest)
        return frozenset(blobs)


def free_blobs(store: Store, blobs: Iterable[str], needs: Needs) -> tuple[Freed, ...]:
    """Remove those of the blobs that nothing needs any more; none while an image is damaged. Raises StoreError."""
    with store.images.held():
        entries = store.images.entries()
        needed = needs.of(entries)
        if any(entry.descriptor.digest in needs.damaged for entry in entries):
            return ()
        for reference in registered(store):
            needed.update(reference.blobs)
        left = [Digest(blob) for blob in sorted(set(blobs) - needed) if not _is_cached(store, blob)]
        if not left:
            return ()
        aged = store.records.clock() - USE_PRECISION_S - 1
        with store.records.transaction() as connection:
            connection.executemany(
                "UPDATE blobs SET used = ? WHERE digest = ? AND used > ?", [(aged, blob, aged) for blob in left]
            )
        return _remove(store, left, aged)


def _is_cached(store: Store, blob: str) -> bool:
    """Say whether a blob is the layer of a recorded step."""
    return bool(
        store.records.query(
            "SELECT 1 FROM layer_blobs JOIN records ON records.layer = layer_blobs.layer WHERE digest = ? LIMIT 1",
            (blob,),
        )
    )


def _remove(store: Store, blobs: list[Digest], aged: float) -> tuple[Freed, ...]:
    freed = []
    with store.records.transaction() as connection:
        limit = held_since(store, inf) - GRACE_S
        for blob in blobs:
            path = store.blobs.path(blob)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            row = connection.execute("SELECT used FROM blobs WHERE digest = ?", (blob,)).fetchone()
            # Documents are in no table; their times are those of their files.
            used = status.st_ctime if row is None else float(row[0])
            if used >= limit or (row is not None and used > aged):
                continue
            connection.execute("DELETE FROM blobs WHERE digest = ?", (blob,))
            connection.execute("DELETE FROM layer_blobs WHERE digest = ?", (blob,))
            unlink(path)
            freed.append(Freed("blob", blob, status.st_blocks * 512))
    return tuple(freed)
