"""What goes when a name, an id or a digest is removed, and what is freed with it."""

from __future__ import annotations

import os
import time

import pytest
from support.stored import keep, keep_index

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.graph.key import CacheKey
from firkin.errors import UsageError
from firkin.images.find import find_image
from firkin.images.remove import Remover
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, chain_ids, digest_of
from firkin.oci.reference import parse_reference
from firkin.store.records import LayerBlob
from firkin.store.references import StoreReference, register, release
from firkin.store.store import Store


def remove(store: Store, text: str, force: bool = False) -> tuple[list[str], list[str]]:
    """Remove what is meant; return the names that went, and the digests that were deleted."""
    (removed,) = Remover(store).remove(text, force=force).images
    return list(removed.untagged), list(removed.deleted)


def left(store: Store) -> set[str]:
    return {entry.name.rpartition("/")[2] for entry in store.images.entries()}


def here(store: Store, *blobs: bytes) -> list[bool]:
    return [store.blobs.size(digest_of(blob)) is not None for blob in blobs]


def pin(store: Store, image: object, name: str) -> str:
    """Give the image a tag and the digest name of its repository, as a pull does."""
    store.images.tag(image.manifest.descriptor, (parse_reference(name),), pinned=True)  # type: ignore[attr-defined]
    return f"{name.partition(':')[0]}@{image.manifest.digest}"  # type: ignore[attr-defined]


def test_a_name_removes_itself_only(store: Store) -> None:
    """Trap 12: the image has another name, so nothing is deleted."""
    keep(store, "app:1", "app:2", layers=(b"layer",))
    assert remove(store, "app:1") == (["app:1"], [])
    assert left(store) == {"app:2"} and here(store, b"layer") == [True]


def test_the_last_name_removes_the_image_and_frees_its_layers(store: Store) -> None:
    image = keep(store, "app:1", layers=(b"one", b"two"))
    chains = chain_ids(layer.diff_id for layer in image.layers)
    assert remove(store, "app:1") == (["app:1"], [image.config.digest, chains[1], chains[0]])
    assert here(store, b"one", b"two", image.manifest.raw, image.config.raw) == [False] * 4
    assert left(store) == set()


def test_layers_of_other_images_stay(store: Store) -> None:
    """Trap 14: the base of an image loses its name, its layers are still the image's."""
    base = keep(store, "base:1", layers=(b"base",))
    keep(store, "app:1", layers=(b"base", b"app"))
    assert remove(store, "base:1") == (["base:1"], [base.config.digest])
    assert here(store, b"base", b"app", base.config.raw) == [True, True, False]


@pytest.mark.parametrize("by", ["id", "short id", "digest"])
def test_an_id_removes_an_image_with_one_name(store: Store, by: str) -> None:
    image = keep(store, "app:1", author="a")
    keep(store, "other:1", author="b")
    text = {"id": image.config.digest, "short id": image.config.digest[7:19], "digest": image.manifest.digest}[by]
    assert remove(store, text) == (["app:1"], [image.config.digest])
    assert left(store) == {"other:1"}


@pytest.mark.parametrize("names", [("app:1", "app:2"), ("app:1", "other:1")])
def test_an_id_of_several_names_needs_force(store: Store, names: tuple[str, str]) -> None:
    """Trap 10: the error names the tags."""
    image = keep(store, *names)
    with pytest.raises(UsageError) as caught:
        remove(store, image.config.digest)
    assert caught.value.message == (
        f"conflict: unable to delete {image.config.digest[7:19]} (must be forced) - image is referenced in multiple "
        "repositories"
    )
    assert all(name in str(caught.value.hints) for name in names)
    assert left(store) == set(names)
    assert remove(store, image.config.digest, force=True) == (list(names), [image.config.digest])


def test_a_short_id_that_is_a_name_means_the_name(store: Store) -> None:
    """Trap 11."""
    image = keep(store, "app:1")
    other = keep(store, f"{image.config.digest[7:13]}:latest", author="b")
    assert remove(store, image.config.digest[7:13])[1] == [other.config.digest]
    assert left(store) == {"app:1"}


def test_the_last_tag_of_a_repository_takes_its_digest_names(store: Store) -> None:
    image = keep(store, "other:1")
    pinned = pin(store, image, "app:1")
    store.images.tag(image.manifest.descriptor, (parse_reference("app:2"),))
    assert remove(store, "app:1") == (["app:1"], [])
    assert remove(store, "app:2") == (["app:2", pinned], [])
    assert remove(store, "other:1") == (["other:1"], [image.config.digest])


def test_an_id_removes_a_pulled_image_with_its_digest_name(store: Store) -> None:
    image = keep(store)
    pinned = pin(store, image, "app:1")
    assert remove(store, image.config.digest) == (["app:1", pinned], [image.config.digest])


def test_a_digest_name_removes_itself(store: Store) -> None:
    image = keep(store)
    pinned = pin(store, image, "app:1")
    assert remove(store, pinned) == ([pinned], [])
    assert left(store) == {"app:1"}
    assert remove(store, pinned)[1] == [image.config.digest]  # there is no such name, but the repository has the digest


def test_an_index_goes_with_all_its_images(store: Store) -> None:
    images = [keep(store, architecture=kind, layers=(kind.encode(),)) for kind in ("amd64", "arm64")]
    index = keep_index(store, "multi:1", *images)
    untagged, deleted = remove(store, "multi:1")
    assert untagged == ["multi:1"] and {image.config.digest for image in images} <= set(deleted)
    assert here(store, b"amd64", b"arm64", index.raw, images[0].manifest.raw) == [False] * 4


def test_a_part_of_an_index_removes_the_whole(store: Store) -> None:
    images = [keep(store, architecture=kind) for kind in ("amd64", "arm64")]
    keep_index(store, "multi:1", *images)
    for image in images[::-1]:
        assert find_image(store, image.config.digest).id == image.config.digest
    untagged, deleted = remove(store, images[1].config.digest)
    assert untagged == ["multi:1"] and deleted[0] == images[1].config.digest
    assert left(store) == set()


def test_an_image_without_a_name_goes_by_its_id(store: Store) -> None:
    image = keep(store)
    store.images.tag(image.manifest.descriptor, ())
    assert remove(store, image.config.digest[7:]) == ([], [image.config.digest])
    assert left(store) == set()


def test_what_is_not_there(store: Store) -> None:
    with pytest.raises(UsageError, match=r"^No such image: nothing") as caught:
        remove(store, "nothing")
    assert caught.value.code == "no-image"


# Who else needs it


def test_an_image_that_a_container_uses_needs_force_and_stays_without_a_name(store: Store) -> None:
    """Trap 13: nothing that a container needs is ever gone."""
    image = keep(store, "app:1", layers=(b"layer",))
    register(store, StoreReference("container", "c0ffee" * 10, (), (image.config.digest, digest_of(b"layer"))))
    short = image.config.digest[7:19]
    with pytest.raises(UsageError) as caught:
        remove(store, "app:1")
    assert caught.value.message == (
        'conflict: unable to remove repository reference "app:1" (must force) - container c0ffeec0ffee is using its '
        f"referenced image {short}"
    )
    with pytest.raises(UsageError, match=rf"unable to delete {short} \(must be forced\)"):
        remove(store, short)
    assert remove(store, "app:1", force=True) == (["app:1"], [])
    assert [(entry.name, entry.descriptor.digest) for entry in store.images.entries()] == [("", image.manifest.digest)]
    with pytest.raises(UsageError, match=r"\(cannot be forced\)"):
        remove(store, short, force=True)
    assert here(store, b"layer", image.config.raw, image.manifest.raw) == [True] * 3
    release(store, "container", "c0ffee" * 10)
    assert remove(store, short)[1][0] == image.config.digest
    assert here(store, b"layer", image.config.raw) == [False] * 2


def test_another_name_of_an_image_in_use_goes_without_force(store: Store) -> None:
    image = keep(store, "app:1", "app:2")
    register(store, StoreReference("container", "one", (), (image.config.digest,)))
    assert remove(store, "app:1") == (["app:1"], [])


def test_what_a_reference_of_another_kind_names_stays(store: Store) -> None:
    keep(store, "app:1", layers=(b"layer", b"other"))
    register(store, StoreReference("pod", "one", (), (digest_of(b"layer"),)))
    remove(store, "app:1")
    assert here(store, b"layer", b"other") == [True, False]


def test_the_layer_of_a_recorded_step_stays_in_the_cache(store: Store) -> None:
    keep(store, "app:1", layers=(b"layer", b"other"))
    tree = "0" * 64
    layer = Descriptor("application/vnd.oci.image.layer.v1.tar", digest_of(b"layer"), 5)
    StepRecords(store).remember(StepRecord(CacheKey(tree), tree, "slot", "RUN x", (), 0.0, 0.0))
    store.records.add_layer_blob(tree, "plain", LayerBlob(DiffID(layer.digest), layer))
    remove(store, "app:1")
    assert here(store, b"layer", b"other") == [True, False]


def test_what_a_process_may_rely_on_stays_until_it_has_ended(store: Store) -> None:
    store.records.clock = time.time
    keep(store, "app:1", layers=(b"layer",))
    with Store(store.layout.root, time.time) as other:
        assert other.keeps(Descriptor("", digest_of(b"layer"), 5))
        remove(store, "app:1")
        assert here(store, b"layer") == [True]
        assert other.keeps(Descriptor("", digest_of(b"layer"), 5))
    keep(store, "app:1", layers=(b"layer",))
    remove(store, "app:1")
    assert here(store, b"layer") == [False]


def test_what_was_used_before_a_process_began_is_freed_beside_it(store: Store) -> None:
    image = keep(store, "app:1", layers=(b"layer",))
    store.records.add_blob(digest_of(b"layer"), 5)
    with store.records.transaction() as connection:
        connection.execute("UPDATE blobs SET used = ?", (time.time() - 3600,))
    with Store(store.layout.root, time.time):
        remove(store, "app:1")
    assert here(store, b"layer", image.config.raw) == [False, True]  # when the document was used last is not known


def test_a_process_that_begins_meanwhile_finds_the_blob_or_does_not_rely_on_it(store: Store) -> None:
    """The use that it does not note, because it is recent, must not be the one that the removal looks at."""
    store.records.clock = time.time
    keep(store, "app:1", layers=(b"layer",))
    store.keeps(Descriptor("", digest_of(b"layer"), 5))
    before = time.time()
    transaction = store.records.transaction
    others: list[Store] = []

    def slowly():  # type: ignore[no-untyped-def]
        if len(others) == 1:  # between the two transactions
            others[0].keeps(Descriptor("", digest_of(b"layer"), 5))
        others.append(Store(store.layout.root, time.time).__enter__()) if not others else None
        return transaction()

    store.records.transaction = slowly  # type: ignore[method-assign]
    try:
        remove(store, "app:1")
    finally:
        store.records.transaction = transaction  # type: ignore[method-assign]
    assert here(store, b"layer") == [True]
    ((used,),) = store.records.query("SELECT used FROM blobs WHERE digest = ?", (digest_of(b"layer"),))
    assert float(str(used)) >= before
    others[0].__exit__(None, None, None)


# Damage


def test_a_damaged_image_can_be_removed_by_its_name(store: Store) -> None:
    image = keep(store, "app:1", layers=(b"layer",))
    with open(store.blobs.path(image.manifest.digest), "r+b") as file:
        file.write(b"x")
    assert remove(store, "app:1") == (["app:1"], [image.manifest.digest])
    assert left(store) == set()


def test_while_an_image_is_damaged_nothing_of_others_is_freed(store: Store) -> None:
    """Nobody knows what it needs."""
    damaged = keep(store, "bad:1", layers=(b"layer",))
    keep(store, "app:1", layers=(b"layer",), author="b")
    os.truncate(store.blobs.path(damaged.manifest.digest), 10)
    assert remove(store, "app:1")[0] == ["app:1"]
    assert here(store, b"layer") == [True]
