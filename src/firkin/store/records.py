"""The store's tables of layers, blobs, registries and uses. Does I/O.

Contract: docs/dev/store.md. Records of steps belong to the builder (`builder/cache/records.py`). The store reads only
which layer a record stands for and when it was last used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.store.database import Database, number


class LayerBlob(msgspec.Struct, frozen=True):
    """A blob that a layer was written as."""

    diff_id: DiffID
    descriptor: Descriptor


class ResolvedName(msgspec.Struct, frozen=True):
    """The result of resolving an image's name: the document that it points to, and the manifest for a platform."""

    digest: Digest
    manifest: Digest
    checked_s: float


USE_PRECISION_S = 30.0
"""A use is noted again only after this time, so that a fully cached build writes nothing."""


class Records(Database):
    """The tables of one store; `clock` returns seconds since the epoch."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        super().__init__(path)
        self.clock = clock

    def touch(self, keys: tuple[str, ...], trees: tuple[str, ...], blobs: tuple[str, ...]) -> None:
        """Note that these are used now, so that a running `prune` spares them."""
        now = self.clock()
        with self.transaction() as connection:
            connection.executemany("UPDATE records SET used = ? WHERE key = ?", [(now, key) for key in keys])
            connection.executemany("UPDATE trees SET used = ? WHERE id = ?", [(now, tree) for tree in trees])
            connection.executemany("UPDATE blobs SET used = ? WHERE digest = ?", [(now, blob) for blob in blobs])

    def age(self, before_s: float, by_s: float) -> None:
        """Make the uses since `before_s` so many seconds older, none later than it: they have to be noted anew."""
        with self.transaction() as connection:
            for table in ("records", "trees", "blobs"):
                connection.execute(
                    f"UPDATE {table} SET used = min(used - ?, ?) WHERE used > ?", (by_s, before_s, before_s)
                )

    def use_trees(self, trees: Iterable[str]) -> None:
        """Note that these trees are used now. Adds those that are older than the database."""
        now = self.clock()
        with self.transaction() as connection:
            connection.executemany(
                "INSERT INTO trees (id, used) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET used = excluded.used",
                [(tree, now) for tree in trees],
            )

    def use_blob(self, digest: Digest, size: int) -> None:
        """Note that a blob of the store is used now."""
        rows = self.query("SELECT used FROM blobs WHERE digest = ?", (digest,))
        if not rows or self.clock() - number(rows[0][0]) > USE_PRECISION_S:
            self.add_blob(digest, size)

    # Trees and blobs

    def add_tree(self, tree_id: str, size: int = 0) -> None:
        """Note that a tree is in the store."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO trees (id, size, used) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET used = excluded.used, size = max(size, excluded.size)",
                (tree_id, size, self.clock()),
            )

    def measured_tree(self, tree_id: str, size: int) -> None:
        """Note a tree's size on disk in bytes; its time of last use stays."""
        with self.transaction() as connection:
            connection.execute("UPDATE trees SET size = ? WHERE id = ?", (size, tree_id))

    def add_blob(self, digest: Digest, size: int) -> None:
        """Note that a blob is in the store."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO blobs (digest, size, used) VALUES (?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET used = excluded.used",
                (digest, size, self.clock()),
            )

    def layer_blob(self, layer: str, variant: str) -> LayerBlob | None:
        """Return the blob that a layer was written as, None if there is none."""
        rows = self.query(
            "SELECT diff_id, digest, size, media_type FROM layer_blobs WHERE layer = ? AND variant = ?",
            (layer, variant),
        )
        if not rows:
            return None
        diff_id, digest, size, media_type = rows[0]
        descriptor = Descriptor(str(media_type), Digest(str(digest)), int(number(size)))
        return LayerBlob(DiffID(str(diff_id)), descriptor)

    def layer_blobs(self, layer: str) -> tuple[LayerBlob, ...]:
        """Return every blob that a layer was written as."""
        rows = self.query(
            "SELECT diff_id, digest, size, media_type FROM layer_blobs WHERE layer = ? ORDER BY variant", (layer,)
        )
        return tuple(
            LayerBlob(DiffID(str(d)), Descriptor(str(m), Digest(str(g)), int(number(s)))) for d, g, s, m in rows
        )

    def add_layer_blob(self, layer: str, variant: str, blob: LayerBlob) -> None:
        """Note that a layer was written as a blob (which is in the store, or was pulled)."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO layer_blobs (layer, variant, diff_id, digest, size, media_type) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    layer,
                    variant,
                    blob.diff_id,
                    blob.descriptor.digest,
                    blob.descriptor.size,
                    blob.descriptor.media_type,
                ),
            )

    # Sizes of layers

    def layer_sizes(self, diff_ids: Iterable[str] | None = None) -> dict[str, int]:
        """Return the bytes that layers unpack to, of those that are known (None: of all)."""
        if diff_ids is None:
            rows = self.query("SELECT diff_id, size FROM layer_sizes")
        else:
            wanted = dict.fromkeys(diff_ids)
            rows = [
                row for diff_id in wanted
                for row in self.query("SELECT diff_id, size FROM layer_sizes WHERE diff_id = ?", (diff_id,))
            ]  # fmt: skip
        return {str(diff_id): int(number(size)) for diff_id, size in rows}

    def add_layer_sizes(self, sizes: Mapping[str, int]) -> None:
        """Note what layers unpack to, by their diff_id; the caller has verified both."""
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO layer_sizes (diff_id, size) VALUES (?, ?)", sizes.items())

    def forget_layer(self, layer: str) -> None:
        """Remove all records of steps that stand for a layer, e.g. because its blob is gone."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM records WHERE layer = ?", (layer,))

    # Registries

    def add_place(self, digest: Digest, registry: str, repository: str) -> None:
        """Note that a registry's repository holds a blob."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO blob_places (digest, registry, repository, seen) VALUES (?, ?, ?, ?)",
                (digest, registry, repository, self.clock()),
            )

    def places(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        """Return the (registry, repository) pairs that held a blob, last seen first."""
        rows = self.query(
            "SELECT registry, repository FROM blob_places WHERE digest = ? ORDER BY seen DESC LIMIT 16",
            (digest,),
        )
        return tuple((str(registry), str(repository)) for registry, repository in rows)

    def resolved(self, name: str, platform: str) -> ResolvedName | None:
        """Return the stored result of resolving a name, None if there is none."""
        rows = self.query(
            "SELECT digest, manifest, checked FROM names WHERE name = ? AND platform = ?", (name, platform)
        )
        if not rows:
            return None
        digest, manifest, checked = rows[0]
        return ResolvedName(Digest(str(digest)), Digest(str(manifest)), number(checked))

    def add_resolved(self, name: str, platform: str, digest: Digest, manifest: Digest) -> None:
        """Note the result of resolving a name now."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO names (name, platform, digest, manifest, checked) VALUES (?, ?, ?, ?, ?)",
                (name, platform, digest, manifest, self.clock()),
            )
