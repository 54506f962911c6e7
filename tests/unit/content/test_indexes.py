"""Indexes of layers that are not unpacked: made once, of sound blobs only."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from support.pulled import ME, Builds, Registry, file, layer

from firkin.content.indexes import owners_of
from firkin.errors import RegistryError
from firkin.layer.change import Entry, Put
from firkin.layer.index import IndexWriter, open_index
from firkin.store.store import Store


def test_an_index_is_made_once_and_keeps_neither_files_nor_blob(
    store: Store, registry: Registry, work: Builds
) -> None:
    image = registry.image(layer(file("f")))
    for _ in range(2):
        assert work().trees.names_view(image, "").iterdir("") == ["f"]
    assert len(registry.asked) == 1
    assert os.listdir(store.layout.trees) == []
    assert not any(files for _, _, files in os.walk(store.layout.blobs))


def test_a_blob_that_will_be_shipped_is_kept(store: Store, registry: Registry, work: Builds) -> None:
    image = registry.image(layer(file("f")))
    work().trees.names_view(image, "", keep_blobs=True)
    assert [store.blobs.read(digest) for digest in registry.asked] == list(registry.blobs.values())  # type: ignore[arg-type]


@pytest.mark.parametrize("rest", [b"", b"firkin index 0\n\0"])
def test_an_index_that_cannot_be_read_is_made_anew(
    store: Store, registry: Registry, work: Builds, rest: bytes
) -> None:
    image = registry.image(layer(file("f")))
    work().trees.names_view(image, "")
    Path(store.layout.indexes, image.layers[0].tree_id).write_bytes(rest)
    assert work().trees.names_view(image, "").iterdir("") == ["f"]
    assert len(registry.asked) == 2


def test_indexes_beside_trees_count_where_files_have_no_owners(store: Store, work: Builds) -> None:
    work(owner_free=True).trees.write("a" * 64, [Put("f", Entry("file", 0o644, 1, 2, 1), b"x")])
    tree = store.trees.path("a" * 64)
    assert work().indexes.of_tree(tree) is None
    index = work(owner_free=True).indexes.of_tree(tree)
    assert index is not None
    assert index.lookup("f") is not None


def test_owners_of_what_an_index_does_not_know_stay(tmp_path: Path) -> None:
    writer = IndexWriter()
    writer.add(Put("f", Entry("file", 0o644, 1234, 5678)))
    with (tmp_path / "index").open("wb") as target:
        writer.write(target)
    with open_index(str(tmp_path / "index")) as index:
        owner_of = owners_of(index)
        assert owner_of("f", *ME) == (1234, 5678)
        assert owner_of("other", 7, 8) == (7, 8)


@pytest.mark.parametrize("damage", ["content", "shorter", "longer"])
def test_a_blob_that_is_not_what_was_asked_for_makes_no_index(
    store: Store, registry: Registry, work: Builds, damage: str
) -> None:
    image = registry.image(layer(file("f")))
    (digest,) = registry.blobs
    blob = registry.blobs[digest]
    wrong = {"content": gzip.compress(layer(file("f")), 9, mtime=1), "shorter": blob[:-1], "longer": blob + b"\0"}
    registry.blobs[digest] = wrong[damage]
    with pytest.raises(RegistryError, match=r"damaged|cut short|longer"):
        work().trees.names_view(image, "")
    assert os.listdir(store.layout.indexes) == []
