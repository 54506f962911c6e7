"""Which images are listed, and which of their names."""

from __future__ import annotations

import os

import pytest
from support.stored import keep, keep_index

from firkin.errors import StoreError, UsageError
from firkin.images.list import list_images
from firkin.store.store import Store


def listed(store: Store, only: str | None = None) -> list[tuple[str, ...]]:
    def damaged(digest: str, error: StoreError) -> None:
        raise AssertionError(error)

    return [found.names for found in list_images(store, damaged, only)]


def name(*tags: str) -> tuple[str, ...]:
    return tuple(f"docker.io/library/{tag}" for tag in tags)


def test_an_image_is_listed_once_with_all_its_names(store: Store) -> None:
    keep(store, "app:1", "other:1", author="a")
    unnamed = keep(store, author="b")
    store.images.tag(unnamed.manifest.descriptor, ())
    keep_index(store, "multi:1", *(keep(store, architecture=kind) for kind in ("amd64", "arm64")))
    assert listed(store) == [name("app:1", "other:1"), (), name("multi:1")]


def test_a_repository_or_a_name_narrows_images_and_names(store: Store) -> None:
    keep(store, "app:1", "app:2", "other:1", author="a")
    keep(store, "app:3", author="b")
    assert listed(store, "app") == [name("app:1", "app:2"), name("app:3")]
    assert listed(store, "docker.io/library/app") == listed(store, "app")
    assert listed(store, "app:2") == [name("app:2")]
    assert listed(store, "third") == listed(store, "") == listed(store, "app:9") == []


def test_an_id_or_a_digest_means_what_it_means_everywhere(store: Store) -> None:
    first, second = keep(store, "app:1", "app:2", author="a"), keep(store, "other:1", author="b")
    unnamed = keep(store, author="c")
    store.images.tag(unnamed.manifest.descriptor, ())
    assert listed(store, first.config.digest) == listed(store, first.manifest.digest[7:19]) == [name("app:1", "app:2")]
    assert listed(store, f"other@{second.manifest.digest}") == [name("other:1")]
    assert listed(store, unnamed.config.digest) == listed(store, "<none>") == [()]


def test_a_short_id_that_several_have_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firkin.images.find.SHORTEST_ID", 1)
    images = [keep(store, f"app:{number}", author=str(number)) for number in range(9)]
    starts = [digest[7] for image in images for digest in (image.manifest.digest, image.config.digest)]
    shared = next(start for start in starts if starts.count(start) > 1)
    with pytest.raises(UsageError, match=f"`sha256:{shared}` is the beginning of"):
        listed(store, f"sha256:{shared}")


def test_a_damaged_image_is_told_of_and_hides_no_other(store: Store) -> None:
    gone = keep(store, "app:1", author="a")
    keep(store, "app:2", author="b")
    os.unlink(store.blobs.path(gone.config.digest))
    told: list[str] = []
    found = list_images(store, lambda digest, error: told.append(digest))
    assert ([image.names for image in found], told) == ([name("app:2")], [gone.manifest.digest])
