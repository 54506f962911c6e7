"""What a push of an image of the store sends, and in which order."""

from __future__ import annotations

import gzip
import json
import os

import msgspec
import pytest
from support.stored import Heard, keep, keep_index, moving

from firkin.errors import Cancelled, ContextError, RegistryError, StoreError, UsageError
from firkin.hints import Hint
from firkin.images.compressing import to_push
from firkin.images.find import find_image
from firkin.images.list import list_images
from firkin.images.names import read_tag
from firkin.images.outgoing import outgoing
from firkin.images.push import push_image, tags_of, targets_of
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE, TWO = b"one" * 10_000, b"two" * 10_000


def push(store: Store, text: str, target: str, cancel: Cancel | None = None) -> tuple[str, Heard]:
    heard = Heard()
    with moving(store, cancel) as transfer:
        content = outgoing(store, find_image(store, text))
        return push_image(transfer, content, parse_reference(target), heard).digest, heard


def puts(registry: FakeRegistry) -> list[str]:
    """Return the manifests in the order in which they were put, with a word for what came before the first."""
    paths = [seen.path.partition("/v2/")[2] for seen in registry.requests("PUT")]
    first = next(number for number, path in enumerate(paths) if "/manifests/" in path)
    assert not [path for path in paths[first:] if "/blobs/" in path], "a blob after a manifest"
    return [path for path in paths if "/manifests/" in path]


def test_the_name_comes_after_everything_else(store: Store, registry: FakeRegistry) -> None:
    image = keep(store, "app:1", layers=(ONE, TWO))
    digest, heard = push(store, "app:1", f"{registry.host}/app:1")
    assert digest == image.manifest.digest
    assert puts(registry) == ["app/manifests/1"] and len(registry.requests("PUT", "/blobs/")) == 3
    assert registry.manifests["app", "1"] == (image.manifest.media_type, image.manifest.raw)
    assert set(heard.moved.values()) == {len(ONE), len(TWO), len(image.config.raw)}
    assert set(heard.outcomes.values()) == {"moved"}


def test_a_pushed_image_has_a_digest_name(store: Store, registry: FakeRegistry) -> None:
    image = keep(store, "app:1", layers=(ONE,))
    push(store, "app:1", f"{registry.host}/team/app:1")
    assert find_image(store, "app:1").digests == (f"{registry.host}/team/app@{image.manifest.digest}",)


def test_an_index_comes_after_its_manifests(store: Store, registry: FakeRegistry) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for kind, data in (("amd64", ONE), ("arm64", TWO))]
    index = keep_index(store, "multi:1", *images)
    digest, _ = push(store, "multi:1", f"{registry.host}/app:1")
    assert digest == index.digest
    assert puts(registry) == [*(f"app/manifests/{image.manifest.digest}" for image in images), "app/manifests/1"]
    assert registry.manifests["app", "1"][1] == index.raw


def index_of_three(store: Store) -> tuple[Index, list[Image]]:
    """Keep an index of amd64, arm64 and an attestation of each."""
    images = [keep(store, layers=(data,), architecture=kind) for kind, data in (("amd64", ONE), ("arm64", TWO))]
    proofs = [keep(store, layers=(b"proof" + kind,), author="proof") for kind in (b"amd64", b"arm64")]
    children = [
        *(msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images),
        *(msgspec.structs.replace(
            proof.manifest.descriptor, platform=Platform("unknown", "unknown"), annotations=(
                ("vnd.docker.reference.type", "attestation-manifest"),
                ("vnd.docker.reference.digest", str(image.manifest.digest)),
            )) for image, proof in zip(images, proofs, strict=True)),
    ]  # fmt: skip
    index = encode_index(Index(media.OCI_INDEX, tuple(children)))
    store.blobs.put(index.raw)
    store.images.tag(index.descriptor, (parse_reference("multi:1"),))
    return index, [*images, *proofs]


def test_attestations_travel_with_their_index(store: Store, registry: FakeRegistry) -> None:
    index, images = index_of_three(store)
    digest, _ = push(store, "multi:1", f"{registry.host}/app:1")
    assert digest == index.digest and len(puts(registry)) == 5
    assert all(("app", layer.descriptor.digest) in registry.blobs for image in images for layer in image.layers)


def test_of_an_index_that_is_not_whole_one_image_goes(store: Store, registry: FakeRegistry) -> None:
    index, (amd64, arm64, _, proof) = index_of_three(store)
    for image in (arm64, proof):
        os.unlink(store.blobs.path(image.layers[0].descriptor.digest))
    # The proof of what is absent is no image, and the proof of what is here goes with it: a smaller index.
    content = outgoing(store, find_image(store, "multi:1"))
    assert content.replaces == index.digest
    with moving(store) as transfer:
        pushed = push_image(transfer, content, parse_reference(f"{registry.host}/app:1"), Heard())
    listed = json.loads(registry.manifests["app", "1"][1])["manifests"]
    assert len(listed) == 2 and listed[0]["digest"] == amd64.manifest.digest
    assert pushed.replaces == index.digest and pushed.digest == digest_of(registry.manifests["app", "1"][1])


def test_an_image_that_is_alone_here_goes_without_its_index(store: Store, registry: FakeRegistry) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for kind, data in (("amd64", ONE), ("arm64", TWO))]
    index = keep_index(store, "multi:1", *images)
    os.unlink(store.blobs.path(images[1].manifest.digest))
    content = outgoing(store, find_image(store, "multi:1"))
    assert (content.root.digest, content.replaces) == (images[0].manifest.digest, index.digest)
    digest, _ = push(store, "multi:1", f"{registry.host}/app:1")
    assert digest == images[0].manifest.digest and puts(registry) == ["app/manifests/1"]


def test_one_platform_goes_without_index_and_attestations(store: Store) -> None:
    index, images = index_of_three(store)
    content = outgoing(store, find_image(store, "multi:1"), Platform("linux", "arm64"))
    assert (content.root.digest, content.replaces, content.manifests) == (images[1].manifest.digest, index.digest, ())
    assert content.shown == ((images[1].layers[0].descriptor.digest, images[1].layers[0].diff_id),)
    with pytest.raises(UsageError, match="not in the store for linux/s390x") as caught:
        outgoing(store, find_image(store, "multi:1"), Platform("linux", "s390x"))
    assert caught.value.hints == ("it is there for linux/amd64, linux/arm64",)
    keep(store, "app:1")
    with pytest.raises(UsageError, match="not in the store for linux/arm64"):
        outgoing(store, find_image(store, "app:1"), Platform("linux", "arm64"))


def test_an_image_with_missing_parts_is_not_pushed(store: Store) -> None:
    image = keep(store, "app:1", layers=(ONE,))
    os.unlink(store.blobs.path(image.layers[0].descriptor.digest))
    with pytest.raises(StoreError, match="parts of the image") as caught:
        outgoing(store, find_image(store, "app:1"))
    assert caught.value.code == "image-incomplete"


def test_layers_that_stay_abroad_are_not_pushed(store: Store, registry: FakeRegistry) -> None:
    config = json.dumps({"architecture": "amd64", "os": "windows", "rootfs": {
        "type": "layers", "diff_ids": [digest_of(ONE), digest_of(TWO)]}}).encode()  # fmt: skip
    abroad = Descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digest_of(ONE), len(ONE), urls=("https://x.example/",)
    )
    own = Descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", store.blobs.put(TWO), len(TWO))
    described = Descriptor(media.OCI_CONFIG, store.blobs.put(config), len(config))
    manifest = encode_manifest(Manifest(media.OCI_MANIFEST, described, (abroad, own)))
    store.blobs.put(manifest.raw)
    store.images.tag(manifest.descriptor, (parse_reference("app:1"),))
    push(store, "app:1", f"{registry.host}/app:1")
    assert ("app", own.digest) in registry.blobs and ("app", abroad.digest) not in registry.blobs


def test_every_tag_of_a_repository(store: Store) -> None:
    for name in ("app:b", "app:a", "app/other:1", "application:1"):
        keep(store, name)
    assert tags_of(store, parse_reference("app")) == (parse_reference("app:a"), parse_reference("app:b"))
    with pytest.raises(UsageError, match="An image does not exist locally with the tag: none"):
        tags_of(store, parse_reference("none", default_tag=""))


def test_what_is_there_is_not_sent_again(store: Store, registry: FakeRegistry) -> None:
    image = keep(store, "app:1", layers=(ONE,))
    push(store, "app:1", f"{registry.host}/app:1")
    registry.seen.clear()
    _, heard = push(store, "app:1", f"{registry.host}/app:2")
    assert puts(registry) == ["app/manifests/2"] and not registry.requests("PUT", "/blobs/")
    assert heard.outcomes == {image.layers[0].descriptor.digest: "exists", image.config.digest: "exists"}


def test_what_another_repository_of_the_registry_has_is_mounted(store: Store, registry: FakeRegistry) -> None:
    image = keep(store, "app:1", layers=(ONE,))
    push(store, "app:1", f"{registry.host}/first:1")
    registry.seen.clear()
    _, heard = push(store, "app:1", f"{registry.host}/second:1")
    assert set(heard.outcomes.values()) == {"mounted from first"} and not registry.requests("PUT", "/blobs/")
    assert ("second", image.layers[0].descriptor.digest) in registry.blobs


def test_trap_34_what_cannot_be_mounted_is_sent_in_the_upload_that_was_opened(
    store: Store, registry: FakeRegistry
) -> None:
    """The second repository cannot mount a blob that the first has lost: the registry answers 202 instead of 201."""
    image = keep(store, "app:1", layers=(ONE,))
    push(store, "app:1", f"{registry.host}/first:1")
    lost = image.layers[0].descriptor.digest
    del registry.blobs["first", lost]
    registry.seen.clear()
    _, heard = push(store, "app:1", f"{registry.host}/second:1")
    assert heard.outcomes == {lost: "moved", image.config.digest: "mounted from first"}
    assert registry.blobs["second", lost] == ONE and len(registry.requests("POST", "/blobs/uploads/")) == 2


def test_a_failed_push_leaves_the_name_as_it_was(store: Store, registry: FakeRegistry) -> None:
    keep(store, "app:1", layers=(ONE,), author="a")
    keep(store, "app:2", layers=(TWO,), author="b")
    push(store, "app:1", f"{registry.host}/app:1")
    before = registry.manifests["app", "1"]
    registry.fail("PUT", "/blobs/uploads/", status=403)
    with pytest.raises(RegistryError):
        push(store, "app:2", f"{registry.host}/app:1")
    assert registry.manifests["app", "1"] == before


def test_a_stopped_push_names_nothing(store: Store, registry: FakeRegistry) -> None:
    keep(store, "app:1", layers=(ONE,))
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        push(store, "app:1", f"{registry.host}/app:1", cancel)
    assert not registry.manifests


def test_an_image_goes_where_its_name_says_or_where_it_is_told(store: Store) -> None:
    image = keep(store, "example.com/app:1")
    by_name, by_id = find_image(store, "example.com/app:1"), find_image(store, image.config.digest)
    names = (read_tag("other:1"), read_tag("other:2"))
    assert targets_of(by_name, "example.com/app:1", ()) == (read_tag("example.com/app:1"),)
    assert targets_of(by_name, "example.com/app:1", names) == targets_of(by_id, "x", names) == names
    with pytest.raises(UsageError, match="does not say where to push") as caught:
        targets_of(by_id, image.config.digest, ())
    assert caught.value.hints == (Hint.of("push-target", image=image.config.digest),)


def test_plain_layers_are_compressed_before_a_push_and_only_once(store: Store, registry: FakeRegistry) -> None:
    plain = keep(store, "app:1", "app:2", layers=(ONE, TWO))
    with moving(store) as transfer:
        content = to_push(transfer, find_image(store, "app:1"))
        pushed = push_image(transfer, content, parse_reference(f"{registry.host}/app:1"), Heard())
        for blob in (layer.descriptor.digest for layer in plain.layers):
            os.unlink(store.blobs.path(blob))  # they are no longer needed
        again = to_push(transfer, find_image(store, "app:2"))
    assert again == content, "the second time nothing is compressed"
    found = find_image(store, "app:1")
    assert found.root.digest == pushed.digest != plain.manifest.digest and found.id == plain.config.digest
    assert found.digests == (f"{registry.host}/app@{pushed.digest}",), "what is recorded is what was pushed"
    assert registry.manifests["app", "1"][1] == store.blobs.read(pushed.digest)
    for layer, data in zip(found.image.layers, (ONE, TWO), strict=True):
        assert gzip.decompress(registry.blobs["app", layer.descriptor.digest]) == data
        assert layer.descriptor.media_type == media.OCI_LAYER + "+gzip"
    assert len(list_images(store, lambda digest, error: pytest.fail(str(error)), sizes=False)) == 1


def test_an_image_that_a_registry_has_keeps_its_digest(store: Store, registry: FakeRegistry) -> None:
    plain = keep(store, "app:1", layers=(ONE,))
    store.images.tag(plain.manifest.descriptor, (parse_reference("r.io/app:1"),), pinned=True)
    with moving(store) as transfer:
        assert to_push(transfer, find_image(store, "app:1")) == outgoing(store, find_image(store, "app:1"))


def test_what_an_index_lists_keeps_its_digest(store: Store) -> None:
    index = keep_index(store, "multi:1", *(keep(store, layers=(ONE,), architecture=kind) for kind in ("amd64", "arm64")))
    with moving(store) as transfer:
        content = to_push(transfer, find_image(store, "multi:1"))
    assert content == outgoing(store, find_image(store, "multi:1")) and content.root.digest == index.digest


def test_a_damaged_plain_layer_is_not_compressed(store: Store) -> None:
    plain = keep(store, "app:1", layers=(ONE,))
    with open(store.blobs.path(plain.layers[0].descriptor.digest), "wb") as file:
        file.write(ONE[:-1] + b"!")
    with moving(store) as transfer, pytest.raises(ContextError, match="damaged"):
        to_push(transfer, find_image(store, "app:1"))
    assert find_image(store, "app:1").root.digest == plain.manifest.digest
