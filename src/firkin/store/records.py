"""Cache records and what the store knows of layers, names and uses, in SQLite (WAL). Does I/O.

Every write is one transaction. Contract: docs/dev/store.md. The connection is used under a lock of its
own, from any thread; other processes are kept out by SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from firkin.builder.graph.key import CacheKey, Part, reads_of
from firkin.decode import json_decoder
from firkin.errors import StoreError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest
from firkin.store.layout import is_full, locked, store_error

_SCHEMA = """
CREATE TABLE records (
    key TEXT PRIMARY KEY,          -- cache key of the step
    layer TEXT NOT NULL,           -- id of its layer's tree: the key, or another after --no-cache
    slot TEXT NOT NULL,            -- where in which Dockerfile: what a miss is compared with
    title TEXT NOT NULL,
    parts BLOB NOT NULL,           -- JSON [[name, value], ...], in the order of hashing
    created REAL NOT NULL,         -- when the step ran, seconds since the epoch
    seconds REAL NOT NULL,         -- how long it took
    used REAL NOT NULL             -- when it was last of use
) WITHOUT ROWID;
CREATE INDEX records_by_slot ON records (slot, used);
CREATE INDEX records_by_layer ON records (layer);
CREATE INDEX records_by_use ON records (used);
CREATE TABLE layer_blobs (
    layer TEXT NOT NULL,           -- tree id: cache key or chain id
    variant TEXT NOT NULL,         -- compression, level, clamping: what the bytes depend on
    diff_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (layer, variant)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest);
CREATE TABLE trees (
    id TEXT PRIMARY KEY,
    size INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE blob_places (
    digest TEXT NOT NULL,          -- a blob that the registry is known to hold
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen REAL NOT NULL,
    PRIMARY KEY (digest, registry, repository)
) WITHOUT ROWID;
CREATE TABLE names (
    name TEXT NOT NULL,            -- canonical reference with tag
    platform TEXT NOT NULL,
    digest TEXT NOT NULL,          -- of the document that the name resolved to
    manifest TEXT NOT NULL,        -- of the platform's manifest
    checked REAL NOT NULL,
    PRIMARY KEY (name, platform)
) WITHOUT ROWID;
"""
# Follows from the tables, so that nobody can forget to count it up. Comments and blanks do not matter.
SCHEMA_VERSION = crc32(" ".join(" ".join(line.partition("--")[0] for line in _SCHEMA.splitlines()).split()).encode())
SCHEMA_VERSION &= 0x7FFFFFFF  # it is a signed number in SQLite
_DAMAGED = ".damaged"


class StepRecord(msgspec.Struct, frozen=True):
    """One remembered step, and the id of the layer that it made."""

    key: CacheKey
    layer: str
    slot: str
    title: str
    parts: tuple[Part, ...]
    created: float
    seconds: float


class LayerBlob(msgspec.Struct, frozen=True):
    """A blob that a layer was written as."""

    diff_id: DiffID
    descriptor: Descriptor


_USE_PRECISION_S = 30.0
"""A use is noted again only after this time, so that a cached build does not write."""

_parts_encoder = msgspec.json.Encoder()
_parts_decoder: msgspec.json.Decoder[tuple[Part, ...]] = json_decoder(tuple[Part, ...])


def _connection(path: str, mode: str) -> sqlite3.Connection:
    """Open a database; `mode` as in sqlite.org/uri.html: "rw" does not make one."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")  # urllib.parse takes 3 ms to import
    return sqlite3.connect(
        f"file:{quoted}?mode={mode}",
        uri=True,
        timeout=60,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _is_missing(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except FileNotFoundError:
        return True


class Records:
    """The database of one store; `clock` returns seconds since the epoch."""

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._link = path
        self.lost = ""  # why what was remembered before is gone, if it is
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise self._failed(error) from error  # locked, full, not readable: nothing that a new one would mend
        except sqlite3.DatabaseError:
            self._renew()

    def _open(self) -> None:
        while True:
            self._path = self._current()
            if _is_missing(self._path):
                with locked(self._link + ".lock"):
                    if _is_missing(self._current()):
                        self._make_database()
                continue
            try:
                self._connect()
                return
            except sqlite3.Error:
                if self._path == self._current() and not _is_missing(self._path):
                    raise
                # Another process is putting a new one in its place.

    def _current(self) -> str:
        """Return the database's own path.

        Each one has a name of its own, and a link says which one counts. SQLite finds a log by name and removes it
        with the last connection: under one name, who still holds a damaged database would meet the log of the new one.
        """
        return os.path.realpath(self._link)

    def _connect(self) -> None:
        if os.path.exists(self._path + _DAMAGED):
            raise sqlite3.DatabaseError("the last process found it damaged")
        self._connection = _connection(self._path, "rw")
        try:
            # A killed process loses nothing in WAL mode; NORMAL may lose the last transactions when the
            # power fails, never the database (sqlite.org/wal.html): they are a cache.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if self._connection.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                self._make_tables(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def _make_database(self) -> None:
        """Remove what there is, a killed process's remains too, and make an empty database; under the lock.

        It appears whole: SQLite does not wait for other connections when it changes to WAL, it fails.
        """
        place, link = os.path.split(self._link)
        stem = link.removesuffix(".db") + "-"
        for left in os.listdir(place):
            if left.startswith((stem, link + "-", link + ".new")):
                with suppress(FileNotFoundError):  # its last user has just removed it
                    os.unlink(f"{place}/{left}")
        name = f"{stem}{os.urandom(6).hex()}.db"
        # Parts of keys tell the values of build arguments: they are for the owner alone, and SQLite's logs follow suit.
        os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = _connection(f"{place}/{name}", "rw")
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            self._make_tables(connection)
        finally:
            connection.close()  # the only connection: what its WAL holds goes into the file now
        os.symlink(name, self._link + ".new")
        os.rename(self._link + ".new", self._link)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        """Make the tables; those of another version go, for all that is lost with them is time."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
                ).fetchall():
                    connection.execute(f'DROP TABLE "{name}"')
                    self.lost = "it was written by another version of firkin"
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _renew(self) -> None:
        """Put an empty database in the place of a damaged one; one process does it, the others wait."""
        damaged = self._path
        try:
            with locked(self._link + ".lock"):
                if self._current() == damaged:
                    self._make_database()
                    self.lost = "it was damaged"
            self._open()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        except OSError as error:
            raise store_error("cannot renew the store's database", error) from error

    def close(self) -> None:
        """Close the database; whoever still uses it gets an error."""
        with self._lock:  # SQLite does not survive a connection that is closed in the middle of a statement
            self._connection.close()

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """Return what to tell of an error. A damaged database is noted, and the next process makes a new one."""
        text = str(error)
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if damaged and ("malformed" in text or "not a database" in text):
            with open(self._path + _DAMAGED, "wb"):
                pass
            return StoreError(
                f"the store's database is damaged: {text}",
                code="store-damaged",
                hints=("build again: what was remembered is then forgotten, images and layers stay",),
            )
        # A shared-memory file or a log that cannot grow is "disk I/O error" to SQLite.
        full = "disk I/O error" in text and is_full(os.path.dirname(self._path))
        return _database_error(sqlite3.OperationalError("database or disk is full") if full else error)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """Hold the database's write lock, for removing things (gc.py)."""
        with self._transaction() as connection:
            yield connection

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return all rows of a SELECT."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error

    # Cache records

    def find(self, key: CacheKey) -> StepRecord | None:
        """Return the record of a step and note that it was of use."""
        rows = self.query(
            "SELECT layer, slot, title, parts, created, seconds, used FROM records WHERE key = ?", (key,)
        )
        if not rows:
            return None
        layer, slot, title, parts, created, seconds, used = rows[0]
        if self._clock() - _number(used) > _USE_PRECISION_S:
            self.touch((key,), (str(layer),), ())
        return StepRecord(
            key, str(layer), str(slot), str(title), _decode_parts(parts), _number(created), _number(seconds)
        )

    def remember(self, record: StepRecord, *, replace: bool = False) -> None:
        """Keep the record of a step whose tree or blob is in the store.

        The first one stays, unless `replace`: then the step now stands for another layer (--no-cache).
        """
        update = "used = excluded.used"
        if replace:
            update += ", layer = excluded.layer, created = excluded.created, seconds = excluded.seconds"
        with self._transaction() as connection:
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
                    self._clock(),
                ),
            )

    def of_layer(self, layer: str) -> tuple[CacheKey, ...]:
        """Return the keys of all records of a layer."""
        return tuple(CacheKey(str(key)) for (key,) in self.query("SELECT key FROM records WHERE layer = ?", (layer,)))

    def forget(self, key: CacheKey) -> None:
        """Remove a record, e.g. because its tree turned out to be gone."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM records WHERE key = ?", (key,))

    def previous(self, slot: str) -> StepRecord | None:
        """Return the last used record of the same place in the same Dockerfile."""
        rows = self.query(
            "SELECT key FROM records WHERE slot = ? ORDER BY used DESC, created DESC LIMIT 1", (slot,)
        )
        return self.find(CacheKey(str(rows[0][0]))) if rows else None

    def reads(self, layer: str) -> tuple[str, ...]:
        """Return the identities of what was read when a layer was made; () if that is not known here."""
        for key, parts in self.query("SELECT key, parts FROM records WHERE layer = ?", (layer,)):
            if str(key)[:32] == layer[:32]:
                return reads_of(_decode_parts(parts))
        return ()

    def touch(self, keys: tuple[str, ...], trees: tuple[str, ...], blobs: tuple[str, ...]) -> None:
        """Note that these were of use now: a running `prune` then leaves them alone."""
        now = self._clock()
        with self._transaction() as connection:
            connection.executemany("UPDATE records SET used = ? WHERE key = ?", [(now, key) for key in keys])
            connection.executemany("UPDATE trees SET used = ? WHERE id = ?", [(now, tree) for tree in trees])
            connection.executemany("UPDATE blobs SET used = ? WHERE digest = ?", [(now, blob) for blob in blobs])

    def use_trees(self, trees: Iterable[str]) -> None:
        """Note that these trees are of use now, also those that were made before the database was."""
        now = self._clock()
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO trees (id, used) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET used = excluded.used",
                [(tree, now) for tree in trees],
            )

    def use_blob(self, digest: Digest, size: int) -> None:
        """Note that a blob of the store is of use now."""
        rows = self.query("SELECT used FROM blobs WHERE digest = ?", (digest,))
        if not rows or self._clock() - _number(rows[0][0]) > _USE_PRECISION_S:
            self.add_blob(digest, size)

    # Trees and blobs

    def add_tree(self, tree_id: str, size: int = 0) -> None:
        """Note that a tree is in the store."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO trees (id, size, used) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET used = excluded.used, size = max(size, excluded.size)",
                (tree_id, size, self._clock()),
            )

    def measured_tree(self, tree_id: str, size: int) -> None:
        """Note what a tree takes on disk, in bytes; that is no use of it."""
        with self._transaction() as connection:
            connection.execute("UPDATE trees SET size = ? WHERE id = ?", (size, tree_id))

    def add_blob(self, digest: Digest, size: int) -> None:
        """Note that a blob is in the store."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO blobs (digest, size, used) VALUES (?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET used = excluded.used",
                (digest, size, self._clock()),
            )

    def layer_blob(self, layer: str, variant: str) -> LayerBlob | None:
        """Return the blob that a layer was written as, if it was."""
        rows = self.query(
            "SELECT diff_id, digest, size, media_type FROM layer_blobs WHERE layer = ? AND variant = ?",
            (layer, variant),
        )
        if not rows:
            return None
        diff_id, digest, size, media_type = rows[0]
        descriptor = Descriptor(str(media_type), Digest(str(digest)), int(_number(size)))
        return LayerBlob(DiffID(str(diff_id)), descriptor)

    def layer_blobs(self, layer: str) -> tuple[LayerBlob, ...]:
        """Return every blob that a layer is known as."""
        rows = self.query(
            "SELECT diff_id, digest, size, media_type FROM layer_blobs WHERE layer = ? ORDER BY variant", (layer,)
        )
        return tuple(
            LayerBlob(DiffID(str(d)), Descriptor(str(m), Digest(str(g)), int(_number(s)))) for d, g, s, m in rows
        )

    def add_layer_blob(self, layer: str, variant: str, blob: LayerBlob) -> None:
        """Note that a layer was written as a blob (which is in the store, or was pulled)."""
        with self._transaction() as connection:
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

    # Registries

    def add_place(self, digest: Digest, registry: str, repository: str) -> None:
        """Note that a registry's repository holds a blob."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO blob_places (digest, registry, repository, seen) VALUES (?, ?, ?, ?)",
                (digest, registry, repository, self._clock()),
            )

    def places(self, digest: Digest) -> tuple[tuple[str, str], ...]:
        """Return (registry, repository) pairs that were seen to hold a blob, newest first."""
        rows = self.query(
            "SELECT registry, repository FROM blob_places WHERE digest = ? ORDER BY seen DESC LIMIT 16",
            (digest,),
        )
        return tuple((str(registry), str(repository)) for registry, repository in rows)

    def resolved(self, name: str, platform: str) -> tuple[Digest, Digest, float] | None:
        """Return (document digest, manifest digest, when checked) of a name, if it was resolved before."""
        rows = self.query(
            "SELECT digest, manifest, checked FROM names WHERE name = ? AND platform = ?", (name, platform)
        )
        if not rows:
            return None
        digest, manifest, checked = rows[0]
        return Digest(str(digest)), Digest(str(manifest)), _number(checked)

    def add_resolved(self, name: str, platform: str, digest: Digest, manifest: Digest) -> None:
        """Note what a name resolved to just now."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO names (name, platform, digest, manifest, checked) VALUES (?, ?, ?, ?, ?)",
                (name, platform, digest, manifest, self._clock()),
            )


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise StoreError("the store's database is damaged: a number was expected", code="store-database")


def _decode_parts(value: object) -> tuple[Part, ...]:
    try:
        return _parts_decoder.decode(value if isinstance(value, (bytes, str)) else b"")
    except msgspec.MsgspecError as error:
        raise StoreError(f"the store's database is damaged: {error}", code="store-database") from error


def _database_error(error: sqlite3.Error) -> StoreError:
    text = str(error)
    if "full" in text:
        hint = "free some space with `firkin prune`, or move the store with `--root DIR`"
        return StoreError(f"cannot write the store's database: {text}", code="disk-full", hints=(hint,))
    if "no such table" in text or "no such column" in text:
        hint = "let one version of firkin use the store at a time, or give each its own with `--root DIR`"
        return StoreError(f"another version of firkin took over the store: {text}", code="store-taken", hints=(hint,))
    if "readonly" in text or "unable to open" in text:
        hint = "choose a place you may write to with `--root DIR` or FIRKIN_ROOT"
        return StoreError(f"cannot open the store's database: {text}", code="store-permission", hints=(hint,))
    return StoreError(f"the store's database failed: {text}", code="store-database")
