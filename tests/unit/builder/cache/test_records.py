"""Records of steps: the first one stays, the last used is the previous one, a layer takes its records with it."""

from __future__ import annotations

import threading

import pytest

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import StoreError
from firkin.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(str(tmp_path / "store"), clock) as opened:
        yield opened


def record(key: str, slot: str = "D|s|1", layer: str = "") -> StepRecord:
    return StepRecord(CacheKey(key), layer or key, slot, "RUN x", (("op", "run"), ("command", key)), 5.0, 0.5)


def test_records_come_back_and_the_last_used_is_previous(store, clock):
    StepRecords(store).remember(record("1" * 64))
    clock.now += 1
    StepRecords(store).remember(record("2" * 64))
    found = StepRecords(store).find(CacheKey("1" * 64))
    assert found is not None
    assert found.parts == (("op", "run"), ("command", "1" * 64))
    previous = StepRecords(store).previous("D|s|1")
    assert previous is not None
    assert previous.key == "2" * 64
    assert StepRecords(store).previous("other") is None


def test_records_from_many_threads(store):
    def add(number: int) -> None:
        for index in range(20):
            StepRecords(store).remember(record(f"{number:032x}{index:032x}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.records.query("SELECT count(*) FROM records") == [(160,)]


def test_the_first_record_stays_unless_it_is_replaced(store):
    records = StepRecords(store)
    records.remember(record("a", layer="first"))
    records.remember(record("a", layer="second"))
    found = records.find(CacheKey("a"))
    assert found is not None and found.layer == "first"
    records.remember(record("a", layer="third"), replace=True)
    found = records.find(CacheKey("a"))
    assert found is not None and found.layer == "third"


def test_a_use_is_noted_once_in_a_while(store, clock):
    records = StepRecords(store)
    records.remember(record("a"))
    store.records.add_tree("a")
    for later, noted in ((20.0, False), (20.0, True)):
        clock.now += later
        records.find(CacheKey("a"))
        for table in ("records", "trees"):
            assert (store.records.query(f"SELECT used FROM {table}") == [(clock.now,)]) == noted


def test_what_is_forgotten_is_gone(store):
    records = StepRecords(store)
    for key, layer in (("a", "a"), ("b", "a"), ("c", "c")):
        records.remember(record(key, layer=layer))
    store.records.forget_layer("a")
    assert [records.find(CacheKey(key)) is not None for key in "abc"] == [False, False, True]
    records.forget(CacheKey("c"))
    assert records.find(CacheKey("c")) is None


def test_what_was_read_is_told_by_the_record_that_made_the_layer(store):
    records, key = StepRecords(store), "a" * 64
    other = StepRecord(CacheKey("b" * 64), key, "", "", (("files", "other"),), 1.0, 1.0)
    records.remember(other)
    assert records.reads(key) == ()
    records.remember(StepRecord(CacheKey(key), key, "", "", (("op", "copy"), ("files", "x")), 1.0, 1.0))
    assert records.reads(key) == ("x",)


def test_damaged_parts_are_told(store):
    records = StepRecords(store)
    records.remember(record("a"))
    with store.records.transaction() as connection:
        connection.execute("UPDATE records SET parts = 'no JSON'")
    with pytest.raises(StoreError) as caught:
        records.find(CacheKey("a"))
    assert caught.value.code == "store-database"
