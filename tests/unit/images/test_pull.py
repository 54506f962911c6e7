"""What a pull fetches, and that a failed one names nothing."""

from __future__ import annotations

import os

import msgspec
import pytest
from support.stored import Heard, keep, make_image, moving

from firkin.errors import Cancelled, RegistryError, UsageError
from firkin.events import Event
from firkin.images.find import find_image
from firkin.images.pull import look_up, pull_image
from firkin.oci import media
from firkin.oci.image import Image
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE, TWO = b"one" * 10_000, b"two" * 10_000
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def serve(registry: FakeRegistry, image: Image, tag: str, *layers: bytes) -> None:
    for data in (*layers, image.config.raw):
        registry.add_blob("app", data)
    registry.add_manifest("app", tag, image.manifest.media_type, image.manifest.raw)


def pull(
    store: Store, registry: FakeRegistry, tag: str = "1", platform: Platform = AMD64, cancel: Cancel | None = None
) -> Heard:
    heard, events = Heard(), list[Event]()
    reference = parse_reference(f"{registry.host}/app:{tag}")
    with moving(store, cancel) as transfer:
        image = look_up(transfer, reference, platform, events.append)
        pull_image(transfer, reference, image, heard)
    return heard


def blobs_asked_for(registry: FakeRegistry) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in registry.requests("GET", "/blobs/")]


def test_layers_that_are_there_are_not_fetched(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE, TWO)
    serve(registry, image, "1", ONE, TWO)
    keep(store, "other:1", layers=(TWO,))
    one, two = (layer.descriptor.digest for layer in image.layers)
    heard = pull(store, registry)
    assert sorted(blobs_asked_for(registry)) == sorted((one, image.config.digest))
    assert (heard.moved, heard.outcomes) == ({one: len(ONE)}, {two: "exists"})
    found = find_image(store, f"{registry.host}/app:1")
    assert found.root.digest == image.manifest.digest
    assert store.blobs.read(one) == ONE
    assert (registry.host, "app") in store.records.places(two)


def test_a_second_pull_moves_nothing(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE)
    serve(registry, image, "1", ONE)
    pull(store, registry)
    registry.seen.clear()
    heard = pull(store, registry)
    assert (heard.moved, list(heard.outcomes.values()), blobs_asked_for(registry)) == ({}, ["exists"], [])


def test_a_failed_download_leaves_nothing(store: Store, registry: FakeRegistry) -> None:
    image = make_image(ONE, TWO)
    serve(registry, image, "1", ONE)  # the second is missing
    with pytest.raises(RegistryError):
        pull(store, registry)
    assert store.images.entries() == ()
    assert store.blobs.size(image.layers[1].descriptor.digest) is None
    assert not [name for _, _, files in os.walk(store.layout.scratch) for name in files]
    with pytest.raises(UsageError, match="no image"):
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
        described = look_up(transfer, reference, AMD64, lambda event: None)
        cancel.set()
        with pytest.raises(Cancelled):
            pull_image(transfer, reference, described, Heard())
    assert store.images.entries() == () and not store.keeps(image.layers[0].descriptor)


def test_an_index_gives_the_image_of_the_platform(store: Store, registry: FakeRegistry) -> None:
    images = (make_image(ONE), make_image(TWO, architecture="arm64"))
    for image, data in zip(images, (ONE, TWO), strict=True):
        serve(registry, image, image.manifest.digest, data)
    index = encode_index(Index(media.OCI_INDEX, tuple(
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images
    )))  # fmt: skip
    registry.add_manifest("app", "1", index.media_type, index.raw)
    pull(store, registry, platform=ARM64)
    found = find_image(store, f"{registry.host}/app:1")
    assert [image.manifest.digest for image in found.images] == [images[1].manifest.digest]
    assert blobs_asked_for(registry).count(images[0].layers[0].descriptor.digest) == 0
