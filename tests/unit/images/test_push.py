"""What a push of an image of the store sends, and in which order."""

from __future__ import annotations

import os

import pytest
from support.stored import Heard, keep, keep_index, moving

from firkin.errors import Cancelled, RegistryError, UsageError
from firkin.hints import Hint
from firkin.images.find import find_image
from firkin.images.names import read_tag
from firkin.images.push import push_image, targets_of
from firkin.oci.reference import parse_reference
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE, TWO = b"one" * 10_000, b"two" * 10_000


def push(store: Store, text: str, target: str, cancel: Cancel | None = None) -> tuple[str, Heard]:
    heard = Heard()
    with moving(store, cancel) as transfer:
        return push_image(transfer, find_image(store, text), parse_reference(target), heard), heard


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


def test_an_index_comes_after_its_manifests(store: Store, registry: FakeRegistry) -> None:
    images = [keep(store, layers=(data,), architecture=kind) for kind, data in (("amd64", ONE), ("arm64", TWO))]
    index = keep_index(store, "multi:1", *images)
    digest, _ = push(store, "multi:1", f"{registry.host}/app:1")
    assert digest == index.digest
    assert puts(registry) == [*(f"app/manifests/{image.manifest.digest}" for image in images), "app/manifests/1"]
    assert registry.manifests["app", "1"][1] == index.raw


def test_only_some_platforms_are_no_image_to_push(store: Store, registry: FakeRegistry) -> None:
    images = [keep(store, architecture=kind) for kind in ("amd64", "arm64")]
    keep_index(store, "multi:1", *images)
    os.unlink(store.blobs.path(images[1].manifest.digest))
    with pytest.raises(UsageError, match="only 1 of 2 platforms of this image are in the store"):
        push(store, "multi:1", f"{registry.host}/app:1")
    assert not registry.seen


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
