"""Images of several platforms under one name in their registry."""

from __future__ import annotations

import json

import pytest
from support.stored import make_image

from firkin.errors import UsageError
from firkin.images.index import check_sources, push_index
from firkin.oci import media
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.testing.registry import FakeRegistry


def serve(registry: FakeRegistry, tag: str, image: Image) -> Image:
    registry.add_blob("app", image.config.raw)
    registry.add_manifest("app", tag, image.manifest.media_type, image.manifest.raw)
    registry.add_manifest("app", image.manifest.digest, image.manifest.media_type, image.manifest.raw)
    return image


def join(registry: FakeRegistry, target: str, *sources: str) -> str:
    with RegistryClient(RegistrySettings(retries=0)) as client:
        names = [parse_reference(f"{registry.host}/app:{tag}") for tag in (target, *sources)]
        return push_index(client, names[0], names[1:])


def test_an_index_lists_images_with_their_platforms(registry: FakeRegistry) -> None:
    images = [serve(registry, kind, make_image(architecture=kind)) for kind in ("amd64", "arm64")]
    digest = join(registry, "1", "amd64", "arm64")
    kind, raw = registry.manifests["app", "1"]
    assert (kind, digest_of(raw)) == (media.OCI_INDEX, digest)
    listed = json.loads(raw)["manifests"]
    assert [entry["digest"] for entry in listed] == [image.manifest.digest for image in images]
    assert [entry["platform"]["architecture"] for entry in listed] == ["amd64", "arm64"]


def test_an_index_counts_for_all_of_its_images(registry: FakeRegistry) -> None:
    for kind in ("amd64", "arm64", "s390x"):
        serve(registry, kind, make_image(architecture=kind))
    join(registry, "1", "amd64", "arm64")
    join(registry, "2", "1", "s390x")
    listed = json.loads(registry.manifests["app", "2"][1])["manifests"]
    assert [entry["platform"]["architecture"] for entry in listed] == ["amd64", "arm64", "s390x"]


def test_two_images_for_one_platform_are_refused(registry: FakeRegistry) -> None:
    for tag in "ab":
        serve(registry, tag, make_image(author=tag))
    with pytest.raises(UsageError, match="two images are for linux/amd64"):
        join(registry, "1", "a", "b")
    assert ("app", "1") not in registry.manifests
    join(registry, "1", "a", "a")


def test_an_index_is_pushed_to_a_tag_of_the_same_repository() -> None:
    target, source = parse_reference("app:1"), parse_reference("app:1-amd64")
    check_sources(target, [source])
    with pytest.raises(UsageError, match="in another repository"):
        check_sources(target, [source, parse_reference("other:1")])
    with pytest.raises(UsageError, match="has a digest"):
        check_sources(parse_reference(f"app@{digest_of(b'')}"), [source])
