"""Which manifests and blobs of a source go to a target. Does I/O.

An index goes as a whole unless somebody asks for less. What is absent from an archive or the store is left out of the
index, which is then written anew. Attestations stay with the image that they are about.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.errors import UsageError
from firkin.images.copy.ends import Document, Source
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, Manifest, choose_manifest, encode_index, is_attestation
from firkin.oci.platform import Platform, match_rank

ABOUT = "vnd.docker.reference.digest"
"""The annotation of an attestation manifest that names the image it is about."""
Extent = Literal["all", "system", "index-only"]

_MOST_BYTES = 64 << 20
_MOST_MANIFESTS = 4096
_DEEPEST = 8


class Selection(msgspec.Struct, frozen=True):
    """What of an index is wanted: its `extent`, where `system` means `host`, or some platforms."""

    host: Platform
    extent: Extent = "all"
    platforms: tuple[Platform, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """What is copied: the document that the name will mean, and what is below it, the deepest first."""

    root: Document
    below: tuple[Document, ...] = ()
    left_out: tuple[Descriptor, ...] = ()

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """Every image and artefact."""
        return tuple(item for item in (*self.below, self.root) if isinstance(item, Manifest))


def blobs_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    """Return what a manifest names: its layers, then its configuration."""
    return (*manifest.layers, manifest.config)


def make_plan(source: Source, selection: Selection) -> Plan:
    """Read the manifests of a source, and choose among them.

    An image without an index is the one for any platform. Raises UsageError when a platform is not there, or nothing
    of an index, or when the index is too large.
    """
    root = source.root()
    if isinstance(root, Manifest) or selection.extent == "index-only":
        return Plan(root)
    wanted = selection.platforms or ((selection.host,) if selection.extent == "system" else ())
    if len(wanted) == 1:
        return Plan(choose_image(source, root, wanted[0]))
    if wanted:
        root = _only(root, wanted)
    return _Walk(source).plan(root)


def choose_image(source: Source, root: Document, platform: Platform) -> Manifest:
    """Return the image for a platform; raises UsageError if there is none."""
    document: Document | None = root
    for _ in range(_DEEPEST):
        if isinstance(document, Manifest):
            return document
        if document is None:
            break
        chosen = choose_manifest(document, platform)
        if chosen is None:
            raise _no_platform(document, platform)
        document = source.document(chosen)
    raise UsageError(f"the image for {platform} is not here", code="copy-platform")


def _no_platform(index: Index, platform: Platform) -> UsageError:
    there = ", ".join(dict.fromkeys(str(item.platform) for item in index.manifests if not is_attestation(item)))
    return UsageError(f"there is no image for {platform}", code="copy-platform", hints=(f"there is: {there}",))


def _only(index: Index, platforms: tuple[Platform, ...]) -> Index:
    """Return the index of some platforms, with the attestations of their images."""
    kept: set[Digest] = set()
    for platform in platforms:
        chosen = choose_manifest(index, platform)
        if chosen is None or chosen.platform is None or match_rank(platform, chosen.platform) is None:
            raise _no_platform(index, platform)
        kept.add(chosen.digest)
    listed = tuple(item for item in index.manifests if {item.digest, dict(item.annotations).get(ABOUT)} & kept)
    return encode_index(msgspec.structs.replace(index, manifests=listed))


class _Walk:
    """Reads all documents below an index, within bounds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[Digest, Document] = {}
        self._absent: dict[Digest, Descriptor] = {}
        self._bytes = 0

    def plan(self, root: Index) -> Plan:
        index = self._index(root, 0)
        if not index.manifests and root.manifests:
            raise UsageError("nothing of what the index lists is here", code="copy-platform")
        return Plan(index, tuple(self._found.values()), tuple(self._absent.values()))

    def _index(self, index: Index, depth: int) -> Index:
        if depth >= _DEEPEST:
            raise UsageError(f"an index lists indexes, more than {_DEEPEST} deep", code="copy-index")
        kept: list[Descriptor] = []
        for item in index.manifests:
            document = self._item(item, depth)
            if document is not None:
                kept.append(renewed(item, document))
        orphans = {item.digest for item in kept if dict(item.annotations).get(ABOUT) in self._absent}
        kept = [item for item in kept if item.digest not in orphans]
        for digest in orphans:
            self._found.pop(digest, None)
        if kept == list(index.manifests):
            return index
        return encode_index(msgspec.structs.replace(index, manifests=tuple(kept)))

    def _item(self, item: Descriptor, depth: int) -> Document | None:
        if item.media_type not in (*media.MANIFESTS, *media.INDEXES):
            raise UsageError(f"an index lists `{item.media_type}`, which is no manifest", code="copy-index")
        if item.digest in self._found:
            return self._found[item.digest]
        document = self._source.document(item) if item.digest not in self._absent else None
        if document is None:
            self._absent[item.digest] = item
            return None
        self._bytes += len(document.raw)
        if self._bytes > _MOST_BYTES or len(self._found) >= _MOST_MANIFESTS:
            bounds = f"{_MOST_MANIFESTS} manifests or {_MOST_BYTES >> 20} MiB of them"
            raise UsageError(f"the index is too large: it lists more than {bounds}", code="copy-index")
        if isinstance(document, Index):
            document = self._index(document, depth + 1)
        self._found[document.digest] = document
        return document


def renewed(item: Descriptor, document: Document | None) -> Descriptor:
    """Return an index's entry for a document that may have been written anew."""
    if document is None or item.digest == document.digest:
        return item
    return msgspec.structs.replace(item, digest=document.digest, size=len(document.raw), media_type=document.media_type)
