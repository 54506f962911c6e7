"""Names, ids and digests: which image of the store is meant."""

from __future__ import annotations

import os

import msgspec
import pytest
from support.stored import keep, keep_index

from firkin.errors import StoreError, UsageError
from firkin.images.find import find_image, nearest_name
from firkin.linux.machine import this_platform
from firkin.oci import media
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.facts import ATTESTATION
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
    assert find_image(store, "app:1").names == tuple(names)


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
    images = [keep(store, f"app:{number}", author=str(number)) for number in range(40)]
    starts: dict[str, set[str]] = {}
    for image in images:
        starts.setdefault(image.config.digest[7], set()).add(image.config.digest)
    start, digests = next((start, found) for start, found in starts.items() if 1 < len(found) < 6)
    with pytest.raises(UsageError, match=f"ambiguous reference: `{start}` is the beginning of {len(digests)} ids") as caught:
        find_image(store, start)
    assert caught.value.code == "ambiguous-id" and all(digest in caught.value.hints[0] for digest in digests)


def test_the_beginning_of_an_id_comes_before_that_of_another_digest(store):
    images = [keep(store, f"app:{number}", author=str(number)) for number in range(40)]
    ids = {image.config.digest[7:9]: image for image in images}
    assert len(ids) > 1
    shared = [(start, image) for start, image in ids.items()
              if sum(other.config.digest[7:9] == start for other in images) == 1
              and any(other.manifest.digest[7:9] == start for other in images)]  # fmt: skip
    assert shared, "no id and manifest begin alike"
    for start, image in shared:
        assert find_image(store, start).id == image.config.digest
    lone = next(image for image in images if image.manifest.digest[7:12] not in ids)
    assert find_image(store, lone.manifest.digest[7:19]).id == lone.config.digest


@pytest.mark.parametrize(("text", "told"), [
    ("app:2", "app:2"), ("abc", "abc:latest"), ("docker.io/library/abc", "abc:latest"), ("00000", "00000:latest"),
    ("sha256:" + "0" * 64, "sha256:" + "0" * 64), ("0" * 64, "0" * 64), ("sha256:x", "sha256:x"),
])  # fmt: skip
def test_what_is_not_there_is_told(store, text, told):
    """As docker has it: the short spelling with the tag."""
    keep(store, "app:1")
    with pytest.raises(UsageError, match=f"^No such image: {told}$") as caught:
        find_image(store, text)
    assert caught.value.code == "no-image" and caught.value.hints


@pytest.mark.parametrize("text", ["Upper", "", "app@x", "app:", "-"])
def test_what_can_be_no_name_is_told(store, text):
    keep(store, "app:1")
    with pytest.raises(UsageError, match=r"^invalid reference format") as caught:
        find_image(store, text)
    assert caught.value.code == "reference-format"


def test_a_digest_with_a_name_is_of_that_repository(store):
    image = keep(store, "app:1", "other:1")
    found = find_image(store, f"app@{image.manifest.digest}")
    assert (found.root.digest, found.removes) == (image.manifest.digest, ("docker.io/library/app:1",))
    assert find_image(store, f"other:9@{image.manifest.digest}").removes == ("docker.io/library/other:1",)
    with pytest.raises(UsageError, match="No such image: third@sha256"):
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


def test_an_image_is_what_has_one_id(store):
    """Its names are those of every manifest with its configuration, and digest names stand beside tags."""
    first, second = keep(store, "app:1", annotation="a"), keep(store, "other:2", annotation="b")
    store.images.tag(first.manifest.descriptor, (parse_reference("app:3"),), pinned=True)
    found = find_image(store, "app:1")
    assert found.id == first.config.digest == second.config.digest
    assert [name.rpartition("/")[2] for name in found.names] == ["app:1", "other:2", "app:3"]
    assert found.digests == (f"docker.io/library/app@{first.manifest.digest}",)
    assert found.root.digest == first.manifest.digest and digest_of(store, "other:2") == second.manifest.digest


def test_a_digest_name_is_found_by_itself_and_only_in_its_repository(store):
    image = keep(store)
    store.images.tag(image.manifest.descriptor, (parse_reference(f"r.io/app@{image.manifest.digest}"),))
    found = find_image(store, f"r.io/app@{image.manifest.digest}")
    assert (found.names, found.digests, found.removes) == ((), found.removes, (f"r.io/app@{image.manifest.digest}",))
    for text in (f"app@{image.manifest.digest}", "r.io/app", "r.io/app:latest"):
        with pytest.raises(UsageError, match="No such image"):
            find_image(store, text)


def test_of_several_platforms_this_machines_is_shown(store):
    here = this_platform().architecture
    images = [keep(store, architecture=name) for name in ("s390x", here, "riscv64")]
    keep_index(store, "multi:1", *images, platforms=True)
    found = find_image(store, "multi:1")
    assert (found.id, len(found.images)) == (images[1].config.digest, 3)
    found = find_image(store, "multi:1", Platform("linux", "riscv64"))
    assert (found.id, found.names) == (images[2].config.digest, ())
    with pytest.raises(UsageError, match=r"image with reference multi:1 was found but does not provide .*\(linux/ppc64le\)") as caught:
        find_image(store, "multi:1", Platform("linux", "ppc64le"))
    assert f"linux/s390x, linux/{here}, linux/riscv64" in caught.value.hints[0]
    os.unlink(store.blobs.path(images[1].manifest.digest))
    assert find_image(store, "multi:1").id == images[0].config.digest, "the first that is here"


def test_an_image_for_another_machine_is_not_given_for_a_platform(store):
    keep(store, "other:1", architecture="s390x")
    assert find_image(store, "other:1").image.config.platform.architecture == "s390x"
    assert find_image(store, "other:1", Platform("linux", "s390x")).names == ("docker.io/library/other:1",)
    with pytest.raises(UsageError, match="does not provide the specified platform"):
        find_image(store, "other:1", Platform("linux", "amd64"))


def test_attestations_are_no_images(store):
    image, statement = keep(store), keep(store, architecture="unknown")
    children = (
        msgspec.structs.replace(statement.manifest.descriptor, platform=Platform("unknown", "unknown")),
        msgspec.structs.replace(statement.manifest.descriptor, annotations=((ATTESTATION, "attestation-manifest"),)),
        image.manifest.descriptor,
    )
    index = encode_index(Index(media.OCI_INDEX, children))
    store.blobs.put(index.raw)
    store.images.tag(index.descriptor, (parse_reference("app:1"),))
    found = find_image(store, "app:1")
    assert (found.id, [item.manifest.digest for item in found.images]) == (image.config.digest, [image.manifest.digest])


def test_indexes_in_indexes_end_somewhere(store):
    index = keep_index(store, "deep:0", keep(store))
    for depth in range(1, 9):
        child = index.descriptor
        index = encode_index(Index(media.OCI_INDEX, (child,)))
        store.blobs.put(index.raw)
        store.images.tag(index.descriptor, (parse_reference(f"deep:{depth}"),))
    assert find_image(store, "deep:3").names[-1].endswith(":3")
    with pytest.raises(StoreError, match="lies too deep in others"):
        find_image(store, "deep:8")
