"""What goes when a name, an id or a digest is removed."""

from __future__ import annotations

import pytest
from support.stored import keep, keep_index

from firkin.images.find import find_image
from firkin.images.remove import remove_images
from firkin.store.store import Store


def remove(store: Store, *texts: str) -> set[str]:
    """Remove what is meant; return the names that went."""
    return {entry.name.rpartition("/")[2] for entry in remove_images(store, [find_image(store, x) for x in texts])}


def left(store: Store) -> set[str]:
    return {entry.name.rpartition("/")[2] for entry in store.images.entries()}


def test_a_name_removes_itself_only(store: Store) -> None:
    keep(store, "app:1", "app:2")
    assert (remove(store, "app:1"), left(store)) == ({"app:1"}, {"app:2"})


@pytest.mark.parametrize("by", ["id", "short id", "digest"])
def test_an_id_or_a_digest_removes_all_names(store: Store, by: str) -> None:
    image = keep(store, "app:1", "app:2", author="a")
    keep(store, "other:1", author="b")
    text = {"id": image.config.digest, "short id": image.config.digest[7:19], "digest": image.manifest.digest}[by]
    assert (remove(store, text), left(store)) == ({"app:1", "app:2"}, {"other:1"})


def test_a_digest_with_a_name_removes_names_of_that_repository(store: Store) -> None:
    image = keep(store, "app:1", "app:2", "other:1")
    assert remove(store, f"app@{image.manifest.digest}") == {"app:1", "app:2"}
    assert left(store) == {"other:1"}


def test_a_part_of_an_index_removes_the_whole(store: Store) -> None:
    images = [keep(store, architecture=kind) for kind in ("amd64", "arm64")]
    keep_index(store, "multi:1", *images)
    assert (remove(store, images[0].config.digest), left(store)) == ({"multi:1"}, set())


def test_an_image_without_a_name_goes_by_its_digest(store: Store) -> None:
    image = keep(store)
    store.images.tag(image.manifest.descriptor, ())
    assert (remove(store, image.manifest.digest), left(store)) == ({""}, set())


def test_several_go_at_once_and_each_once(store: Store) -> None:
    image = keep(store, "app:1", "app:2", author="a")
    keep(store, "other:1", author="b")
    assert remove(store, "app:1", image.config.digest, "other:1") == {"app:1", "app:2", "other:1"}
    assert remove_images(store, []) == ()
