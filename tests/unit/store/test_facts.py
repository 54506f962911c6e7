"""Facts of images are remembered, and read again when a file is not what it was."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stored import drop, keep, keep_index

from firkin.errors import StoreError
from firkin.oci.platform import Platform
from firkin.store.facts import Documents, forget_unused
from firkin.store.store import Store

HOST = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), lambda: 1000.0) as opened:
        yield opened


def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the digests that are read from now on."""
    read, found = store.blobs.read, []

    def reading(digest: str) -> bytes:
        found.append(digest)
        return read(digest)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "read", reading)
    return found


def look(store: Store) -> list[str]:
    documents = Documents(store)
    found = [documents.shown(entry.descriptor, HOST) for entry in store.images.entries()]
    documents.remember()
    return [shown.facts.config for shown in found if shown is not None]


def test_a_document_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    image = keep(store, "app:1", author="a")
    other = keep(store, architecture="arm64")
    keep_index(store, "multi:1", other, keep(store, author="b"), platforms=True)
    read = reads(store, monkeypatch)
    first = look(store)
    assert first[0] == image.config.digest and len(read) == 5, "of an index, only the image that is shown"
    read.clear()
    assert look(store) == first and read == []
    os.utime(store.blobs.path(image.config.digest), ns=(1, 1))
    assert look(store) == first and read == [image.manifest.digest, image.config.digest]


def test_what_is_damaged_meanwhile_is_found_out(store: Store) -> None:
    image = keep(store, "app:1")
    look(store)
    with open(store.blobs.path(image.config.digest), "r+b") as file:
        file.write(b"?")
    with pytest.raises(StoreError, match="damaged"):
        look(store)
    os.unlink(store.blobs.path(image.config.digest))
    with pytest.raises(StoreError, match="missing"):
        look(store)


@pytest.mark.parametrize("facts", [b"", b"\x93\x01\x02", b"\xc1"])
def test_facts_that_cannot_be_read_are_made_again(store: Store, facts: bytes) -> None:
    keep(store, "app:1")
    first = look(store)
    with store.records.transaction() as connection:
        assert connection.execute("UPDATE documents SET facts = ?", (facts,)).rowcount == 1
    assert look(store) == first
    assert store.records.query("SELECT facts FROM documents") != [(facts,)]


def test_without_a_database_everything_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, "app:1")

    def fails(*_: object) -> None:
        raise StoreError("the disk is full", code="disk-full")

    monkeypatch.setattr(store.records, "query", fails)
    monkeypatch.setattr(store.records, "transaction", fails)
    assert look(store) == look(store) != []


def test_what_nobody_needs_is_forgotten(store: Store) -> None:
    image, gone = keep(store, "app:1", layers=(b"1",)), keep(store, "app:2", layers=(b"2",))
    store.records.add_layer_sizes({layer.diff_id: 7 for item in (image, gone) for layer in item.layers})
    assert len(look(store)) == 2
    drop(store, "docker.io/library/app:2")
    os.unlink(store.blobs.path(gone.manifest.digest))
    forget_unused(store)
    assert store.records.query("SELECT digest FROM documents") == [(image.manifest.digest,)]
    assert store.records.layer_sizes() == {image.layers[0].diff_id: 7}


def test_sizes_of_layers_that_no_list_has_seen_are_kept(store: Store) -> None:
    image = keep(store, "app:1", layers=(b"1",))
    store.records.add_layer_sizes({image.layers[0].diff_id: 7, "sha256:other": 8})
    forget_unused(store)
    assert store.records.layer_sizes() == {image.layers[0].diff_id: 7}


def test_the_tables_of_version_2_get_those_of_version_3(tmp_path: Path) -> None:
    from support.old_stores import unpack_store

    root = unpack_store(2, tmp_path)
    with Store(str(root), lambda: 1000.0) as store:
        assert len(look(store)) == 2
        assert store.records.layer_sizes() == {}
    connection = sqlite3.connect(root / "records.db")
    assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)
    connection.close()
