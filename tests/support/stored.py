"""Images made for a store, and a Transfer for them: for tests of the operations in `firkin/images/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec
import pytest

from firkin.images.find import find_image
from firkin.images.list import list_images
from firkin.images.progress import Transfer
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of
from firkin.oci.image import Image, Layer, assemble
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.settings import RegistrySettings
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel


def make_image(*layers: bytes, author: str = "", annotation: str = "", architecture: str = "amd64") -> Image:
    """Return an image with these blobs as layers. The annotation gives one configuration different manifests."""
    digests = [digest_of(data) for data in layers]
    raw = json.dumps({
        "architecture": architecture, "os": "linux", "author": author,
        "rootfs": {"type": "layers", "diff_ids": digests},
    }).encode()  # fmt: skip
    described = tuple(
        Layer(digest, Descriptor(media.OCI_LAYER, digest, len(data)))  # type: ignore[arg-type]
        for digest, data in zip(digests, layers, strict=True)
    )
    return assemble(parse_config(raw), described, "oci", (("note", annotation),) if annotation else ())


def keep(store: Store, *names: str, layers: tuple[bytes, ...] = (), **fields: str) -> Image:
    """Put an image into the store, under the given names if any."""
    image = make_image(*layers, **fields)
    for raw in (*layers, image.config.raw, image.manifest.raw):
        store.blobs.put(raw)
    if names:
        store.images.tag(image.manifest.descriptor, tuple(map(parse_reference, names)))
    return image


def drop(store: Store, *names: str) -> None:
    """Remove names of the store, as they are kept; their images keep no other entry instead."""
    store.images.remove(lambda: ([entry for entry in store.images.entries() if entry.name in names], False))


def keep_index(store: Store, name: str, *images: Image, platforms: bool = False) -> Index:
    """Put an index of images under a name, with or without the platforms of each."""
    items = tuple(
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform if platforms else None)
        for image in images
    )
    index = encode_index(Index(media.OCI_INDEX, items))
    store.blobs.put(index.raw)
    store.images.tag(index.descriptor, (parse_reference(name),))
    return index


def size_without_reading(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the size that a list of the store shows for its one image; no layer may be read for that."""
    (image,) = find_image(store, name).images
    opened: list[str] = []
    real = store.blobs.open

    def open_blob(digest: Digest) -> BinaryIO:
        opened.append(digest)
        return real(digest)

    monkeypatch.setattr(store.blobs, "open", open_blob)
    (listed,) = list_images(store, lambda digest, error: pytest.fail(str(error)))
    assert set(opened) <= {image.config.digest, image.manifest.digest}
    return listed.size_bytes


class Heard:
    """A listener that records what it receives: moved bytes of each blob, and outcomes of blobs that were not moved."""

    def __init__(self) -> None:
        self.moved: dict[str, int] = {}
        self.outcomes: dict[str, str] = {}

    def meter(self, digest: str, size_bytes: int) -> Callable[[int], None]:
        return lambda current: self.moved.update({digest: current})

    def kept(self, blob: Descriptor, outcome: str) -> None:
        self.outcomes[blob.digest] = outcome


@contextmanager
def moving(store: Store, cancel: Cancel | None = None) -> Iterator[Transfer]:
    """Yield a Transfer for images of the store."""
    stop = cancel or Cancel()
    with RegistryClient(RegistrySettings(retries=0), cancelled=stop) as client:
        yield Transfer(store, client, stop, 3, lambda tasks: [task.result() for task in tasks] and None)
