"""What is done with the images of a store: list, tag, pull, push. Values in, values out; nothing is printed. Does I/O.

The command line and the Python API are fronts over these; `images/find.py` says what a name means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from firkin.content.fetch import keep_blob
from firkin.errors import Cancelled, StoreError, UsageError
from firkin.images.find import Found, describe
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, whole_digest
from firkin.oci.image import Image
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.store.images import StoredImage
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task


class Line(Protocol):
    """Somebody who is told how the blobs of an image get on; called from several threads."""

    def meter(self, digest: str, size_bytes: int, /) -> Callable[[int], None]:
        """Return what takes the number of bytes of a blob that were moved so far."""

    def kept(self, blob: Descriptor, outcome: str, /) -> None:
        """Take note of a blob that needed not be moved: `exists` or `mounted`."""


class Transfer(msgspec.Struct, frozen=True):
    """What images are moved with. `wait` returns when all tasks have ended, or raises what the first raised."""

    store: Store
    client: RegistryClient
    cancel: Cancel
    parallel: int
    wait: Callable[[Sequence[Task[None]]], None]


def read_reference(text: str) -> Reference:
    """Parse the name of an image in a registry, or a new name, as somebody typed it; raises UsageError."""
    if whole_digest(text) is not None or text.startswith("sha256:"):
        raise UsageError(f"`{text}` is a digest, not a name", hints=("a registry needs a name as well: `NAME@DIGEST`",))
    try:
        return parse_reference(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def read_tag(text: str) -> Reference:
    """Parse a name that is to point to an image; raises UsageError for one with a digest, too."""
    reference = read_reference(text)
    if reference.digest is not None:
        raise UsageError(f"`{reference}` has a digest; a tag is a name without one")
    return reference


def list_images(store: Store, damaged: Callable[[str, StoreError], None]) -> tuple[Found, ...]:
    """Return every image of the store once, the newest last; `damaged` takes digest and error of those that are."""
    by_digest: dict[str, list[StoredImage]] = {}
    for entry in store.images.entries():
        by_digest.setdefault(entry.descriptor.digest, []).append(entry)
    images = []
    for digest, entries in by_digest.items():
        try:
            images.append(describe(store, entries))
        except StoreError as error:
            damaged(digest, error)
    return tuple(images)


def pull_layers(transfer: Transfer, reference: Reference, image: Image, line: Line) -> None:
    """Fetch the layers that are not in the store, side by side, and give the image its name."""
    store = transfer.store

    def fetch(blob: Descriptor) -> None:
        if store.keeps(blob):
            line.kept(blob, "exists")
        else:
            with transfer.client.open_blob(reference, blob) as chunks:
                keep_blob(store, blob, chunks, transfer.cancel, line.meter(blob.digest, blob.size))
        store.records.add_place(blob.digest, reference.registry, reference.repository)

    blobs = {layer.descriptor.digest: layer.descriptor for layer in image.layers}
    _side_by_side(transfer, fetch, blobs.values())
    store.images.tag(image.manifest.descriptor, (reference,), image.config.created)


def push_image(transfer: Transfer, found: Found, target: Reference, line: Line) -> Digest:
    """Push everything to one repository, the name last, so it never points to something incomplete.

    Returns the digest that the name has there. Raises UsageError for an image of which only some platforms are here.
    """
    if found.index is not None and len(found.images) < len(found.index.manifests):
        raise UsageError(
            f"only {len(found.images)} of {len(found.index.manifests)} platforms of this image are in the store",
            hints=("push it from where all of it is",),
        )
    store, client = transfer.store, transfer.client

    def send(blob: Descriptor) -> None:
        transfer.cancel.check()
        places = store.records.places(blob.digest)
        near = next((repository for registry, repository in places if registry == target.registry), "")
        outcome = client.push_blob(
            target, blob, lambda: store.blobs.open(blob.digest), mount_from=near,
            progress=line.meter(blob.digest, blob.size),
        )  # fmt: skip
        store.records.add_place(blob.digest, target.registry, target.repository)
        if outcome != "pushed":
            line.kept(blob, outcome)

    blobs = {layer.descriptor.digest: layer.descriptor for image in found.images for layer in image.layers}
    blobs |= {image.manifest.config.digest: image.manifest.config for image in found.images}
    _side_by_side(transfer, send, blobs.values())
    transfer.cancel.check()
    if found.index is None:
        manifest = found.images[0].manifest
        return client.push_manifest(target, manifest.raw, manifest.media_type)
    for image in found.images:
        by_digest = Reference(target.registry, target.repository, "", image.manifest.digest)
        client.push_manifest(by_digest, image.manifest.raw, image.manifest.media_type)
    return client.push_manifest(target, found.index.raw, found.index.media_type)


def _side_by_side(transfer: Transfer, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
    pools = Pools(steps=1, transfers=transfer.parallel, cpu=1)
    try:
        transfer.wait([pools.transfers.submit(lambda blob=blob: work(blob)) for blob in blobs])  # type: ignore[misc]
    finally:
        pools.close(Cancelled("the transfer has ended"))
