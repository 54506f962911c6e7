"""A layout of base images: what is fetched into it, and when again."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import msgspec
import pytest
from support.stored import make_image

from firkin.errors import ContextError, UsageError
from firkin.images.warm import warm_image
from firkin.oci import media
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

ONE = b"one" * 10_000
IMAGE = make_image(ONE)
(LAYER,) = (layer.descriptor for layer in IMAGE.layers)
AMD64 = Platform("linux", "amd64")


def warm(registry: FakeRegistry, place: Path, tag: str = "1", oldest_s: float = 0.0, platform: Platform = AMD64) -> int:
    """Warm one image; return how often its layer was fetched."""
    registry.seen.clear()
    with RegistryClient(RegistrySettings(retries=0)) as client:
        warm_image(client, str(place), parse_reference(f"{registry.host}/app:{tag}"), platform, oldest_s, Cancel())
    return len(registry.requests("GET", LAYER.digest))


@pytest.fixture
def serving(registry: FakeRegistry) -> FakeRegistry:
    for data in (ONE, IMAGE.config.raw):
        registry.add_blob("app", data)
    for tag in "12":
        registry.add_manifest("app", tag, IMAGE.manifest.media_type, IMAGE.manifest.raw)
    return registry


def test_an_image_is_listed_under_each_name_and_its_blobs_are_shared(serving: FakeRegistry, tmp_path: Path) -> None:
    place = tmp_path / "a/cache"
    assert [warm(serving, place, "1"), warm(serving, place, "2")] == [1, 0]
    entries = json.loads((place / "index.json").read_bytes())["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [
        f"{serving.host}/app:{tag}" for tag in "12"
    ]
    assert (place / "blobs" / LAYER.digest.replace(":", "/")).read_bytes() == ONE


def test_what_is_old_damaged_or_not_wanted_is_fetched_again(serving: FakeRegistry, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / LAYER.digest.replace(":", "/")
    now = time.time()
    assert warm(serving, tmp_path) == 1
    assert warm(serving, tmp_path, oldest_s=now - 60) == 0
    os.utime(blob, (now - 100, now - 100))
    assert warm(serving, tmp_path, oldest_s=now - 60) == 1
    assert warm(serving, tmp_path, oldest_s=math.inf) == 1
    blob.write_bytes(b"short")
    assert warm(serving, tmp_path) == 1 and blob.read_bytes() == ONE


def test_a_platform_that_is_not_there(serving: FakeRegistry, tmp_path: Path) -> None:
    described = msgspec.structs.replace(IMAGE.manifest.descriptor, platform=AMD64)
    index = encode_index(Index(media.OCI_INDEX, (described,)))
    serving.add_manifest("app", "3", index.media_type, index.raw)
    with pytest.raises(ContextError, match="is not there for linux/s390x") as caught:
        warm(serving, tmp_path, "3", platform=Platform("linux", "s390x"))
    assert caught.value.code == "platform-missing"


def test_a_place_that_cannot_be_written(serving: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write"):
        warm(serving, tmp_path / "file/cache")
