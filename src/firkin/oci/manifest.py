"""Image manifests and indexes, OCI and Docker schema 2, with their raw bytes. Pure.

Spec: image-spec manifest.md, image-index.md. A pulled document is never encoded anew.
"""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from firkin.oci import codec, media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of, parse_digest
from firkin.oci.platform import Platform, match_rank, normalize

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

PairMap = tuple[tuple[str, str], ...]
MAX_SIZE = 2**53  # bytes: every JSON reader holds such a number exactly, and sums of them fit a signed 64-bit number


class Manifest(msgspec.Struct, frozen=True):
    """One image: its configuration and layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: PairMap = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    raw: bytes = b""

    @property
    def digest(self) -> Digest:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))


class Index(msgspec.Struct, frozen=True):
    """Several manifests under one name, usually one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: PairMap = ()
    raw: bytes = b""
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def digest(self) -> Digest:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))


class _Platform(
    msgspec.Struct,
    rename={"os_version": "os.version", "os_features": "os.features"},
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = None
    os_features: list[str] | None = None


class _Descriptor(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    mediaType: str
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None
    artifactType: str | None = None


class _Document(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    schemaVersion: int
    mediaType: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    annotations: dict[str, str] | None = None
    subject: _Descriptor | None = None
    artifactType: str | None = None


def _shape() -> "Shape":
    from firkin.oci.gojson import TEXT_MAP, TEXTS, Shape

    platform = Shape(_Platform, **{"os.features": TEXTS})
    descriptor = Shape(_Descriptor, platform=platform, annotations=TEXT_MAP, urls=TEXTS)
    return Shape(
        _Document, config=descriptor, layers=[descriptor], manifests=[descriptor], annotations=TEXT_MAP,
        subject=descriptor,
    )


def parse_manifest(raw: bytes, media_type: str = "", what: str = "manifest") -> Manifest | Index:
    """Read a manifest or index.

    `media_type` is the one that the transport gave. The document's own takes precedence, since proxies convert and
    cache. Neither may call a manifest an index, and a document that is both kinds at once is refused.
    Raises ValueError.
    """
    document = codec.decode_like_go(raw, _Document, what, _shape)
    if document.schemaVersion != 2:
        raise ValueError(
            f"{what}: schema version {document.schemaVersion} is not supported "
            "(Docker schema 1 images must be pushed again by a current tool)"
        )
    kind = _kind(document.mediaType or "", media_type, what)
    config, layers, manifests = document.config, document.layers, document.manifests
    if manifests is not None and config is None and layers is None:
        return _index(document, manifests, kind or media.OCI_INDEX, raw, what)
    if config is None or layers is None or manifests is not None:
        raise ValueError(f"{what}: neither an image manifest nor an index")
    return _manifest(document, config, layers, kind or media.OCI_MANIFEST, raw, what)


def _kind(own: str, media_type: str, what: str) -> str:
    """Return the document's own media type, else the transport's if it is a known one. Raises ValueError."""
    known = (*media.MANIFESTS, *media.INDEXES)
    stated = media_type.partition(";")[0].strip()
    if stated in known and own in known and (stated in media.INDEXES) != (own in media.INDEXES):
        raise ValueError(f"{what}: sent as `{stated}` but says it is `{own}`")
    return own or (stated if stated in known else "")


def _index(document: _Document, manifests: list[_Descriptor], kind: str, raw: bytes, what: str) -> Index:
    if kind not in media.INDEXES:
        raise ValueError(f"{what}: lists manifests but its media type is `{kind}`")
    items = tuple(_descriptor(item, what) for item in manifests)
    return Index(
        kind, items, _pairs(document.annotations), raw, _subject(document, what), document.artifactType or ""
    )


def _subject(document: _Document, what: str) -> Descriptor | None:
    return _descriptor(document.subject, what) if document.subject else None


def _manifest(
    document: _Document, config: _Descriptor, layers: list[_Descriptor], kind: str, raw: bytes, what: str
) -> Manifest:
    if kind not in media.MANIFESTS:
        raise ValueError(f"{what}: has layers but its media type is `{kind}`")
    return Manifest(
        kind,
        _descriptor(config, what),
        tuple(_descriptor(item, what) for item in layers),
        _pairs(document.annotations),
        _subject(document, what),
        document.artifactType or "",
        raw,
    )


def _pairs(mapping: dict[str, str] | None) -> PairMap:
    return tuple((mapping or {}).items())


def _descriptor(item: _Descriptor, what: str) -> Descriptor:
    platform = None
    if item.platform is not None:
        found = item.platform
        platform = normalize(found.os, found.architecture, found.variant or "", found.os_version or "")
        if found.os_features:
            platform = msgspec.structs.replace(platform, os_features=tuple(found.os_features))
    return Descriptor(
        item.mediaType,
        parse_digest(item.digest),
        item.size,
        platform,
        _pairs(item.annotations),
        tuple(item.urls or ()),
        item.artifactType or "",
    )


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return the descriptor as the JSON object of the spec."""
    data: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.urls:
        data["urls"] = descriptor.urls
    if descriptor.annotations:
        data["annotations"] = dict(descriptor.annotations)
    if descriptor.platform is not None:
        data["platform"] = platform_json(descriptor.platform)
    if descriptor.artifact_type:
        data["artifactType"] = descriptor.artifact_type
    return data


def platform_json(platform: Platform) -> dict[str, Any]:
    """Return the platform as the JSON object of the spec."""
    data: dict[str, Any] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        data["os.version"] = platform.os_version
    if platform.os_features:
        data["os.features"] = platform.os_features
    if platform.variant:
        data["variant"] = platform.variant
    return data


def encode_manifest(manifest: Manifest) -> Manifest:
    """Return the manifest with `raw` written from its fields, deterministically."""
    data: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.media_type}
    if manifest.artifact_type:
        data["artifactType"] = manifest.artifact_type
    data["config"] = descriptor_json(manifest.config)
    data["layers"] = [descriptor_json(layer) for layer in manifest.layers]
    if manifest.subject is not None:
        data["subject"] = descriptor_json(manifest.subject)
    if manifest.annotations:
        data["annotations"] = dict(sorted(manifest.annotations))
    return msgspec.structs.replace(manifest, raw=codec.encode(data))


def encode_index(index: Index) -> Index:
    """Return the index with `raw` written from its fields, deterministically."""
    data: dict[str, Any] = {"schemaVersion": 2, "mediaType": index.media_type}
    if index.artifact_type:
        data["artifactType"] = index.artifact_type
    data["manifests"] = [descriptor_json(item) for item in index.manifests]
    if index.subject is not None:
        data["subject"] = descriptor_json(index.subject)
    if index.annotations:
        data["annotations"] = dict(sorted(index.annotations))
    return msgspec.structs.replace(index, raw=codec.encode(data))


def is_attestation(item: Descriptor) -> bool:
    """Say whether an index's entry is no image but a statement about one. Mirrors: buildkit, attestation manifests."""
    return item.platform is not None and item.platform.os == "unknown"


def choose_manifest(index: Index, wanted: Platform) -> Descriptor | None:
    """Return the entry that serves the platform best; the first of equals.

    Attestation manifests (`unknown/unknown`) are never chosen. An entry without a platform serves
    any, as a last resort.
    """
    best: Descriptor | None = None
    best_rank = 1 << 30
    for item in index.manifests:
        if item.media_type not in (*media.MANIFESTS, *media.INDEXES):
            continue
        rank = 1 << 20 if item.platform is None else match_rank(wanted, item.platform)
        if rank is not None and rank < best_rank:
            best, best_rank = item, rank
    return best
