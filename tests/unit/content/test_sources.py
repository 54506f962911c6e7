"""The bytes of layers: fetched once, verified, told under the right line."""

from __future__ import annotations

import os

import pytest
from support.pulled import ORIGIN, Builds, Registry, blob_of, file, layer

from firkin.content.cached import CachedLayer, LostLayer
from firkin.content.snapshot import LayerRef
from firkin.errors import Cancelled, RegistryError, StoreError
from firkin.events import Finished, Planned, Progress, Started
from firkin.store.store import Store

MADE, BLOB = blob_of(layer(file("f")))
DIGEST = MADE.descriptor.digest


def test_a_blob_is_fetched_once(store: Store, registry: Registry, work: Builds) -> None:
    registry.blobs[DIGEST] = BLOB
    for _ in range(2):
        work().sources.ensure_blob(MADE, ORIGIN, "step")
    assert store.blobs.read(DIGEST) == BLOB
    assert registry.asked == [DIGEST]
    told = [event for event in work.events if isinstance(event, Progress)]
    assert told
    assert {event.id for event in told} == {"step"}


def test_nobody_waits_so_the_fetch_has_its_own_line(registry: Registry, work: Builds) -> None:
    registry.blobs[DIGEST] = BLOB
    work().sources.ensure_blob(MADE, ORIGIN)
    kinds = [type(event) for event in work.events]
    assert kinds[:2] == [Planned, Started]
    assert isinstance(work.events[-1], Finished)
    assert work.events[-1].status == "done"


@pytest.mark.parametrize("wrong", [BLOB[:-1], BLOB + b"x", b"x" * len(BLOB)])
def test_a_blob_that_is_another_is_not_kept(
    store: Store, registry: Registry, work: Builds, wrong: bytes
) -> None:
    registry.blobs[DIGEST] = wrong
    with pytest.raises(RegistryError, match="cannot be unpacked: got sha256:"):
        work().sources.ensure_blob(MADE, ORIGIN)
    assert store.blobs.size(DIGEST) is None
    assert os.listdir(store.layout.scratch) == []
    assert [event.status for event in work.events if isinstance(event, Finished)] == ["failed"]


def test_a_fetch_that_is_stopped_leaves_nothing(store: Store, registry: Registry, work: Builds) -> None:
    registry.blobs[DIGEST] = BLOB
    registry.before = lambda: work.cancel.set(15)
    with pytest.raises(Cancelled):
        work().sources.ensure_blob(MADE, ORIGIN)
    assert os.listdir(store.layout.scratch) == []
    assert [event.status for event in work.events if isinstance(event, Finished)] == ["cancelled"]


def test_what_only_a_cache_had_is_told_as_lost(registry: Registry, work: Builds) -> None:
    registry.blobs[DIGEST] = b"something else"
    begun = work()
    begun.cached.offer("b" * 64, CachedLayer(MADE, "gzip::", ORIGIN), lambda: None)
    with pytest.raises(LostLayer) as caught:
        begun.sources.ensure_blob(MADE, "")
    assert caught.value.layer == "b" * 64


def test_a_layer_is_available_as_tree_blob_or_offer(store: Store, work: Builds) -> None:
    begun = work()
    assert not begun.sources.available("b" * 64)
    with pytest.raises(StoreError, match="missing from the store"):
        begun.sources.find(LayerRef("b" * 64))
    begun.cached.offer("b" * 64, CachedLayer(MADE, "gzip::", ORIGIN), lambda: None)
    assert begun.sources.available("b" * 64)
    assert begun.sources.find(LayerRef("b" * 64)) == (MADE, ORIGIN)
    begun.trees.write("c" * 64, [])
    assert work().sources.available("c" * 64)
