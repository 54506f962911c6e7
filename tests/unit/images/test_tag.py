"""Further names for an image."""

from __future__ import annotations

import pytest
from support.stored import keep, keep_index

from firkin.errors import StoreError
from firkin.images.find import find_image
from firkin.images.names import read_tag
from firkin.images.tag import tag_image
from firkin.store.store import Store


def test_names_point_to_the_image_and_leave_the_one_before(store: Store) -> None:
    first, second = keep(store, "app:1", author="a"), keep(store, "app:2", author="b")
    tag_image(store, find_image(store, "app:1"), (read_tag("app:2"), read_tag("example.com/app")))
    for name in ("app:1", "app:2", "example.com/app"):
        assert find_image(store, name).root.digest == first.manifest.digest
    assert find_image(store, second.manifest.digest).names == (), "it stays, without a name"
    assert [entry.name.rpartition("/")[2] for entry in store.images.entries()] == ["app:1", "", "app:2", "app:latest"]


def test_a_part_of_an_index_and_an_id_get_names_as_well(store: Store) -> None:
    images = [keep(store, architecture=kind) for kind in ("amd64", "arm64")]
    keep_index(store, "multi:1", *images)
    tag_image(store, find_image(store, images[1].config.digest), (read_tag("arm:1"),))
    found = find_image(store, "arm:1")
    assert (found.root.digest, found.index) == (images[1].manifest.digest, None)


def test_an_image_that_is_gone_meanwhile_gets_no_name(store: Store) -> None:
    import os

    image = keep(store, "app:1")
    found = find_image(store, "app:1")
    os.unlink(store.blobs.path(image.manifest.digest))
    with pytest.raises(StoreError, match="not in the store any more"):
        tag_image(store, found, (read_tag("app:2"),))
    assert [entry.name for entry in store.images.entries()] == ["docker.io/library/app:1"]
