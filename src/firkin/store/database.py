"""The store's database: SQLite in WAL mode, replaced by an empty one when it is damaged. Does I/O.

Every write is one transaction. Contract: docs/dev/store.md. Any thread may use the connection, under a lock;
SQLite keeps other processes out. `store/records.py` knows what is in the tables, and `builder/cache/records.py`
knows the records of steps.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.store.layout import is_full, locked, store_error
from firkin.store.schema import MIGRATIONS, SCHEMA, statements
from firkin.store.versions import STORE_VERSION

_DAMAGED = ".damaged"


class Database:
    """The database of one store: runs statements and transactions, creates the file, replaces a damaged one.

    Everything raises StoreError, opening included: when the database is locked, damaged or of another version, or
    when the disk is full.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._link = path
        self.lost = ""  # why the earlier contents are gone; "" if they are not
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise self._failed(error) from error  # locked, full or unreadable: a new database would not help
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
                # Another process is replacing the database.

    def _current(self) -> str:
        """Return the path of the current database.

        Each database has its own name, and a link points to the current one. SQLite finds a log by name and removes it
        with the last connection: with a shared name, a process that still has the damaged database open would use the
        log of the new one.
        """
        return os.path.realpath(self._link)

    def _connect(self) -> None:
        if os.path.exists(self._path + _DAMAGED):
            raise sqlite3.DatabaseError("the last process found it damaged")
        self._connection = _connection(self._path, "rw")
        try:
            # A killed process loses nothing in WAL mode. With NORMAL, a power failure may lose the last transactions
            # but never the database (sqlite.org/wal.html). They are a cache, so that is acceptable.
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if self._connection.execute("PRAGMA user_version").fetchone() != (STORE_VERSION,):
                self._make_tables(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def _make_database(self) -> None:
        """Remove all databases, also those that a killed process left, and make an empty one. The lock is held.

        The new one is complete before the link points to it: SQLite fails when it changes to WAL while others are
        connected, instead of waiting for them.
        """
        place, link = os.path.split(self._link)
        stem = link.removesuffix(".db") + "-"
        for left in os.listdir(place):
            if left.startswith((stem, link + "-", link + ".new")):
                with suppress(FileNotFoundError):  # its last user has just removed it
                    os.unlink(f"{place}/{left}")
        name = f"{stem}{os.urandom(6).hex()}.db"
        # Parts of keys contain the values of build arguments, so only the owner may read them. SQLite's logs get the
        # same mode.
        os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = _connection(f"{place}/{name}", "rw")
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            self._make_tables(connection)
        finally:
            connection.close()  # the only connection: SQLite writes its WAL into the file now
        os.symlink(name, self._link + ".new")
        os.rename(self._link + ".new", self._link)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        """Make the tables, or migrate them. Those of an unknown version are dropped: only time is lost."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            while found in MIGRATIONS:
                found, script = MIGRATIONS[found]
                _run(connection, script)
            if found != STORE_VERSION:
                self._drop_tables(connection)
                _run(connection, SCHEMA)
            connection.execute(f"PRAGMA user_version={STORE_VERSION}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _drop_tables(self, connection: sqlite3.Connection) -> None:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall():
            connection.execute(f'DROP TABLE "{name}"')
            self.lost = "it was written by another version of firkin"

    def _renew(self) -> None:
        """Replace a damaged database by an empty one; one process does it, the others wait."""
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
        """Close the database; a thread that still uses it gets an error."""
        with self._lock:  # SQLite does not survive a connection that is closed in the middle of a statement
            self._connection.close()

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """Return the StoreError for an error. Marks a damaged database, so that the next process makes a new one."""
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
        # SQLite says "disk I/O error" when a shared-memory file or a log cannot grow.
        full = "disk I/O error" in text and is_full(os.path.dirname(self._path))
        return _database_error(sqlite3.OperationalError("database or disk is full") if full else error)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the database's write lock; commits at the end of the block, rolls back after an exception.

        Raises StoreError.
        """
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

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return all rows of a SELECT. Raises StoreError."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error


def _connection(path: str, mode: str) -> sqlite3.Connection:
    """Open a database; `mode` as in sqlite.org/uri.html: "rw" does not create one."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")  # urllib.parse takes 3 ms to import
    return sqlite3.connect(
        f"file:{quoted}?mode={mode}",
        uri=True,
        timeout=60,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _run(connection: sqlite3.Connection, script: str) -> None:
    for statement in statements(script):
        connection.execute(statement)


def _is_missing(path: str) -> bool:
    try:
        return os.stat(path).st_size == 0
    except FileNotFoundError:
        return True


def number(value: object) -> float:
    """Return a value of a row as a number; raises StoreError for anything else."""
    if isinstance(value, (int, float)):
        return value
    raise StoreError("the store's database is damaged: a number was expected", code="store-database")


def _database_error(error: sqlite3.Error) -> StoreError:
    text = str(error)
    if "full" in text:
        hint = Hint.of("store-full")
        return StoreError(f"cannot write the store's database: {text}", code="disk-full", hints=(hint,))
    if "no such table" in text or "no such column" in text:
        hint = Hint.of("store-one-version")
        return StoreError(f"another version of firkin took over the store: {text}", code="store-taken", hints=(hint,))
    if "readonly" in text or "unable to open" in text:
        hint = Hint.of("store-writable")
        return StoreError(f"cannot open the store's database: {text}", code="store-permission", hints=(hint,))
    return StoreError(f"the store's database failed: {text}", code="store-database")
