"""The records of steps in the store: which layer a step made, under its cache key. Does I/O.

They are a cache: losing them costs time only. They lie in the store's database (table `records`), so that a
layer and its records are removed in one transaction. Contract: docs/dev/store.md.
"""

from __future__ import annotations

import msgspec

from firkin.builder.graph.key import CacheKey, Part, reads_of
from firkin.decode import json_decoder
from firkin.errors import StoreError
from firkin.store.database import number
from firkin.store.records import USE_PRECISION_S, Records
from firkin.store.store import Store

_parts_encoder = msgspec.json.Encoder()
_parts_decoder: msgspec.json.Decoder[tuple[Part, ...]] = json_decoder(tuple[Part, ...])


class StepRecord(msgspec.Struct, frozen=True):
    """One remembered step, and the id of the layer that it made."""

    key: CacheKey
    layer: str
    slot: str
    title: str
    parts: tuple[Part, ...]
    created: float
    seconds: float


class StepRecords:
    """The records of steps in one store; its database is opened on first use."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _records(self) -> Records:
        return self._store.records

    def find(self, key: CacheKey) -> StepRecord | None:
        """Return the record of a step and note that it was used."""
        rows = self._records.query(
            "SELECT layer, slot, title, parts, created, seconds, used FROM records WHERE key = ?", (key,)
        )
        if not rows:
            return None
        layer, slot, title, parts, created, seconds, used = rows[0]
        if self._records.clock() - number(used) > USE_PRECISION_S:
            self._records.touch((key,), (str(layer),), ())
        return StepRecord(
            key, str(layer), str(slot), str(title), _decode_parts(parts), number(created), number(seconds)
        )

    def remember(self, record: StepRecord, *, replace: bool = False) -> None:
        """Keep the record of a step whose tree or blob is in the store.

        A record that is there stays, unless `replace`: then the key now stands for another layer (--no-cache).
        """
        update = "used = excluded.used"
        if replace:
            update += ", layer = excluded.layer, created = excluded.created, seconds = excluded.seconds"
        with self._records.transaction() as connection:
            connection.execute(
                "INSERT INTO records (key, layer, slot, title, parts, created, seconds, used) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET {update}",
                (
                    record.key,
                    record.layer,
                    record.slot,
                    record.title,
                    _parts_encoder.encode(record.parts),
                    record.created,
                    record.seconds,
                    self._records.clock(),
                ),
            )

    def forget(self, key: CacheKey) -> None:
        """Remove a record, e.g. because its layer no longer exists."""
        with self._records.transaction() as connection:
            connection.execute("DELETE FROM records WHERE key = ?", (key,))

    def previous(self, slot: str) -> StepRecord | None:
        """Return the last used record of a slot: one place in one Dockerfile."""
        rows = self._records.query(
            "SELECT key FROM records WHERE slot = ? ORDER BY used DESC, created DESC LIMIT 1", (slot,)
        )
        return self.find(CacheKey(str(rows[0][0]))) if rows else None

    def reads(self, layer: str) -> tuple[str, ...]:
        """Return the identities of the files that were read when a layer was made; () if they are not known here."""
        for key, parts in self._records.query("SELECT key, parts FROM records WHERE layer = ?", (layer,)):
            if str(key)[:32] == layer[:32]:
                return reads_of(_decode_parts(parts))
        return ()


def _decode_parts(value: object) -> tuple[Part, ...]:
    try:
        return _parts_decoder.decode(value if isinstance(value, (bytes, str)) else b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"the store's database is damaged: {error}", code="store-database") from error
