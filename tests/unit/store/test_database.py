"""The store's database: made whole, kept, given up when it is damaged, by many processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.store.store import Store


def record(key: str, slot: str = "D|s|1") -> StepRecord:
    return StepRecord(CacheKey(key), key, slot, "RUN x", (("op", "run"), ("command", key)), 5.0, 0.5)


def _remembering(tmp_path, clock) -> Path:
    """Return the database of a closed store that knows one step."""
    with Store(str(tmp_path / "s"), clock) as opened:
        StepRecords(opened).remember(record("a"))
    return tmp_path / "s" / "records.db"


def _known_afterwards(tmp_path, clock) -> tuple[bool, list[str]]:
    told: list[str] = []
    with Store(str(tmp_path / "s"), clock, lambda code, text: told.append(text)) as opened:
        known = StepRecords(opened).find(CacheKey("a")) is not None
        StepRecords(opened).remember(record("b"))
        assert StepRecords(opened).find(CacheKey("b")) is not None
    return known, told


def test_the_same_version_keeps_its_records(tmp_path, clock):
    _remembering(tmp_path, clock)
    assert _known_afterwards(tmp_path, clock) == (True, [])


@pytest.mark.parametrize("version", [1, 7, 2**31 - 1])
def test_records_of_another_version_give_way(tmp_path, clock, version):
    database = _remembering(tmp_path, clock)
    connection = sqlite3.connect(database)
    connection.executescript(
        "DROP TABLE records; CREATE TABLE records (key TEXT, other TEXT); CREATE TABLE more (a); "
        f"PRAGMA user_version={version};"
    )
    connection.close()
    known, told = _known_afterwards(tmp_path, clock)
    assert not known and told == ["the cache of the store is empty now: it was written by another version of firkin"]
    assert _known_afterwards(tmp_path, clock)[1] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database" * 1000,
        lambda data: data[: len(data) // 2],
        lambda data: data[:5000],
        lambda data: data[:100] + bytes(len(data) - 100),
        lambda data: bytes(len(data)),
    ],
    ids=["no database", "half", "cut short", "header only", "zeros"],
)
def test_a_damaged_database_gives_way(tmp_path, clock, damage):
    database = _remembering(tmp_path, clock)
    database.write_bytes(damage(database.read_bytes()))
    known, told = _known_afterwards(tmp_path, clock)
    assert not known and told == ["the cache of the store is empty now: it was damaged"]
    assert _known_afterwards(tmp_path, clock)[1] == []
    assert sorted(place.name for place in database.parent.glob("records.db*")) == ["records.db", "records.db.lock"]


def test_an_empty_database_is_made_again(tmp_path, clock):
    database = _remembering(tmp_path, clock)
    database.write_bytes(b"")
    assert _known_afterwards(tmp_path, clock) == (False, [])


def test_damage_that_is_found_later_is_told_and_mended_next_time(tmp_path, clock):
    database = _remembering(tmp_path, clock)
    data = bytearray(database.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 4096] = b"\xff" * 4096
    database.write_bytes(data)
    with Store(str(tmp_path / "s"), clock) as opened, pytest.raises(StoreError, match="is damaged") as caught:
        StepRecords(opened).find(CacheKey("a"))
    assert caught.value.code == "store-damaged" and caught.value.exit_code == 5
    known, told = _known_afterwards(tmp_path, clock)
    assert not known and told == ["the cache of the store is empty now: it was damaged"]


def test_many_processes_renew_a_database_once(tmp_path, clock):
    """Who still holds the damaged database must not meet the new one: SQLite finds a log by its name."""
    roots = [str(tmp_path / str(n)) for n in range(40)]
    for root in roots:
        with Store(root, clock) as store:
            StepRecords(store).remember(record("a"))
            database = store.layout.database
        with open(database, "wb") as file:
            file.write(b"this is no database" * 1000)
    code = (
        "import random, sys, time\nfrom firkin.store.store import Store\n"
        "name, first, *roots = sys.argv[1:]\n"
        "for n, root in enumerate(roots):\n"
        "    time.sleep(max(0, float(first) + 0.05 * n + 0.012 * random.random() - time.time()))\n"
        "    with Store(root, time.time) as store: store.records.add_tree(name)\n"
    )
    first = str(time.time() + 0.5)  # when all have imported
    started = [subprocess.Popen([sys.executable, "-c", code, name, first, *roots]) for name in "bcdefgh"]
    assert [process.wait() for process in started] == [0] * 7
    for root in roots:
        with Store(root, clock) as store:
            assert {name for (name,) in store.records.query("SELECT id FROM trees")} == set("bcdefgh")


def test_many_processes_make_a_database_at_once(tmp_path):
    """SQLite fails at once, whatever its timeout, when two connections change a database to WAL."""
    code = (
        "import sys, time\nfrom firkin.store.store import Store\n"
        "root, name, first = sys.argv[1], sys.argv[2], float(sys.argv[3])\n"
        "for n in range(25):\n"
        "    while time.time() < first + 0.03 * n: pass\n"
        "    with Store(f'{root}/{n}', time.time) as store: store.records.add_tree(name)\n"
    )
    first = str(time.time() + 0.5)  # when all have imported
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen([*command, name, first]) for name in "abcdef"]
    assert [process.wait() for process in started] == [0] * 6
    for n in range(25):
        with Store(str(tmp_path / str(n)), time.time) as opened:
            assert opened.records.query("SELECT id FROM trees ORDER BY id") == [(name,) for name in "abcdef"]


def test_another_version_that_took_over_is_told(store):
    StepRecords(store).remember(record("a"))
    connection = sqlite3.connect(store.layout.database)
    connection.execute("DROP TABLE records")
    connection.close()
    with pytest.raises(StoreError, match="another version") as caught:
        StepRecords(store).find(CacheKey("a"))
    assert caught.value.hints == (Hint.of("store-one-version"),)
