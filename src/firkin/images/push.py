"""Pushes images to registries: blobs side by side, then manifests, the name last. Does I/O.

So a name never points to something incomplete, and a failed push leaves the name as it was. `push_image` pushes an
image of the store; `push_job.py` pushes to several names with the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import BinaryIO, Protocol

import msgspec

from firkin.errors import UsageError
from firkin.hints import Hint
from firkin.images.find import Found
from firkin.images.names import read_tag, repository_and_tag
from firkin.images.outgoing import Outgoing
from firkin.images.progress import Listener, Transfer
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Image
from firkin.oci.manifest import Index
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.store.journal import image_event
from firkin.store.store import Store

SideBySide = Callable[[Callable[[Descriptor], None], Iterable[Descriptor]], None]
"""Does some work for every blob, several at a time; raises the first failure."""


class Content(msgspec.Struct, frozen=True):
    """What is pushed: one image, or several with the index that joins them."""

    images: tuple[Image, ...]
    index: Index | None = None

    @property
    def root(self) -> tuple[Descriptor, bytes]:
        """What a name will point to."""
        document = self.index or self.images[0].manifest
        return document.descriptor, document.raw


class PushSource(Protocol):
    """Opens blobs, and knows where else the registry may have them. Called from several threads."""

    def open(self, blob: Descriptor, /) -> BinaryIO:
        """Open a layer from its start; may fetch it first."""

    def mount_from(self, target: Reference, digest: Digest, /) -> str:
        """Return a repository of the target's registry that is likely to have a blob, or ""."""

    def arrived(self, target: Reference, digest: Digest, /) -> None:
        """Take note that the target's repository now has a blob."""


class Pushed(msgspec.Struct, frozen=True):
    """What a name of a registry points to now. `replaces` is the index in whose place it went; see Outgoing."""

    name: Reference
    digest: Digest
    size_bytes: int
    replaces: Digest | None = None


def push_image(transfer: Transfer, content: Outgoing, target: Reference, listener: Listener) -> Pushed:
    """Push what images/outgoing.py found to one name, and note in the store that the repository has it."""
    client, store = transfer.client, transfer.store
    send_blobs(client, content.blobs, target, _StoreBlobs(transfer), listener, transfer.side_by_side)
    for descriptor, raw in content.manifests:
        transfer.cancel.check()
        client.push_manifest(target.pinned(descriptor.digest), raw, descriptor.media_type)
    transfer.cancel.check()
    digest = client.push_manifest(target, content.raw, content.root.media_type)
    if content.replaces is None:
        store.images.tag(content.root, (target.pinned(digest),))
    image_event(store.layout.root, "push", target.familiar, repository_and_tag(str(target))[0])
    return Pushed(target, digest, len(content.raw), content.replaces)


def tags_of(store: Store, repository: Reference) -> tuple[Reference, ...]:
    """Return the names of a repository in the store, sorted. Raises UsageError if there are none."""
    names = {entry.name for entry in store.images.entries() if entry.name.startswith(f"{repository.name}:")}
    if not names:
        raise UsageError(f"An image does not exist locally with the tag: {repository.familiar}", code="no-image",
                         hints=(Hint.of("images"),))  # fmt: skip
    return tuple(read_tag(name) for name in sorted(names) if "@" not in name)


def targets_of(found: Found, text: str, names: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """Return where to push an image that the user named by `text`: to `names`, or else to its own name.

    Raises UsageError for an id without names, since an id does not say where to push.
    """
    if not names and not found.by_name:
        hints = (Hint.of("push-target", image=text),)
        raise UsageError(f"`{text}` is no name, so it does not say where to push", hints=hints)
    return names or (read_tag(text),)


class _StoreBlobs:
    """The blobs of a store, which records the repositories that have them."""

    def __init__(self, transfer: Transfer) -> None:
        self._store = transfer.store

    def open(self, blob: Descriptor) -> BinaryIO:
        return self._store.blobs.open(blob.digest)

    def mount_from(self, target: Reference, digest: Digest) -> str:
        places = self._store.records.places(digest)
        return next((repository for registry, repository in places if registry == target.registry), "")

    def arrived(self, target: Reference, digest: Digest) -> None:
        self._store.records.add_place(digest, target.registry, target.repository)


def push_blobs(
    client: RegistryClient, content: Content, target: Reference, source: PushSource, listener: Listener,
    side_by_side: SideBySide, *, new_configs: bool = False,
) -> None:
    """Bring all layers and configurations to the target's repository, each in the cheapest way.

    `new_configs`: the configurations were made just now, so no registry has them and they are sent at once.
    """  # fmt: skip
    configs = {image.manifest.config.digest: image.config.raw for image in content.images}
    blobs: dict[Digest, Descriptor] = {}
    for image in content.images:
        for blob in (*(layer.descriptor for layer in image.layers), image.manifest.config):
            blobs.setdefault(blob.digest, blob)
    send_blobs(client, blobs.values(), target, source, listener, side_by_side, configs, at_once=new_configs)


def send_blobs(
    client: RegistryClient, blobs: Iterable[Descriptor], target: Reference, source: PushSource, listener: Listener,
    side_by_side: SideBySide, small: Mapping[Digest, bytes] | None = None, *, at_once: bool = False,
) -> None:
    """Bring blobs to the target's repository: mounted, found there, or sent.

    `small` are blobs that are in memory; with `at_once` they are sent without looking for them.
    """  # fmt: skip
    known = small or {}

    def send(blob: Descriptor) -> None:
        raw = known.get(blob.digest)
        if raw is not None and at_once:
            client.push_blob(target, blob, lambda: BytesIO(raw), check=False)
            return
        near = source.mount_from(target, blob.digest)
        outcome = client.push_blob(
            target, blob, (lambda: source.open(blob)) if raw is None else (lambda: BytesIO(raw)),
            mount_from=near, progress=listener.meter(blob.digest, blob.size),
        )  # fmt: skip
        source.arrived(target, blob.digest)
        listener.kept(blob, {"exists": "exists", "mounted": f"mounted from {near}"}.get(outcome, "moved"))

    side_by_side(send, blobs)


def push_listed(client: RegistryClient, content: Content, target: Reference) -> None:
    """Put the manifests that an index lists; `push_name` puts the index itself."""
    for image in content.images if content.index is not None else ():
        client.push_manifest(target.pinned(image.manifest.digest), image.manifest.raw, image.manifest.media_type)


def push_name(client: RegistryClient, content: Content, name: Reference) -> Digest:
    """Let a name point to the content, whose blobs and manifests are already there; return its digest."""
    descriptor, raw = content.root
    return client.push_manifest(name, raw, descriptor.media_type)
