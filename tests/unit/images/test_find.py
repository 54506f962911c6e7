"""Names, ids and digests: which image of the store is meant."""

from __future__ import annotations

import os

import pytest
from support.stored import keep, keep_index

from firkin.errors import UsageError
from firkin.images.find import SHORTEST_ID, find_image, nearest_name
from firkin.oci.reference import parse_reference
from firkin.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store"), lambda: 1000.0) as opened:
        yield opened


def digest_of(store: Store, text: str) -> str:
    return find_image(store, text).root.digest


@pytest.mark.parametrize("spelling", [str, lambda digest: digest.removeprefix("sha256:")])
def test_a_configuration_that_two_manifests_share_means_the_one_named_last(store, spelling):
    first, second = keep(store, "app:1", annotation="a"), keep(store, "app:2", annotation="b")
    assert first.config.digest == second.config.digest
    assert digest_of(store, spelling(first.config.digest)) == second.manifest.digest
    assert digest_of(store, spelling(first.manifest.digest)) == first.manifest.digest
    store.images.tag(first.manifest.descriptor, (parse_reference("app:3"),))
    assert digest_of(store, spelling(first.config.digest)) == first.manifest.digest


def test_the_beginning_of_a_shared_id_is_as_good_as_the_whole(store):
    keep(store, "app:1", annotation="a")
    second = keep(store, "app:2", annotation="b")
    assert digest_of(store, second.config.digest[7:19]) == second.manifest.digest


def test_a_shared_id_removes_all_names_and_a_manifest_its_own(store):
    first = keep(store, "app:1", "app:x", annotation="a")
    keep(store, "app:2", annotation="b")
    names = [f"docker.io/library/app:{tag}" for tag in ("1", "x", "2")]
    assert list(find_image(store, first.config.digest).removes) == names
    assert list(find_image(store, first.manifest.digest).removes) == names[:2]
    assert list(find_image(store, "app:1").removes) == names[:1]
    assert find_image(store, "app:1").names == tuple(names[:2])


def test_every_digest_of_an_index_resolves(store):
    images = [keep(store, architecture=name) for name in ("amd64", "arm64")]
    index = keep_index(store, "multi:1", *images)
    other = keep_index(store, "multi:2", images[0])
    assert digest_of(store, index.digest) == index.digest
    for image in images:
        for digest in (image.config.digest, image.manifest.digest):
            found = find_image(store, digest)
            assert (found.root.digest, found.index, len(found.images)) == (image.manifest.digest, None, 1)
    assert find_image(store, images[1].config.digest).removes == ("docker.io/library/multi:1",)
    assert len(find_image(store, images[0].config.digest).removes) == 2
    assert digest_of(store, other.digest) == other.digest


def test_an_image_of_its_own_comes_before_a_part_of_an_index(store):
    image = keep(store, annotation="a")
    keep_index(store, "multi:1", image)
    assert find_image(store, image.config.digest).removes == ("docker.io/library/multi:1",)
    single = keep(store, "single:1", annotation="b")
    found = find_image(store, image.config.digest)
    assert (found.root.digest, found.removes) == (single.manifest.digest, ("docker.io/library/single:1",))
    assert digest_of(store, image.manifest.digest) == image.manifest.digest


def test_a_name_comes_before_the_beginning_of_a_digest(store):
    image = keep(store, "app:1")
    start = image.manifest.digest[7:17]
    other = keep(store, f"{start}:latest", author="other")
    found = find_image(store, start)
    assert (found.root.digest, found.by_name) == (other.manifest.digest, True)
    assert digest_of(store, f"sha256:{start}") == image.manifest.digest
    assert digest_of(store, image.manifest.digest[7:18]) == image.manifest.digest


def test_a_short_id_that_fits_several_is_refused_with_their_names(store):
    images = [keep(store, f"app:{number}", author=str(number)) for number in range(400)]
    starts: dict[str, set[str]] = {}
    for image in images:
        for digest in (image.manifest.digest, image.config.digest):
            starts.setdefault(digest[7 : 7 + SHORTEST_ID], set()).add(digest)
    start, digests = max(starts.items(), key=lambda item: len(item[1]))
    assert len(digests) > 1, "800 digests without two that begin alike"
    with pytest.raises(UsageError, match=f"`{start}` is the beginning of {len(digests)} digests") as caught:
        find_image(store, start)
    assert caught.value.code == "ambiguous-id" and all(digest in caught.value.hints[0] for digest in digests)


@pytest.mark.parametrize("text", ["app:2", "abc", "sha256:" + "0" * 64, "0" * 64, "0000", "Upper", "sha256:x", "", "app@x"])
def test_what_is_not_there_is_told(store, text):
    keep(store, "app:1")
    with pytest.raises(UsageError, match="no image `") as caught:
        find_image(store, text)
    assert caught.value.code == "no-image" and caught.value.hints


def test_a_digest_with_a_name_is_of_that_repository(store):
    image = keep(store, "app:1", "other:1")
    found = find_image(store, f"app@{image.manifest.digest}")
    assert (found.root.digest, found.removes) == (image.manifest.digest, ("docker.io/library/app:1",))
    assert find_image(store, f"other:9@{image.manifest.digest}").removes == ("docker.io/library/other:1",)
    with pytest.raises(UsageError, match="no image"):
        find_image(store, f"third@{image.manifest.digest}")


def test_an_image_without_a_name_is_removed_by_its_digest(store):
    image = keep(store)
    store.images.tag(image.manifest.descriptor, ())
    assert find_image(store, image.config.digest).removes == (image.manifest.digest,)


def test_a_damaged_image_hides_no_other(store):
    damaged, image = keep(store, "damaged:1", author="x"), keep(store, "app:1")
    os.unlink(store.blobs.path(damaged.config.digest))
    assert digest_of(store, image.config.digest) == image.manifest.digest
    assert digest_of(store, image.config.digest[7:19]) == image.manifest.digest


def test_a_name_that_is_nearly_one_of_the_store_is_suggested(store):
    keep(store, "application:1", "registry.example.com/team/app:2")
    assert nearest_name(store, "aplication:1") == "application:1"
    assert nearest_name(store, "registry.example.com/team/ap:2") == "registry.example.com/team/app:2"
    assert nearest_name(store, "something-else") is None
