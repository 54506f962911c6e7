"""Indexes that list each other many times: four documents of a few kilobytes that stand for a billion images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from support.image_archives import described, layout_files, tar_of
from support.stored import keep, make_image, moving

from firkin.errors import RegistryError
from firkin.images.attested import Attested
from firkin.images.combining import combine, place_sources, push_combined, read_source
from firkin.images.find import find_image
from firkin.images.list import list_images
from firkin.images.load import Front, LoadRequest, load_stream
from firkin.images.outgoing import outgoing
from firkin.images.save import SaveRequest, save_images
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import digest_of
from firkin.oci.image import Image
from firkin.oci.manifest import Index, encode_index
from firkin.oci.platform import Platform
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.facts import Documents
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.testing.registry import FakeRegistry

TIMES, LEVELS, MOST_READS = 1000, 3, 20_000
LAYER = b"layer" * 1000


def indexes(image: Image) -> list[Index]:
    """Return the indexes, the innermost first."""
    made: list[Index] = []
    child = msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform)
    for _ in range(LEVELS):
        made.append(encode_index(Index(media.OCI_INDEX, (child,) * TIMES)))
        child = made[-1].descriptor
    return made


@pytest.fixture
def root(store: Store, monkeypatch: pytest.MonkeyPatch) -> Descriptor:
    """Put such an index into the store, which from now on answers a bounded number of questions."""
    made = indexes(keep(store, layers=(LAYER,)))
    for index in made:
        store.blobs.put(index.raw)
    store.images.tag(made[-1].descriptor, (parse_reference("app:1"),))
    size, asked = store.blobs.size, 0

    def counted(digest: str) -> int | None:
        nonlocal asked
        asked += 1
        assert asked < MOST_READS, "the same documents are walked again and again"
        return size(digest)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "size", counted)
    return made[-1].descriptor


def quiet(code: str, message: str) -> None:
    pass


WALKS: dict[str, Callable[[Store, Descriptor, Path], object]] = {
    "find": lambda store, root, place: find_image(store, "app:1"),
    "list": lambda store, root, place: list_images(store, lambda *told: None),
    "here": lambda store, root, place: list(Documents(store).here(root)),
    "absent platform": lambda store, root, place: Documents(store).shown(root, Platform("plan9", "mips"), strict=True),
    "push": lambda store, root, place: outgoing(store, find_image(store, "app:1")),
    "save": lambda store, root, place: save_images(
        store, SaveRequest(("app:1",)), str(place / "saved.tar"), None, quiet
    ),
    "save a platform": lambda store, root, place: save_images(
        store, SaveRequest(("app:1",), platforms=(Platform("linux", "amd64"),)), str(place / "one.tar"), None, quiet
    ),
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_what_is_listed_again_is_not_walked_again(
    store: Store, root: Descriptor, tmp_path: Path, walk: Callable[[Store, Descriptor, Path], object]
) -> None:
    walk(store, root, tmp_path)


def test_each_image_counts_once(store: Store, root: Descriptor) -> None:
    assert len(list(Documents(store).here(root))) == 1
    assert [len(outgoing(store, find_image(store, "app:1")).manifests)] == [LEVELS]


def test_an_archive_is_loaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from firkin.images import contents

    image = make_image(LAYER)
    made = indexes(image)
    documents = (LAYER, image.config.raw, image.manifest.raw, *(index.raw for index in made))
    data = tar_of(layout_files([described(made[-1].raw, media.OCI_INDEX)], *documents))
    walked = []
    nodes = contents._nodes

    def counted(*given: object) -> Iterator[contents.Node]:
        walked.append(given)
        assert len(walked) < MOST_READS, "the same documents are walked again and again"
        return nodes(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(contents, "_nodes", counted)
    front = Front(Cancel(), lambda name, size: lambda moved: None, quiet)
    (loaded,) = load_stream(store, [data], LoadRequest(), front)
    assert loaded.id == image.config.digest and loaded.platforms == (Platform("linux", "amd64"),)


def serve(registry: FakeRegistry) -> Image:
    image = make_image(LAYER)
    for data in (LAYER, image.config.raw):
        registry.add_blob("app", data)
    registry.add_manifest("app", "", image.manifest.media_type, image.manifest.raw)
    for index in indexes(image):
        registry.add_manifest("app", "1", index.media_type, index.raw)
    return image


def test_a_registry_is_asked_once_for_each_document(store: Store, registry: FakeRegistry) -> None:
    image = serve(registry)
    client = RegistryClient(RegistrySettings())
    with client:
        known = Attested(client, parse_reference(f"{registry.host}/app:1"))
        assert known.platforms() == [str(image.config.platform)]
    with moving(store) as transfer:
        (source,) = place_sources([read_source(f"{registry.host}/app:1")], [])
        combined = combine(transfer, [source])
        push_combined(transfer, combined, parse_reference(f"{registry.host}/other:1"), lambda told: None)
    assert len(registry.requests()) < 100
    assert registry.manifests[("other", "1")]


def test_an_index_without_end_is_refused(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    image = serve(registry)
    listed = []
    for number in range(50):
        raw = image.manifest.raw + b" " * number
        registry.add_manifest("app", "", image.manifest.media_type, raw)
        listed.append(Descriptor(image.manifest.media_type, digest_of(raw), len(raw)))
    index = encode_index(Index(media.OCI_INDEX, tuple(listed)))
    registry.add_manifest("app", "2", index.media_type, index.raw)
    monkeypatch.setattr("firkin.images.attested._MOST_DOCUMENTS", 20)
    with RegistryClient(RegistrySettings()) as client, pytest.raises(RegistryError, match="more than 20 manifests"):
        Attested(client, parse_reference(f"{registry.host}/app:2")).platforms()
