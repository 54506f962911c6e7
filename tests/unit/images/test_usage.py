"""How docker counts the space of images."""

from __future__ import annotations

import os

import pytest
from support.stored import keep

from firkin.images.usage import images_use
from firkin.store.references import StoreReference, register
from firkin.store.store import Store


def ignore(digest: str, error: Exception) -> None:
    raise AssertionError(f"{digest}: {error}")


def sized(store: Store, *layers: bytes) -> None:
    """Note what layers unpack to: as many bytes as they have, times a hundred."""
    from firkin.oci.digest import digest_of

    store.records.add_layer_sizes({digest_of(layer): len(layer) * 100 for layer in layers})


def test_shared_layers_count_once_and_only_unused_images_can_be_reclaimed(store: Store) -> None:
    sized(store, b"base", b"one", b"twotwo")
    one = keep(store, "one:1", layers=(b"base", b"one"), author="a")
    keep(store, "two:1", layers=(b"base", b"twotwo"), author="b")
    use = images_use(store, ignore)
    assert (len(use.images), use.active, use.size_bytes, use.reclaimable_bytes) == (2, 0, 1300, 900)
    assert {(row.image.names[0].rpartition("/")[2], row.shared_bytes, row.unique_bytes) for row in use.images} == {
        ("one:1", 400, 300), ("two:1", 400, 600)
    }  # fmt: skip
    register(store, StoreReference("container", "c", (), (one.config.digest,)))
    use = images_use(store, ignore)
    assert (use.active, use.reclaimable_bytes) == (1, 600)
    assert [row.containers for row in use.images if "one:1" in row.image.names[0]] == [1]


def test_the_same_layer_on_others_is_another(store: Store) -> None:
    sized(store, b"base", b"one")
    keep(store, "a:1", layers=(b"base", b"one"))
    keep(store, "b:1", layers=(b"one",))
    assert images_use(store, ignore).size_bytes == 1000


def test_a_damaged_image_is_told_and_hides_no_other(store: Store) -> None:
    sized(store, b"one")
    damaged = keep(store, "bad:1", author="b")
    keep(store, "one:1", layers=(b"one",))
    os.truncate(store.blobs.path(damaged.manifest.digest), 10)
    told: list[str] = []
    use = images_use(store, lambda digest, error: told.append(digest))
    assert told == [damaged.manifest.digest] and use.size_bytes == 300


@pytest.mark.parametrize("count", [0, 1])
def test_images_without_layers(store: Store, count: int) -> None:
    for number in range(count):
        keep(store, f"empty:{number}")
    use = images_use(store, ignore)
    assert (len(use.images), use.size_bytes) == (count, 0)
