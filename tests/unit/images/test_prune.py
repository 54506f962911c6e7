"""Which images a prune removes."""

from __future__ import annotations

import fcntl
import os
import time

import pytest
from support.stored import keep

from firkin.cli.commands.image_prune import KEYS, fitting
from firkin.cli.filters import parse_filters
from firkin.errors import UsageError
from firkin.images.prune import PrunedImages, prune_images
from firkin.oci.digest import digest_of
from firkin.oci.reference import parse_reference
from firkin.store.references import StoreReference, register
from firkin.store.store import Store


def prune(store: Store, *filters: str, all: bool = False) -> PrunedImages:
    fits = fitting(parse_filters(filters, KEYS), time.time())
    return prune_images(store, fits, dangling_only=not all)


def names(pruned: PrunedImages) -> set[str]:
    return {name for image in pruned.removal.images for name in image.untagged}


def dangling(store: Store, author: str) -> str:
    image = keep(store, layers=(author.encode(),), author=author)
    store.images.tag(image.manifest.descriptor, ())
    return image.config.digest


def test_images_without_a_name_go(store: Store) -> None:
    keep(store, "app:1", layers=(b"app",))
    id = dangling(store, "b")
    pruned = prune(store)
    assert [image.deleted[0] for image in pruned.removal.images] == [id]
    assert pruned.removal.freed_bytes > 0 and store.blobs.size(digest_of(b"b")) is None
    assert [entry.name for entry in store.images.entries()] == ["docker.io/library/app:1"]
    assert prune(store) == PrunedImages(pruned.removal._replace(images=(), freed_bytes=0), 1)


def test_a_digest_name_alone_does_not_save_an_image(store: Store) -> None:
    image = keep(store)
    store.images.tag(image.manifest.descriptor, (parse_reference(f"app@{image.manifest.digest}"),))
    assert names(prune(store)) == {f"app@{image.manifest.digest}"}


def test_all_takes_every_image_that_no_container_uses(store: Store) -> None:
    """Trap 13: a container's image stays, with and without a name."""
    used = keep(store, "used:1", author="a")
    keep(store, "app:1", "app:2", author="b")
    nameless = dangling(store, "c")
    register(store, StoreReference("container", "one", (), (used.config.digest,)))
    register(store, StoreReference("container", "two", (), (nameless,)))
    assert names(prune(store, all=True)) == {"app:1", "app:2"}
    assert {entry.name for entry in store.images.entries()} == {"docker.io/library/used:1", ""}


def test_label_filters_tell_how_many_named_images_were_kept(store: Store) -> None:
    """Trap 9: without --all only dangling images go."""
    keep(store, "app:1")
    dangling(store, "b")
    pruned = prune(store, "label!=keep")
    assert len(pruned.removal.images) == 1 and pruned.kept_tagged == 1
    assert prune(store, "label=keep", all=True).removal.images == ()


def test_until_counts_from_when_an_image_came_here(store: Store) -> None:
    """An old image that was pulled today is not old here."""
    image = keep(store, "app:1")
    assert prune(store, "until=1h", all=True).removal.images == ()
    os.utime(store.blobs.path(image.manifest.digest), (0, time.time() - 7200))
    assert names(prune(store, "until=1h", all=True)) == {"app:1"}


def test_references_are_no_filter_of_prunes() -> None:
    """Trap 8: refused, as in docker, rather than ignored."""
    with pytest.raises(UsageError, match="invalid filter 'reference'"):
        parse_filters(["reference=app"], KEYS)


def test_one_prune_at_a_time(store: Store) -> None:
    with open(f"{store.layout.root}/prune.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="a prune operation is already running"):
            prune(store)
    prune(store)


def test_a_damaged_image_is_left_alone(store: Store) -> None:
    damaged = keep(store, "bad:1")
    dangling(store, "b")
    os.truncate(store.blobs.path(damaged.manifest.digest), 10)
    assert len(prune(store, all=True).removal.images) == 1
    assert [entry.name for entry in store.images.entries()] == ["docker.io/library/bad:1"]
