"""The store and the registries as commands other than `build` see them. I; only `cli.commands` may import it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from firkin.cli.requests import settings_of
from firkin.cli.run import Invocation, write_all
from firkin.errors import StoreError, UsageError
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.registry.client import RegistryClient
from firkin.settings import Settings
from firkin.solve.cancel import Cancel
from firkin.store.images import StoredImage, find_in
from firkin.store.store import Store

_HEX = frozenset("0123456789abcdef")
_SHORTEST_PREFIX = 6


class Found(msgspec.Struct, frozen=True):
    """An image of the store: what its name points to, the images in it, their index if there is one."""

    names: tuple[str, ...]
    root: Descriptor
    images: tuple[Image, ...]
    index: Index | None
    created: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes that a registry holds for it, each blob once."""
        sizes = {layer.descriptor.digest: layer.descriptor.size for image in self.images for layer in image.layers}
        return sum(sizes.values()) + sum(len(x.manifest.raw) + len(x.config.raw) for x in self.images)


def open_store(invocation: Invocation) -> tuple[Store, Settings]:
    """Return the store (to be entered) and the settings that an invocation means."""
    settings = settings_of(invocation.arguments, invocation.ambient)
    return Store(settings.root, time.time), settings


def reference_of(text: str) -> Reference:
    """Parse a name that somebody typed; raises UsageError."""
    try:
        return parse_reference(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


def find_image(store: Store, text: str) -> Found:
    """Return the image of a name, a digest, or the beginning of one. Raises UsageError, StoreError."""
    entries = store.images.entries()
    wanted = text.removeprefix("sha256:")
    found = {}
    if len(wanted) >= _SHORTEST_PREFIX and _HEX.issuperset(wanted):
        for entry in entries:
            ids = (entry.descriptor.digest, *(image.config.digest for image in _images(store, entry.descriptor)[0]))
            if any(digest.removeprefix("sha256:").startswith(wanted) for digest in ids):
                found[entry.descriptor.digest] = entry.descriptor
    if len(found) > 1:
        raise UsageError(f"`{text}` is the beginning of {len(found)} digests", hints=("write more of it",))
    root = next(iter(found.values()), None)
    if root is None:
        root = find_in(entries, reference_of(text))
    if root is None:
        from firkin.dockerfile.words import nearest

        meant = nearest(text, [familiar(entry.name) for entry in entries if entry.name])
        hint = f"did you mean `{meant}`?" if meant else "`firkin images` lists what is in the store"
        raise UsageError(f"no image `{text}` in the store {store.layout.root}", code="no-image", hints=(hint,))
    return describe(store, [entry for entry in entries if entry.descriptor.digest == root.digest])


def describe(store: Store, entries: Sequence[StoredImage]) -> Found:
    """Return everything about an image of the store; `entries` are all, at least one, that have its digest."""
    root = entries[0].descriptor
    images, index = _images(store, root)
    created = next((entry.created for entry in entries if entry.created), images[0].config.created if images else "")
    return Found(tuple(entry.name for entry in entries if entry.name), root, images, index, created)


def _images(store: Store, descriptor: Descriptor) -> tuple[tuple[Image, ...], Index | None]:
    document = parse_manifest(store.blobs.read(descriptor.digest), descriptor.media_type)
    if isinstance(document, Index):
        # A pulled index may name platforms that were not pulled with it.
        here = [item for item in document.manifests if store.blobs.size(item.digest) is not None]
        return tuple(image for item in here for image in _images(store, item)[0]), document
    try:
        return (image_of(parse_config(store.blobs.read(document.config.digest)), document),), None
    except ValueError as error:
        raise StoreError(f"image {descriptor.digest} in the store is damaged: {error}", code="image-damaged") from error


def familiar(name: str) -> str:
    """Return the short spelling of a canonical name; names that others wrote stay as they are."""
    try:
        return parse_reference(name).familiar
    except ValueError:
        return name


def open_client(settings: Settings, cancel: Cancel) -> RegistryClient:
    """Return a client (to be entered) whose warnings go to standard error."""

    def warn(code: str, message: str) -> None:
        say(f"warning: {message} ({code})")

    return RegistryClient(settings.registry, cancelled=cancel, warn=warn)


def say(text: str) -> None:
    """Tell people something that is no data."""
    write_all(2, text + "\n")


def with_interrupts(work: Callable[[Cancel], int]) -> int:
    """Run work that a Ctrl-C or SIGTERM stops."""
    import signal

    cancel = Cancel()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: cancel.set(number))
    return work(cancel)
