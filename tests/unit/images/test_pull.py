"""What a pull fetches, and that a failed one names nothing."""

from __future__ import annotations

import gzip
import json
import os

import msgspec
import pytest
from support.pulled import file, layer, symlink
from support.stored import Heard, keep, make_image, moving

from firkin.errors import Cancelled, RegistryError, UsageError
from firkin.images.find import find_image
from firkin.images.pull import Pulled, all_tags, look_up, pull_image
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE, TWO = layer(file("one", b"one" * 10_000)), layer(file("two", b"two" * 10_000), symlink("link", "four"))
LARGE = layer(file("large", os.urandom(5 << 20)))
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def serve(registry: FakeRegistry, image: Image, tag: str, *layers: bytes) -> None:
    for data in (*layers, image.config.raw):
        registry.add_blob("app", data)
    registry.add_manifest("app", tag, image.manifest.media_type, image.manifest.raw)


def pull(
    store: Store, registry: FakeRegistry, tag: str = "1", platform: Platform = AMD64, cancel: Cancel | None = None
) -> Heard:
    heard = Heard()
    pull_to(heard, store, registry, tag, platform, cancel)
    return heard


def pull_to(
    heard: Heard, store: Store, registry: FakeRegistry, tag: str = "1", platform: Platform = AMD64,
    cancel: Cancel | None = None,
) -> Pulled:  # fmt: skip
    reference = parse_reference(f"{registry.host}/app" + (f"@{tag}" if tag.startswith("sha256:") else f":{tag}"))
    with moving(store, cancel) as transfer:
        return pull_image(transfer, look_up(transfer, reference, platform), heard)


def blobs_asked_for(registry: FakeRegistry) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in registry.requests("GET", "/blobs/")]


def test_layers_that_are_there_are_not_fetched(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE, TWO)
    serve(registry, image, "1", ONE, TWO)
    keep(store, "other:1", layers=(TWO,))
    one, two = (layer.descriptor.digest for layer in image.layers)
    heard = pull(store, registry)
    assert sorted(blobs_asked_for(registry)) == sorted((one, image.config.digest))
    assert (heard.moved, heard.outcomes) == ({one: len(ONE)}, {one: "moved", two: "exists"})
    found = find_image(store, f"{registry.host}/app:1")
    assert found.root.digest == image.manifest.digest
    assert store.blobs.read(one) == ONE
    assert (registry.host, "app") in store.records.places(two)


def test_a_pull_notes_sizes_and_the_digest_name(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE, TWO)
    serve(registry, image, "1", ONE, TWO)
    pull(store, registry)
    one, two = (layer.diff_id for layer in image.layers)
    assert store.records.layer_sizes() == {one: 30_000, two: 30_000 + len("four")}
    found = find_image(store, f"{registry.host}/app:1")
    assert found.digests == (f"{registry.host}/app@{image.manifest.digest}",)


def test_a_layer_that_is_no_tar_is_refused(store: Store, registry: FakeRegistry) -> None:
    image = make_image(b"no tar" * 1000)
    serve(registry, image, "1", b"no tar" * 1000)
    with pytest.raises(RegistryError) as caught:
        pull(store, registry)
    assert caught.value.code == "registry-layer" and not store.images.entries()


def test_a_second_pull_moves_nothing(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    pull(store, registry)
    registry.seen.clear()
    heard = pull(store, registry)
    assert (heard.moved, heard.outcomes, blobs_asked_for(registry)) == ({}, {}, [])
    registry.add_manifest("app", "2", image.manifest.media_type, image.manifest.raw)
    heard = pull(store, registry, "2")
    assert (heard.moved, list(heard.outcomes.values()), blobs_asked_for(registry)) == ({}, ["exists"], [])


def test_a_failed_download_leaves_nothing(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE, TWO)
    serve(registry, image, "1", ONE)  # the second is missing
    with pytest.raises(RegistryError):
        pull(store, registry)
    assert store.images.entries() == ()
    assert store.blobs.size(image.layers[1].descriptor.digest) is None
    assert not [name for _, _, files in os.walk(store.layout.scratch) for name in files]
    with pytest.raises(UsageError, match="No such image"):
        find_image(store, f"{registry.host}/app:1")


def test_a_wrong_blob_is_not_kept(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    registry.blobs["app", image.layers[0].descriptor.digest] = b"ONE" * 10_000
    with pytest.raises(RegistryError):
        pull(store, registry)
    assert store.images.entries() == () and not store.keeps(image.layers[0].descriptor)


def test_a_stopped_pull_leaves_nothing(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    cancel = Cancel()
    reference = parse_reference(f"{registry.host}/app:1")
    with moving(store, cancel) as transfer:
        described = look_up(transfer, reference, AMD64)
        cancel.set()
        with pytest.raises(Cancelled):
            pull_image(transfer, described, Heard())
    assert store.images.entries() == () and not store.keeps(image.layers[0].descriptor)


def serve_index(registry: FakeRegistry, tag: str = "1") -> tuple[Index, Image, Image]:
    images = (make_image(ONE), make_image(TWO, architecture="arm64"))
    for image, data in zip(images, (ONE, TWO), strict=True):
        serve(registry, image, image.manifest.digest, data)
    index = encode_index(Index(media.OCI_INDEX, tuple(
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images
    )))  # fmt: skip
    registry.add_manifest("app", tag, index.media_type, index.raw)
    return index, *images


def test_trap_29_a_name_of_an_index_points_to_it_and_platforms_add_up(store: Store, registry: FakeRegistry) -> None:
    index, amd64, arm64 = serve_index(registry)
    name = f"{registry.host}/app:1"
    pulled = pull_to(Heard(), store, registry, platform=ARM64)
    assert (pulled.digest, pulled.image.manifest.digest, pulled.newer) == (index.digest, arm64.manifest.digest, True)
    assert blobs_asked_for(registry).count(amd64.layers[0].descriptor.digest) == 0
    found = find_image(store, name)
    assert found.root.digest == index.digest
    assert [image.manifest.digest for image in found.images] == [arm64.manifest.digest]
    assert pull_to(Heard(), store, registry, platform=AMD64).newer
    assert {image.manifest.digest for image in find_image(store, name).images} == {
        amd64.manifest.digest, arm64.manifest.digest}  # fmt: skip
    assert not pull_to(Heard(), store, registry, platform=ARM64).newer


def test_what_an_index_lacks_is_told(store: Store, registry: FakeRegistry) -> None:
    serve_index(registry)
    with pytest.raises(RegistryError, match="linux/s390x not found") as caught:
        pull(store, registry, platform=Platform("linux", "s390x"))
    assert caught.value.hints == ("it is there for linux/amd64, linux/arm64",) and not store.images.entries()


def test_trap_30_a_pull_fails_when_the_registry_is_away(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    pull(store, registry)
    registry.fail("HEAD", "/manifests/", status=503, times=9)
    registry.fail("GET", "/manifests/", status=503, times=9)
    with pytest.raises(RegistryError, match="503"):
        pull(store, registry)
    assert find_image(store, f"{registry.host}/app:1").root.digest == image.manifest.digest


def test_a_digest_decides_and_its_tag_is_dropped(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    registry.add_manifest("app", "", image.manifest.media_type, image.manifest.raw)
    other = parse_reference(f"{registry.host}/app:none@{image.manifest.digest}")
    with moving(store) as transfer:
        pulled = pull_image(transfer, look_up(transfer, other, AMD64), Heard())
    assert (pulled.reference.tag, pulled.digest) == ("", image.manifest.digest)


def test_every_tag_of_a_repository(store: Store, registry: FakeRegistry) -> None:
    for tag in ("b", "a"):
        serve(registry, make_image(ONE, author=tag), tag, ONE)
    with moving(store) as transfer:
        names = list(all_tags(transfer, parse_reference(f"{registry.host}/app")))
    assert sorted(name.tag for name in names if name.tag in "ab") == ["a", "b"]


# --- what a layer unpacks to -----------------------------------------------------------------------------------------


def serve_lie(registry: FakeRegistry, blob: bytes, *diff_ids: str) -> Image:
    raw = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    described = Descriptor(media.OCI_LAYER, digest_of(blob), len(blob))
    layers = tuple(Layer(DiffID(diff_id), described) for diff_id in diff_ids)
    image = assemble(parse_config(raw.encode()), layers, "oci")
    serve(registry, image, "1", blob)
    return image


def test_a_layer_that_unpacks_to_something_else_is_refused(store: Store, registry: FakeRegistry) -> None:
    blob = gzip.compress(LARGE)
    image = serve_lie(registry, blob, digest_of(b"something else"))
    with pytest.raises(RegistryError, match="but its image says") as caught:
        pull(store, registry)
    assert caught.value.code == "registry-layer"
    assert not store.keeps(image.layers[0].descriptor) and not store.images.entries()
    assert partials(store) == []


def test_a_layer_that_does_not_inflate_is_refused(store: Store, registry: FakeRegistry) -> None:
    serve_lie(registry, gzip.compress(LARGE)[:-9], digest_of(b"x"))
    with pytest.raises(RegistryError) as caught:
        pull(store, registry)
    assert caught.value.code == "registry-layer" and partials(store) == []


def test_one_layer_with_two_diff_ids_is_refused(store: Store, registry: FakeRegistry) -> None:
    serve_lie(registry, ONE, digest_of(ONE), digest_of(TWO))
    with pytest.raises(RegistryError, match="cannot unpack to two digests"):
        pull(store, registry)


# --- interrupted pulls -----------------------------------------------------------------------------------------------



def partials(store: Store) -> list[str]:
    return [name for name in os.listdir(store.layout.downloads) if name.endswith(".part")]


def ranges(registry: FakeRegistry, digest: str) -> list[str]:
    return [seen.headers.get("range", "") for seen in registry.requests("GET", f"/blobs/{digest}")]


def interrupted(store: Store, registry: FakeRegistry, cut: int) -> Image:
    image = make_image(LARGE)
    serve(registry, image, "1", LARGE)
    registry.fail("GET", f"/blobs/{image.layers[0].descriptor.digest}", cut=cut)
    with pytest.raises(RegistryError):
        pull(store, registry)
    assert store.images.entries() == () and not store.keeps(image.layers[0].descriptor)
    registry.seen.clear()
    return image


def test_an_interrupted_pull_goes_on_where_it_stopped(store: Store, registry: FakeRegistry) -> None:
    image = interrupted(store, registry, 3 << 20)
    (digest,) = {layer.descriptor.digest for layer in image.layers}
    assert partials(store) == [f"{digest.partition(':')[2]}.part"]
    pull(store, registry)
    (asked,) = ranges(registry, digest)
    assert asked.startswith("bytes=") and 1 << 20 <= int(asked[6:-1]) <= 3 << 20
    assert store.blobs.read(digest) == LARGE and partials(store) == []


def test_a_short_beginning_is_not_kept(store: Store, registry: FakeRegistry) -> None:
    interrupted(store, registry, 1000)
    assert partials(store) == []


def test_a_wrong_beginning_is_fetched_again(store: Store, registry: FakeRegistry) -> None:
    image = interrupted(store, registry, 3 << 20)
    digest = image.layers[0].descriptor.digest
    with open(f"{store.layout.downloads}/{partials(store)[0]}", "r+b") as partial:
        partial.write(b"wrong")
    pull(store, registry)
    first, second = ranges(registry, digest)
    assert first.startswith("bytes=") and second == ""
    assert store.blobs.read(digest) == LARGE and partials(store) == []


@pytest.mark.parametrize("size", [len(LARGE), len(LARGE) + 7])
def test_a_beginning_as_long_as_the_blob_or_longer(store: Store, registry: FakeRegistry, size: int) -> None:
    image = make_image(LARGE)
    serve(registry, image, "1", LARGE)
    digest = image.layers[0].descriptor.digest
    with open(f"{store.layout.downloads}/{digest.partition(':')[2]}.part", "wb") as partial:
        partial.write((LARGE + b"more than there is")[:size])
    pull(store, registry)
    assert ranges(registry, digest) == ([] if size == len(LARGE) else [""])
    assert store.blobs.read(digest) == LARGE and partials(store) == []


def test_a_registry_without_ranges_sends_everything_again(store: Store, registry: FakeRegistry) -> None:
    image = interrupted(store, registry, 3 << 20)
    registry.ranges = False
    pull(store, registry)
    assert store.blobs.read(image.layers[0].descriptor.digest) == LARGE


def test_a_registry_that_refuses_the_range(store: Store, registry: FakeRegistry) -> None:
    image = interrupted(store, registry, 3 << 20)
    digest = image.layers[0].descriptor.digest
    registry.fail("GET", f"/blobs/{digest}", status=416)
    pull(store, registry)
    assert ranges(registry, digest)[1:] == [""] and store.blobs.read(digest) == LARGE


def test_a_token_that_ends_between_layers(store: Store) -> None:
    with FakeRegistry(auth="token") as guarded:
        image = make_image(ONE, TWO, LARGE)
        serve(guarded, image, "1", ONE, TWO, LARGE)
        with moving(store) as transfer:
            found = look_up(transfer, parse_reference(f"{guarded.host}/app:1"), AMD64)
            guarded.revoke_tokens()
            pull_image(transfer, found, Heard())
    assert all(store.keeps(layer.descriptor) for layer in image.layers)
