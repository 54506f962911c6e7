"""What the build cache consists of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stored import keep

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.cache.usage import DOWNLOAD, LAYER, MOUNT, CacheItem, cache_items
from firkin.builder.graph.key import CacheKey
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.store.records import LayerBlob
from firkin.store.references import StoreReference, register
from firkin.store.store import Store

TREE, OTHER = "0" * 64, "1" * 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store"), time.time) as opened:
        yield opened


def add_tree(store: Store, tree: str, title: str = "") -> None:
    os.makedirs(f"{store.layout.trees}/{tree}/fs")
    with open(f"{store.layout.trees}/{tree}/fs/file", "wb") as file:
        file.write(b"x" * 10_000)
    store.records.add_tree(tree)
    if title:
        StepRecords(store).remember(StepRecord(CacheKey(tree), tree, "slot", title, (), 5.0, 0.0))


def items(store: Store) -> dict[str, CacheItem]:
    return {item.id: item for item in cache_items(store)}


def test_layers_have_titles_and_sizes(store: Store) -> None:
    add_tree(store, TREE, "RUN make")
    item = items(store)[TREE]
    assert (item.type, item.description, item.created_s) == (LAYER, "RUN make", 5.0)
    assert item.size_bytes >= 10_000 and not item.in_use and not item.shared


def test_what_a_container_names_is_in_use(store: Store) -> None:
    add_tree(store, TREE)
    add_tree(store, OTHER)
    register(store, StoreReference("container", "one", (TREE,)))
    found = items(store)
    assert found[TREE].in_use and not found[OTHER].in_use


def test_what_a_running_process_uses_is_in_use(store: Store) -> None:
    add_tree(store, TREE)
    with Store(store.layout.root, time.time) as other:
        other.records.use_trees((TREE,))
        assert items(store)[TREE].in_use
    assert not items(store)[TREE].in_use


def test_blobs_of_images_are_not_the_caches_and_layers_of_both_are_shared(store: Store) -> None:
    keep(store, "app:1", layers=(b"layer",))
    store.records.add_blob(digest_of(b"layer"), 5)
    add_tree(store, TREE, "COPY a b")
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(b"layer"), 5)
    store.records.add_layer_blob(TREE, "plain", LayerBlob(DiffID(blob.digest), blob))
    found = items(store)
    assert set(found) == {TREE} and found[TREE].shared


def test_mounts_and_downloads(store: Store) -> None:
    store.layout.ensure_directories()
    os.makedirs(f"{store.layout.mounts}/{'a' * 64}/fs")
    with open(f"{store.layout.mounts}/{'a' * 64}.lock", "w"):
        pass
    for name in ("json", "f" * 64):
        with open(f"{store.layout.downloads}/{'b' * 64}.{name}", "w") as file:
            file.write("x")
    found = items(store)
    assert found["a" * 64].type == MOUNT and found["a" * 64].mutable
    assert found["b" * 64].type == DOWNLOAD and time.time() - found["b" * 64].used_s < 60
