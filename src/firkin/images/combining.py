"""Makes an index of images in registries, by name, digest or descriptor: `buildx imagetools create`. Does I/O.

Nothing but manifests is read. Images of other repositories are mounted, or copied, to where the index goes. Descriptors
keep every key that they have. Mirrors: buildx util/imagetools Combine, commands/imagetools/create.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from firkin.decode import decode_json
from firkin.errors import RegistryError, UsageError
from firkin.images.bring import bring_blobs
from firkin.images.names import read_reference
from firkin.images.progress import Transfer
from firkin.oci import media
from firkin.oci.codec import MAX_DOCUMENT_BYTES, readable
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of, parse_digest, whole_digest
from firkin.oci.manifest import Index, Manifest, PairMap, descriptor_json, parse_manifest
from firkin.oci.platform import Platform, match_rank, normalize
from firkin.oci.reference import Reference

_DEEPEST = 3
_MOST_DOCUMENTS = 4096
_SUBJECT = "vnd.docker.reference.digest"


class Source(msgspec.Struct, frozen=True):
    """An image or index to take in: a name, or `given`, a descriptor as JSON has it, of which the digest is known."""

    text: str
    reference: Reference | None = None
    given: Mapping[str, Any] = {}


class Child(msgspec.Struct, frozen=True):
    """An entry of the new index: its descriptor, all keys of it, and where it is now."""

    descriptor: Descriptor
    document: Mapping[str, Any]
    source: Reference

    @property
    def subject(self) -> str:
        """The digest of the image that this is an attestation of, "" for an image."""
        return dict(self.descriptor.annotations).get(_SUBJECT, "")


class Combined(msgspec.Struct, frozen=True):
    """The document to push, and what has to be where it goes."""

    media_type: str
    raw: bytes
    children: tuple[Child, ...]

    @property
    def digest(self) -> Digest:
        return digest_of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))


def read_source(text: str) -> Source:
    """Read a source as users write it: a digest, a name, or a descriptor in JSON. Raises UsageError."""
    digest = whole_digest(text) if text.startswith("sha256:") else None
    if digest is not None:
        return Source(text, None, {"digest": digest})
    if not text.lstrip().startswith("{"):
        return Source(text, read_reference(text))
    try:
        given = decode_json(text.encode("utf-8", "surrogateescape"), dict[str, Any])
        return Source(text, None, {**given, "digest": parse_digest(str(given.get("digest", "")))})
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"failed to parse source: {error}", hints=("valid sources are digests, references and descriptors",)
        ) from None


def place_sources(sources: Sequence[Source], targets: Sequence[Reference]) -> tuple[Source, ...]:
    """Give sources without a name the one repository that everything else is in. Raises UsageError."""
    names = [source.reference for source in sources if source.reference is not None]
    repositories = {name.name: name for name in (*targets, *names)}
    if not repositories:
        raise UsageError("no repositories specified, please set a reference in tag or source")
    placed = []
    for source in sources:
        if source.reference is None:
            if len(repositories) > 1:
                raise UsageError(f"multiple repositories specified, cannot infer repository for `{source.text}`")
            (only,) = repositories.values()
            source = msgspec.structs.replace(source, reference=only.pinned(Digest(str(source.given["digest"]))))
        placed.append(source)
    return tuple(placed)


def combine(
    transfer: Transfer, sources: Sequence[Source], *, annotations: PairMap = (), of_children: PairMap = (),
    platforms: Sequence[Platform] = (), prefer_index: bool = True,
) -> Combined:  # fmt: skip
    """Return the index of all sources, which have names (`place_sources`).

    A single source that is not to be changed stays as it is, byte for byte: an index, or with `prefer_index` off an
    image. Of two images for one platform the later counts. `annotations` are the index's, `of_children` those of each
    entry. `platforms` filters; attestations stay with their images. Raises RegistryError, UsageError.
    """
    documents = [_document(transfer, source) for source in sources]
    changed = bool(annotations or of_children or platforms)
    if len(sources) == 1 and not changed and (isinstance(documents[0], Index) or not prefer_index):
        return _as_it_is(transfer, sources[0], documents[0])
    listed = [child for pair in zip(sources, documents, strict=True) for child in _children(*pair, transfer)]
    kept = _filtered(_latest(_merged(listed)), platforms)
    if not kept:
        raise UsageError("no image is for one of these platforms", code="no-platform-kept")
    return _written([_annotated(child, of_children) for child in kept], annotations, plain=not changed)


def _as_it_is(transfer: Transfer, source: Source, document: Manifest | Index) -> Combined:
    if isinstance(document, Index):
        children = tuple(_children(source, document, transfer))
    else:
        assert source.reference is not None
        children = (Child(document.descriptor, descriptor_json(document.descriptor), source.reference),)
    return Combined(document.media_type, document.raw, children)


def _written(kept: Sequence[Child], annotations: PairMap, *, plain: bool) -> Combined:
    """Return the index of these; Docker's kind is for Docker's images alone, and has no annotations."""
    all_docker = plain and all("docker" in child.descriptor.media_type for child in kept)
    kind = media.index_media_type("docker" if all_docker else "oci")
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind, "manifests": [child.document for child in kept]}
    if annotations:
        document["annotations"] = dict(sorted(annotations))
    return Combined(kind, msgspec.json.format(msgspec.json.encode(document), indent=2), tuple(kept))


def push_combined(
    transfer: Transfer, combined: Combined, target: Reference, told: Callable[[str], None]
) -> Digest:
    """Bring everything to the target's repository that is elsewhere, and give it the name. Raises RegistryError."""
    done: set[Digest] = set()
    for child in combined.children:
        if child.source.name != target.name:
            told(f"copying {child.descriptor.digest} from {child.source} to {target}")
            is_root = child.descriptor.digest == combined.digest
            _copy(transfer, child.source, child.descriptor, target, done, with_root=not is_root)
    told(f"pushing {combined.digest} to {target}")
    return transfer.client.push_manifest(target, combined.raw, combined.media_type)


def _copy(
    transfer: Transfer, source: Reference, root: Descriptor, target: Reference, done: set[Digest], depth: int = 0, *,
    with_root: bool = True,
) -> None:  # fmt: skip
    if root.digest in done:
        return  # indexes may list the same many times
    if len(done) >= _MOST_DOCUMENTS:
        raise RegistryError(f"{source.familiar}: the index lists more than {_MOST_DOCUMENTS} manifests",
                            code="image-invalid")  # fmt: skip
    done.add(root.digest)
    document = transfer.client.get_manifest(source.pinned(root.digest))
    if isinstance(document, Index):
        if depth == _DEEPEST:
            raise RegistryError(f"{source.familiar}: indexes are nested too deeply", code="image-invalid")
        for child in document.manifests:
            _copy(transfer, source, child, target, done, depth + 1)
    else:
        bring_blobs(transfer, (document.config, *document.layers), source, target)
    if with_root:
        transfer.client.push_manifest(target.pinned(root.digest), document.raw, document.media_type)


def _document(transfer: Transfer, source: Source) -> Manifest | Index:
    assert source.reference is not None
    name = source.reference
    if source.given:
        name = name.pinned(Digest(str(source.given["digest"])))
    return transfer.client.get_manifest(name)


def _children(source: Source, document: Manifest | Index, transfer: Transfer) -> Iterable[Child]:
    assert source.reference is not None
    if isinstance(document, Index):
        listed = msgspec.json.decode(readable(document.raw))["manifests"]
        for descriptor, entry in zip(document.manifests, listed, strict=True):
            yield Child(descriptor, entry, source.reference)
        return
    root = document.descriptor
    if document.config.media_type in (media.OCI_CONFIG, media.DOCKER_CONFIG):
        platform = transfer.client.get_config(source.reference, document).platform
        root = msgspec.structs.replace(root, platform=platform)
    entry = descriptor_json(root)
    # What a descriptor says of itself counts for more than what was found; its digest is the one that was asked for.
    given = {key: value for key, value in source.given.items() if key not in ("digest", "size") and value}
    merged = {**entry, **given}
    yield Child(_descriptor(merged), merged, source.reference)


def _descriptor(document: Mapping[str, Any]) -> Descriptor:
    """Return a descriptor of JSON that a user wrote. Raises UsageError."""
    raw = msgspec.json.encode({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [document]})
    try:
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError("it is too long")
        index = parse_manifest(raw)
    except ValueError as error:
        raise UsageError(f"failed to parse source: {error}") from None
    assert isinstance(index, Index)
    return index.manifests[0]


def _merged(children: Iterable[Child]) -> list[Child]:
    """Join entries of one digest: platform and annotations of the later count."""
    found: dict[Digest, Child] = {}
    for child in children:
        known = found.get(child.descriptor.digest)
        if known is None:
            found[child.descriptor.digest] = child
            continue
        document = {**known.document}
        if child.document.get("platform"):
            document["platform"] = child.document["platform"]
        if child.document.get("annotations"):
            document["annotations"] = {**(document.get("annotations") or {}), **child.document["annotations"]}
        found[child.descriptor.digest] = Child(_descriptor(document), document, known.source)
    return list(found.values())


def _latest(children: list[Child]) -> list[Child]:
    """Leave out images that a later one of the same platform replaces, and their attestations."""
    last = {_platform(child): child.descriptor.digest for child in children if not child.subject and _platform(child)}
    gone = {
        child.descriptor.digest
        for child in children
        if not child.subject and _platform(child) and last[_platform(child)] != child.descriptor.digest
    }
    return [child for child in children if child.descriptor.digest not in gone and child.subject not in gone]


def _platform(child: Child) -> str:
    """Return the platform of an image, "" if it has none that an image can run on."""
    platform = child.descriptor.platform
    if platform is None or platform.os in ("", "unknown"):
        return ""
    return f"{platform} {platform.os_version} {','.join(platform.os_features)}"


def _filtered(children: list[Child], platforms: Sequence[Platform]) -> list[Child]:
    if not platforms:
        return children
    wanted = [normalize(item.os, item.architecture, item.variant, item.os_version) for item in platforms]
    images = {
        child.descriptor.digest
        for child in children
        if child.descriptor.platform and any(match_rank(item, child.descriptor.platform) == 0 for item in wanted)
    }
    return [child for child in children if child.descriptor.digest in images or child.subject in images]


def _annotated(child: Child, annotations: PairMap) -> Child:
    if child.subject or not annotations:
        return child
    document = {**child.document, "annotations": {**(child.document.get("annotations") or {}), **dict(annotations)}}
    return Child(child.descriptor, document, child.source)
