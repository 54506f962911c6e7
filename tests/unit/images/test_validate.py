"""What `validate_image` finds wrong with an image."""

from __future__ import annotations

import gzip
import json
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from support.copies import AMD64, Copier, publish
from support.stored import make_image

from firkin.errors import RegistryError
from firkin.images.copy.places import parse_place
from firkin.images.copy.plan import Selection
from firkin.images.copy.several import Several
from firkin.images.validate import Checked, validate_image
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.manifest import encode_manifest
from firkin.store.store import Store
from firkin.testing.registry import FakeRegistry

ONE, TWO = b"one" * 500_000, b"two" * 10_000


def check(store: Store, place: Path, name: str, *, fast: bool = False) -> Checked:
    with ExitStack() as stack:
        copier = Copier(store, place, stack)
        several = Several(2, copier.cancel, lambda tasks: [task.result() for task in tasks] and None)
        with copier.opener.source(parse_place(name)) as source:
            return validate_image(source, Selection(AMD64), several, fast=fast)


def test_a_sound_image_has_no_problems(store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    images = [make_image(data, architecture=kind) for data, kind in ((ONE, "amd64"), (TWO, "arm64"))]
    name = publish(registry, "app", *images, layers=(ONE, TWO), attested=True)
    assert check(store, tmp_path, name).problems == ()
    registry.seen.clear()
    assert check(store, tmp_path, name, fast=True).problems == ()
    assert not registry.requests("GET", digest_of(ONE)), "--fast reads no layer"


def test_missing_and_wrong_blobs_are_named(store: Store, registry: FakeRegistry, tmp_path: Path) -> None:
    name = publish(registry, "app", make_image(ONE, TWO), layers=(ONE, TWO))
    registry.blobs["app", digest_of(ONE)] = ONE[:-1] + b"x"
    del registry.blobs["app", digest_of(TWO)]
    problems = check(store, tmp_path, name).problems
    assert len(problems) == 2 and all(any(digest_of(data) in text for text in problems) for data in (ONE, TWO))
    assert check(store, tmp_path, name, fast=True).problems == (f"blob {digest_of(TWO)} is missing",)


def test_a_layer_that_unpacks_to_something_else_is_found(
    store: Store, registry: FakeRegistry, tmp_path: Path
) -> None:
    image = make_image(ONE)
    packed = gzip.compress(TWO, mtime=0)
    layer = Descriptor(media.layer_media_type("oci", "gzip"), digest_of(packed), len(packed))
    manifest = encode_manifest(msgspec.structs.replace(image.manifest, layers=(layer,)))
    publish(registry, "app", msgspec.structs.replace(image, manifest=manifest), layers=(packed,))
    (problem,) = check(store, tmp_path, f"{registry.host}/app:1").problems
    assert f"unpacks to {digest_of(TWO)}" in problem and digest_of(ONE) in problem
    assert check(store, tmp_path, f"{registry.host}/app:1", fast=True).problems == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rootfs": {"type": "layers", "diff_ids": []}}, "has 0 diff ids, the manifest 1 layers"),
        ({"history": [{}, {}]}, "its history has 2 layers, not 1"),
        ({"rootfs": 3}, "configuration"),
    ],
)
def test_a_configuration_of_another_image_is_found(
    change: dict[str, object], why: str, store: Store, registry: FakeRegistry, tmp_path: Path
) -> None:
    image = make_image(ONE)
    raw = json.dumps({**json.loads(image.config.raw), **change}).encode()
    config = msgspec.structs.replace(image.manifest.config, digest=digest_of(raw), size=len(raw))
    manifest = encode_manifest(msgspec.structs.replace(image.manifest, config=config))
    publish(registry, "app", msgspec.structs.replace(image, manifest=manifest), layers=(ONE, raw))
    (problem,) = check(store, tmp_path, f"{registry.host}/app:1").problems
    assert why in problem


def test_a_registry_that_is_away_is_an_error_and_no_finding(
    store: Store, registry: FakeRegistry, tmp_path: Path
) -> None:
    name = publish(registry, "app", make_image(ONE), layers=(ONE,))
    registry.fail("GET", digest_of(ONE), times=9, status=503)
    with pytest.raises(RegistryError):
        check(store, tmp_path, name)
