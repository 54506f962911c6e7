"""What of an image in the store can be pushed: its documents and blobs, all of them here. Does I/O.

An index goes as it is when everything that it lists is here. When some is absent (a pull fetches one platform), only
what is here goes: the one image, or a new index of those that are here with their attestations.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.errors import StoreError, UsageError
from firkin.images.find import Found
from firkin.oci import media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, Manifest, choose_manifest, encode_index, parse_manifest
from firkin.oci.platform import Platform, match_rank
from firkin.store.store import Store

_DEEPEST = 3
_MOST_DOCUMENTS = 10_000
_KIND, _SUBJECT = "vnd.docker.reference.type", "vnd.docker.reference.digest"


class Outgoing(msgspec.Struct, frozen=True):
    """What is pushed: `root` is what the name will point to, and `raw` its bytes.

    `manifests` are the documents that the root lists, deepest first; `blobs` are configurations and layers. `shown` are
    the layers of the images by blob, the top first, with the digests that they unpack to. `replaces` is the index that
    is not whole here, or of which one platform was asked for: `root` goes in its place.
    """

    root: Descriptor
    raw: bytes
    manifests: tuple[tuple[Descriptor, bytes], ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    shown: tuple[tuple[Digest, Digest], ...] = ()
    replaces: Digest | None = None

    @property
    def documents(self) -> tuple[tuple[Descriptor, bytes], ...]:
        """Every document, the root last."""
        return (*self.manifests, (self.root, self.raw))


def outgoing(store: Store, found: Found, platform: Platform | None = None) -> Outgoing:
    """Return what can be pushed of an image of the store; with `platform`, of the image for that alone.

    Raises StoreError (`image-incomplete`) when parts are missing, UsageError (`not-here-for-platform`) when none
    is for the platform.
    """
    return _Reader(store).image(found.root, platform)


class _Reader:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._wholes: dict[Digest, Outgoing | None] = {}

    def image(self, root: Descriptor, platform: Platform | None) -> Outgoing:
        document = self._document(root)
        if isinstance(document, Manifest):
            whole = self._whole(root)
            if platform is not None:
                self._check_platform(document, platform)
        else:
            whole = self._of_index(root, document, platform)
        if whole is None:
            raise StoreError(
                f"parts of the image {root.digest} are not in the store", code="image-incomplete",
                hints=("pull or build it again",),
            )  # fmt: skip
        return whole

    def _of_index(self, root: Descriptor, index: Index, platform: Platform | None) -> Outgoing | None:
        parts = {child.digest: part for child in index.manifests if (part := self._whole(child)) is not None}
        here = tuple(child for child in index.manifests if child.digest in parts)
        if platform is not None:
            chosen = choose_manifest(msgspec.structs.replace(index, manifests=here), platform)
            if chosen is None:
                raise _no_platform(platform, here)
            return msgspec.structs.replace(parts[chosen.digest], replaces=root.digest)
        if len(here) == len(index.manifests):
            return _joined(root, index.raw, parts.values())
        return _part(root, index, here, parts)

    def _whole(self, root: Descriptor, depth: int = 0) -> Outgoing | None:
        """Return everything of a manifest or an index; None if some is missing."""
        # Indexes may list the same many times.
        if root.digest not in self._wholes:
            if len(self._wholes) >= _MOST_DOCUMENTS:
                raise StoreError(f"an index lists more than {_MOST_DOCUMENTS} manifests", code="image-damaged")
            self._wholes[root.digest] = self._read_whole(root, depth)
        return self._wholes[root.digest]

    def _read_whole(self, root: Descriptor, depth: int) -> Outgoing | None:
        if self._store.blobs.size(root.digest) != root.size or depth > _DEEPEST:
            return None
        document = self._document(root)
        if isinstance(document, Index):
            parts = {child.digest: self._whole(child, depth + 1) for child in document.manifests}
            whole = [part for part in parts.values() if part is not None]
            return _joined(root, document.raw, whole) if len(whole) == len(parts) else None
        blobs = [blob for blob in (document.config, *document.layers) if not _stays_abroad(blob)]
        if not all(self._store.keeps(blob) for blob in blobs):
            return None
        return Outgoing(root, document.raw, (), tuple(blobs), self._shown(document))

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        try:
            return parse_manifest(self._store.blobs.read(descriptor.digest), descriptor.media_type)
        except ValueError as error:
            raise _damaged(descriptor.digest, error) from error

    def _shown(self, manifest: Manifest) -> tuple[tuple[Digest, Digest], ...]:
        if not manifest.layers or not all(media.is_layer(layer.media_type) for layer in manifest.layers):
            return ()
        try:
            config = parse_config(self._store.blobs.read(manifest.config.digest))
        except ValueError:
            return ()
        pairs = zip(manifest.layers, config.diff_ids, strict=False)
        return tuple((layer.digest, Digest(diff_id)) for layer, diff_id in pairs)[::-1]

    def _check_platform(self, manifest: Manifest, platform: Platform) -> None:
        try:
            have = parse_config(self._store.blobs.read(manifest.config.digest)).platform
        except ValueError as error:
            raise _damaged(manifest.digest, error) from error
        if match_rank(platform, have) is None:
            raise _no_platform(platform, (msgspec.structs.replace(manifest.descriptor, platform=have),))


def _joined(root: Descriptor, raw: bytes, parts: Iterable[Outgoing]) -> Outgoing:
    manifests: dict[Digest, tuple[Descriptor, bytes]] = {}
    blobs: dict[Digest, Descriptor] = {}
    shown: dict[Digest, Digest] = {}
    for part in parts:
        manifests |= {descriptor.digest: (descriptor, data) for descriptor, data in part.documents}
        blobs |= {blob.digest: blob for blob in part.blobs}
        shown |= dict(part.shown)
    return Outgoing(root, raw, tuple(manifests.values()), tuple(blobs.values()), tuple(shown.items()))


def _part(
    root: Descriptor, index: Index, here: tuple[Descriptor, ...], parts: dict[Digest, Outgoing]
) -> Outgoing | None:
    """Return the images of an index that are here, each with its attestations; None if there is none."""
    subjects = {child.digest for child in here if not _is_attestation(child)}
    kept = [child for child in here if child.digest in subjects or dict(child.annotations).get(_SUBJECT) in subjects]
    if not subjects:
        return None
    if len(kept) == 1:
        return msgspec.structs.replace(parts[kept[0].digest], replaces=root.digest)
    smaller = encode_index(msgspec.structs.replace(index, manifests=tuple(kept)))
    joined = _joined(smaller.descriptor, smaller.raw, [parts[child.digest] for child in kept])
    return msgspec.structs.replace(joined, replaces=root.digest)


def _damaged(digest: Digest, error: ValueError) -> StoreError:
    return StoreError(f"image {digest} in the store is damaged: {error}", code="image-damaged")


def _is_attestation(child: Descriptor) -> bool:
    return any(key == _KIND for key, _ in child.annotations)


def _stays_abroad(blob: Descriptor) -> bool:
    """Say whether a layer is one that registries need not have: its manifest says where it is."""
    return bool(blob.urls) and ("foreign" in blob.media_type or "nondistributable" in blob.media_type)


def _no_platform(platform: Platform, here: tuple[Descriptor, ...]) -> UsageError:
    offered = ", ".join(str(child.platform) for child in here if child.platform and not _is_attestation(child))
    return UsageError(
        f"the image is not in the store for {platform}", code="not-here-for-platform",
        hints=(f"it is there for {offered}",) if offered else (),
    )  # fmt: skip
