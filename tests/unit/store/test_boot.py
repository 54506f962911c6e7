"""After a crash of the machine nothing half-written is trusted."""

from __future__ import annotations

import os

import pytest

from firkin.store.boot import DOUBTFUL_S, check_after_boot
from firkin.store.layout import StoreLayout
from firkin.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store"), lambda: 1.0) as opened:
        check_after_boot(opened.layout, "boot-1")
        yield opened


def tree(store: Store, key: str) -> None:
    with store.stage_tree() as staged:
        staged.seal(key)


def damage(store: Store, digest: str) -> None:
    os.truncate(store.blobs.path(digest), 0)


def test_same_boot_touches_nothing(store):
    tree(store, "a" * 64)
    digest = store.blobs.put(b"content")
    damage(store, digest)
    assert check_after_boot(store.layout, "boot-1") == ()
    assert store.trees.has("a" * 64)


def test_after_a_crash_late_trees_go_and_damaged_blobs_too(store):
    tree(store, "a" * 64)
    whole, broken = store.blobs.put(b"whole"), store.blobs.put(b"broken")
    damage(store, broken)
    assert set(check_after_boot(store.layout, "boot-2")) == {"a" * 64, broken}
    assert not store.trees.has("a" * 64)
    assert store.blobs.size(broken) is None
    assert store.blobs.read(whole) == b"whole"
    assert check_after_boot(store.layout, "boot-2") == ()


def test_what_is_older_stays(store):
    tree(store, "a" * 64)
    tree(store, "b" * 64)

    def made_at(entry: os.DirEntry[str]) -> float:
        return 1000.0 if entry.name == "b" * 64 else 1000.0 - DOUBTFUL_S - 1

    assert check_after_boot(store.layout, "boot-2", made_at) == ("b" * 64,)
    assert store.trees.has("a" * 64)


def test_kernel_without_a_boot_id(store: Store):
    layout: StoreLayout = store.layout
    assert check_after_boot(layout, "") == ()
