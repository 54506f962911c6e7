"""Collects what an archive gets of an image: documents and layers, without what is not here. Does I/O.

An index of the store may name images that were never pulled, and readers of archives fail for those. So the archive
gets an index without them, or the manifest of the only image that is here. Layers change only where readers would
refuse them: with zstd in an archive for `docker load`, whose older versions do not know it. Under media types of
Docker, which have none for zstd, the types change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgspec

from firkin.content.failures import damaged
from firkin.errors import StoreError
from firkin.hints import Hint
from firkin.images.platforms import Offer, choose_platforms, preferred
from firkin.layer.blob import recompress_blob
from firkin.linux.machine import this_platform
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.image import Image, Layer, image_of, is_image
from firkin.oci.manifest import Index, Manifest, encode_index, encode_manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.store.blobs import BlobWriter
from firkin.store.store import Store

Blob = tuple[Descriptor, bytes | None]
"""A blob, with its bytes if they are not in a file."""
REPOSITORIES = "dev.firkin.repositories.v1"
"""An annotation in the index.json of an archive: the repositories that are known to have this document."""
Warn = Callable[[str, str], None]
_CHUNK = 1 << 20
_DEEPEST = 8
_MOST_DOCUMENTS = 10_000


class Packed(msgspec.Struct, frozen=True):
    """An image or an index as an archive gets it. `image` is the one for readers that know one platform only."""

    root: Descriptor
    names: tuple[Reference, ...]
    blobs: dict[Digest, Blob]
    image: Image


def pack_images(images: Sequence[Image], index: Index | None, names: tuple[Reference, ...]) -> Packed:
    """Return images as they are; an index joins several, and all that it names are among them."""
    blobs: dict[Digest, Blob] = {}
    for image in images:
        _add_image(image, blobs)
    if index is None:
        return Packed(_root_of(images[0]), names, blobs, images[0])
    blobs[index.digest] = (index.descriptor, index.raw)
    offers = [(image.manifest.descriptor, image.config.platform) for image in images]
    shown = preferred(offers, this_platform())
    (image,) = [image for image in images if shown is not None and image.manifest.digest == shown.digest][:1]
    return Packed(index.descriptor, names, blobs, image)


def _add_image(image: Image, blobs: dict[Digest, Blob]) -> None:
    for layer in image.layers:
        blobs.setdefault(layer.descriptor.digest, (layer.descriptor, None))
    blobs[image.manifest.config.digest] = (image.manifest.config, image.config.raw)
    blobs[image.manifest.digest] = (image.manifest.descriptor, image.manifest.raw)


def _root_of(image: Image) -> Descriptor:
    return msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform)


class _Node(msgspec.Struct):
    """What is here of an image or an index: its images, its attestations, every blob of both, and what is not here."""

    index: Index | None = None
    images: list[tuple[Descriptor, Image]] = []
    attestations: list[Descriptor] = []
    blobs: dict[Digest, Blob] = {}
    absent: list[Descriptor] = []
    changed: bool = False

    def offers(self) -> list[Offer]:
        """Return its images and their platforms."""
        return [(entry, image.config.platform) for entry, image in self.images]

    def take(self, other: _Node) -> None:
        """Add what a child has."""
        self.images += other.images
        self.attestations += other.attestations
        self.blobs |= other.blobs
        self.absent += other.absent
        self.changed |= other.changed


class Packer:
    """Collects images of one store for one archive, and is the source of their blobs.

    `for_docker` says that the archive is for `docker load`. A context manager: the end removes layers that it made.
    """

    def __init__(self, store: Store, warn: Warn, *, for_docker: bool) -> None:
        self._store = store
        self._warn = warn
        self._for_docker = for_docker
        self._made: dict[Digest, BlobWriter] = {}
        self._gzipped: dict[Digest, Descriptor] = {}

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._made.values():
            writer.abort()

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob from its start."""
        made = self._made.get(digest)
        return self._store.blobs.open(digest) if made is None else made.reopen()

    def pack(
        self, what: str, root: Descriptor, names: tuple[Reference, ...], platforms: tuple[Platform, ...] = ()
    ) -> Packed:
        """Return an image of the store, or of its platforms only the wanted ones; `what` is its name for messages.

        Raises UsageError (`no-platform`), and StoreError for an image of which something is missing.
        """
        node = self._node(root, 0, {})
        if node is None or not node.images:
            raise StoreError(f"image {what} is not complete in the store", code="image-damaged",
                             hints=(Hint.of("no-cache-or-pull"),))  # fmt: skip
        if node.index is not None and not (platforms or node.absent or node.changed):
            return self._known(Packed(root, names, node.blobs, self._shown(node)))
        images = node.images
        if platforms:
            wanted = {entry.digest for entry in choose_platforms(what, node.offers(), platforms)}
            images = [(entry, image) for entry, image in images if entry.digest in wanted]
        part = _Node(node.index, images)
        packed = self._single(part, names) if len(images) == 1 else self._several(node, part, names, platforms)
        self._tell(what, root, packed, node, platforms)
        return self._known(packed)

    def _known(self, packed: Packed) -> Packed:
        """Note which repositories are known to have this very document, so that its digest names survive."""
        known = dict.fromkeys(
            entry.name.partition("@")[0]
            for entry in self._store.images.entries()
            if entry.is_digest_name and entry.descriptor.digest == packed.root.digest
        )
        if not known:
            return packed
        root = msgspec.structs.replace(packed.root, annotations=((REPOSITORIES, " ".join(known)),))
        return msgspec.structs.replace(packed, root=root)

    def _shown(self, node: _Node) -> Image:
        shown = preferred(node.offers(), this_platform())
        return next(image for entry, image in node.images if shown is not None and entry.digest == shown.digest)

    def _single(self, part: _Node, names: tuple[Reference, ...]) -> Packed:
        ((_, image),) = part.images
        return pack_images((image,), None, names)

    def _several(
        self, node: _Node, part: _Node, names: tuple[Reference, ...], platforms: tuple[Platform, ...]
    ) -> Packed:
        """Return an index of the images that are left, with their attestations if all are left that are here."""
        assert node.index is not None
        entries = [entry for entry, _ in part.images]
        for _, image in part.images:
            _add_image(image, part.blobs)
        if not platforms and not node.changed:
            entries += node.attestations
            part.blobs |= node.blobs
        index = encode_index(msgspec.structs.replace(node.index, manifests=tuple(entries)))
        part.blobs[index.digest] = (index.descriptor, index.raw)
        return Packed(index.descriptor, names, part.blobs, self._shown(part))

    def _tell(
        self, what: str, root: Descriptor, packed: Packed, node: _Node, platforms: tuple[Platform, ...]
    ) -> None:
        if platforms or packed.root.digest == root.digest:
            return
        missing = ", ".join(str(item.platform or item.digest) for item in node.absent)
        why = f"not all of it is here ({missing})" if missing else "its zstd layers would not be read"
        self._warn("save-changed", f"{what}: {why}, so the archive has {packed.root.digest} instead of {root.digest}")

    # --- the documents of the store ---

    def _node(self, descriptor: Descriptor, depth: int, seen: dict[tuple[Digest, str], bool]) -> _Node | None:
        """Return what is here of a document. What indexes list again, for the same platform, adds nothing."""
        asked = (descriptor.digest, str(descriptor.platform or ""))
        if seen.get(asked):
            return _Node(None, [], [], {}, [])
        if depth > _DEEPEST or len(seen) >= _MOST_DOCUMENTS:
            why = "the indexes in it are too many, or nested too deeply"
            raise StoreError(f"{descriptor.digest}: {why}", code="image-nested")
        node = self._read(descriptor, depth, seen)
        seen[asked] = node is not None
        return node

    def _read(self, descriptor: Descriptor, depth: int, seen: dict[tuple[Digest, str], bool]) -> _Node | None:
        if self._store.blobs.size(descriptor.digest) is None:
            return None
        document = parse_manifest(self._store.blobs.read(descriptor.digest), descriptor.media_type)
        if isinstance(document, Manifest):
            return self._manifest(descriptor, document)
        node = _Node(document, [], [], {descriptor.digest: (_bare(descriptor), document.raw)}, [])
        for item in document.manifests:
            child = self._node(item, depth + 1, seen)
            if child is None:
                node.absent.append(item)
            else:
                node.take(child)
        return node

    def _manifest(self, entry: Descriptor, document: Manifest) -> _Node | None:
        parts = (document.config, *document.layers)
        if any(self._store.blobs.size(part.digest) != part.size for part in parts):
            return None
        if not is_image(document):
            blobs: dict[Digest, Blob] = {part.digest: (part, None) for part in parts}
            blobs[entry.digest] = (_bare(entry), document.raw)
            return _Node(None, [], [entry], blobs, [])
        try:
            image = image_of(parse_config(self._store.blobs.read(document.config.digest)), document)
        except ValueError as error:
            raise StoreError(f"image {entry.digest} in the store is damaged: {error}", code="image-damaged") from error
        fitting = self._fitting(image)
        described = fitting.manifest.descriptor
        entry = msgspec.structs.replace(
            entry, media_type=described.media_type, digest=described.digest, size=described.size,
            platform=entry.platform or image.config.platform,
        )  # fmt: skip
        node = _Node(None, [(entry, fitting)], [], {}, [], fitting is not image)
        _add_image(fitting, node.blobs)
        return node

    def _fitting(self, image: Image) -> Image:
        """Return the image as readers of the archive can read it."""
        family: media.Family = "docker" if image.manifest.media_type == media.DOCKER_MANIFEST else "oci"
        compressions = [media.layer_compression(layer.descriptor.media_type) for layer in image.layers]
        if "zstd" not in compressions or (family == "oci" and not self._for_docker):
            return image
        if self._for_docker:
            layers = [
                msgspec.structs.replace(layer, descriptor=self._gzip(layer, family)) if kind == "zstd" else layer
                for layer, kind in zip(image.layers, compressions, strict=True)
            ]
        else:
            family = "oci"
            layers = [
                msgspec.structs.replace(layer, descriptor=_of_type(layer.descriptor, family, kind))
                for layer, kind in zip(image.layers, compressions, strict=True)
            ]
        config = msgspec.structs.replace(image.manifest.config, media_type=media.config_media_type(family))
        manifest = encode_manifest(
            Manifest(
                media.manifest_media_type(family), config, tuple(layer.descriptor for layer in layers),
                image.manifest.annotations,
            )
        )  # fmt: skip
        return Image(image.config, manifest, tuple(layers))

    def _gzip(self, layer: Layer, family: media.Family) -> Descriptor:
        known = self._gzipped.get(layer.descriptor.digest)
        if known is None:
            known = self._gzipped[layer.descriptor.digest] = self._recompressed(layer, family)
        return known

    def _recompressed(self, layer: Layer, family: media.Family) -> Descriptor:
        writer = self._store.blobs.new()
        try:
            with self._store.blobs.open(layer.descriptor.digest) as file:
                chunks = iter(lambda: file.read(_CHUNK), b"")
                written = recompress_blob(chunks, layer.descriptor, layer.diff_id, writer, compression="gzip")
            writer.end()
        except ValueError as error:
            writer.abort()
            raise damaged(layer.descriptor, "", error) from error
        except BaseException:
            writer.abort()
            raise
        self._made.setdefault(written.digest, writer)
        return Descriptor(media.layer_media_type(family, "gzip"), written.digest, written.size)


def _bare(descriptor: Descriptor) -> Descriptor:
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)


def _of_type(descriptor: Descriptor, family: media.Family, kind: media.Compression) -> Descriptor:
    return msgspec.structs.replace(descriptor, media_type=media.layer_media_type(family, kind))
