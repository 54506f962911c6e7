"""Finds the images in an archive, and checks that every part of them is what they say. Does I/O.

An archive has an `index.json` (an OCI layout), or a `manifest.json` (`docker save` before 25, Bazel, Kaniko, skopeo),
or both. The manifests of a layout are kept byte for byte, so that the digests of an image survive. Where only
`manifest.json` lists an image, it gets a manifest here.

Spec: image-spec image-layout.md. Mirrors: moby image/tarexport/load.go, containerd core/images/archive/importer.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from firkin.images.intake import Part, Parts
from firkin.images.pack import REPOSITORIES
from firkin.layer.compress import iter_decompressed
from firkin.layer.stream import write_tar
from firkin.oci import codec, media
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, Digest, parse_digest
from firkin.oci.image import Layer, is_image
from firkin.oci.manifest import Index, Manifest, encode_manifest, parse_manifest
from firkin.oci.reference import Reference, is_tag, parse_reference
from firkin.store.blobs import BlobWriter
from firkin.store.store import Store

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"

_DEEPEST = 4  # an index of indexes is rare, and readers of the store walk them
_MOST_NODES = 10_000
_MOST_REPOSITORIES = 100
_LINUX = "linux"


class Kept(msgspec.Struct, frozen=True):
    """Blobs to put into the store: files of the archive by digest, documents made here, layers compressed anew.

    `sizes` says what its layers unpack to, by diff_id.
    """

    parts: dict[Digest, Part] = {}
    documents: dict[Digest, bytes] = {}
    layers: dict[Digest, BlobWriter] = {}
    sizes: dict[str, int] = {}


class Node(msgspec.Struct, frozen=True):
    """An image or an index of the archive. `config` is None for an index and for what is no image (attestations).

    `children` are those that are here, `absent` those that an index names and the archive has not.
    """

    descriptor: Descriptor
    config: ImageConfig | None
    kept: Kept
    index: Index | None = None
    children: tuple[Node, ...] = ()
    absent: tuple[Descriptor, ...] = ()

    def images(self) -> tuple[Node, ...]:
        """Return the images beneath it, each once."""
        return tuple(node for node in self.nodes() if node.config is not None)

    def nodes(self) -> Iterator[Node]:
        """Yield everything beneath it and then itself, each once, however often indexes list it."""
        return _nodes(self, set())


def _nodes(node: Node, seen: set[Digest]) -> Iterator[Node]:
    seen.add(node.descriptor.digest)
    for child in node.children:
        if child.descriptor.digest not in seen:
            yield from _nodes(child, seen)
    yield node


class Listed(msgspec.Struct):
    """An image to load, under its names; `tag` is what the archive calls it if it says only a tag.

    `digests` are its digest names: the repositories that have (or had) this very document, as the archive says.
    """

    node: Node
    names: list[Reference]
    tag: str = ""
    digests: dict[Reference, None] = {}


Warn = Callable[[str, str], None]


def read_contents(parts: Parts, store: Store, new_blob: Callable[[], BlobWriter], warn: Warn) -> list[Listed]:
    """Return the images of an archive, everything in them verified; raises ValueError.

    `new_blob` makes room for a layer that must be compressed anew. `warn` takes code and text of what is left out.
    """
    return _Contents(parts, store, new_blob, warn).read()


class _ListedImage(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    Config: str = ""
    RepoTags: list[str] | None = None
    Layers: list[str] | None = None
    Parent: object = None
    LayerSources: object = None


def _shape() -> Any:
    from firkin.oci.gojson import TEXTS, Shape

    return [Shape(_ListedImage, RepoTags=TEXTS, Layers=TEXTS)]


class _Contents:
    def __init__(self, parts: Parts, store: Store, new_blob: Callable[[], BlobWriter], warn: Warn) -> None:
        self._parts = parts
        self._store = store
        self._new_blob = new_blob
        self._warn = warn
        self._nodes: dict[Digest, Node | None] = {}
        self._found: dict[Digest, Listed] = {}

    def read(self) -> list[Listed]:
        index, listed = self._parts.find("index.json"), self._parts.find("manifest.json")
        if index is None and listed is None:
            raise ValueError("invalid archive: does not contain a manifest.json, nor an index.json")
        if index is not None:
            self._layout(index)
        if listed is not None:
            self._listed(listed)
        return list(self._found.values())

    # --- a layout ---

    def _layout(self, part: Part) -> None:
        document = parse_manifest(part.read(), media.OCI_INDEX, "index.json")
        if not isinstance(document, Index):
            raise ValueError("index.json is not an index")
        for descriptor in document.manifests:
            node = self._node(descriptor, 0)
            if node is None:
                raise ValueError(f"index.json names {descriptor.digest}, which is not in the archive")
            if not node.images():
                self._warn("load-no-image", f"{descriptor.digest} is left out: it holds no image")
                continue
            _check_system(node)
            found = self._found.setdefault(node.descriptor.digest, Listed(node, []))
            name, tag = self._named(descriptor)
            found.tag = found.tag or tag
            found.digests |= self._digest_names(descriptor, name)
            self._add_name(found, name if name is None or name.tag else None)

    def _named(self, descriptor: Descriptor) -> tuple[Reference | None, str]:
        """Return the full name of an entry, or only the tag that it has."""
        notes = dict(descriptor.annotations)
        full, short = notes.get(FULL_NAME, ""), notes.get(REF_NAME, "")
        if full:
            return self._name(full), ""
        if not short or is_tag(short):
            return None, short
        return self._name(short), ""

    def _name(self, text: str) -> Reference | None:
        try:
            name = parse_reference(text)
        except ValueError as error:
            self._warn("load-name", f"a name in the archive is left out: {error}")
            return None
        return msgspec.structs.replace(name, digest=None) if name.tag else name

    def _digest_names(self, descriptor: Descriptor, name: Reference | None) -> dict[Reference, None]:
        """Return the digest names of an entry; what is not the digest of its own document does not count."""
        known = dict(descriptor.annotations).get(REPOSITORIES, "").split()[:_MOST_REPOSITORIES]
        found = [name, *(self._name(f"{repository}@{descriptor.digest}") for repository in known)]
        return {one: None for one in found if one is not None and not one.tag and one.digest == descriptor.digest}

    def _node(self, descriptor: Descriptor, depth: int) -> Node | None:
        """Return a document of the archive with all that it needs; None if something of that is not here."""
        digest = descriptor.digest
        if digest not in self._nodes:
            if depth > _DEEPEST or len(self._nodes) >= _MOST_NODES:
                raise ValueError("the indexes in the archive are too many, or nested too deeply")
            self._nodes[digest] = None  # while its children are read
            self._nodes[digest] = self._read_node(descriptor, depth)
        return self._nodes[digest]

    def _read_node(self, descriptor: Descriptor, depth: int) -> Node | None:
        kept = Kept({}, {}, {}, {})
        raw = self._document(descriptor, kept)
        if raw is None:
            return None
        document = parse_manifest(raw, descriptor.media_type, f"manifest {descriptor.digest}")
        bare = msgspec.structs.replace(document.descriptor, digest=descriptor.digest)
        if isinstance(document, Manifest):
            return self._image(bare, document, kept, missing_is_error=depth == 0)
        children = [(item, self._node(item, depth + 1)) for item in document.manifests]
        here = tuple(node for _, node in children if node is not None)
        absent = tuple(item for item, node in children if node is None)
        return Node(bare, None, kept, document, here, absent)

    def _image(self, bare: Descriptor, document: Manifest, kept: Kept, *, missing_is_error: bool) -> Node | None:
        raw = self._document(document.config, kept)
        blobs = [self._blob(layer, kept) for layer in document.layers]
        missing = [document.config] * (raw is None) + [
            layer for layer, blob in zip(document.layers, blobs, strict=True) if blob is False
        ]
        if missing:
            if missing_is_error:
                raise ValueError(f"blob {missing[0].digest} of the image {bare.digest} is not in the archive")
            return None
        if not is_image(document):
            return Node(bare, None, kept)
        assert raw is not None
        config = parse_config(raw, f"configuration {document.config.digest}")
        _check_count(len(config.diff_ids), len(document.layers))
        for diff_id, blob in zip(config.diff_ids, blobs, strict=True):
            if isinstance(blob, Part):
                _check_diff_id(blob, diff_id, kept)
        return Node(bare, config, kept)

    def _document(self, descriptor: Descriptor, kept: Kept) -> bytes | None:
        found = self._blob(descriptor, kept)
        if isinstance(found, Part):
            return found.read()
        return self._store.blobs.read(descriptor.digest) if found else None

    def _blob(self, descriptor: Descriptor, kept: Kept) -> Part | bool:
        """Return the file of a blob, verified; without one, whether the store has the blob already."""
        digest = descriptor.digest
        part = self._parts.find(f"blobs/{digest.replace(':', '/')}")
        if part is None:
            return self._store.keeps(descriptor)
        if digest.partition(":")[0] != "sha256":
            raise ValueError(f"{digest}: digests in archives must be sha256")
        if part.digest != digest:
            raise ValueError(f"`{part.name}` is damaged: its digest is {part.digest}")
        if part.size != descriptor.size:
            raise ValueError(f"`{part.name}` has {part.size} bytes, and should have {descriptor.size}")
        kept.parts[digest] = part
        return part

    # --- manifest.json ---

    def _listed(self, part: Part) -> None:
        raw = part.read()
        if raw.strip() == b"null":
            raise ValueError("invalid manifest.json: it is null")
        for number, entry in enumerate(codec.decode_like_go(raw, list[_ListedImage], "manifest.json", _shape)):
            self._listed_image(number, entry)

    def _listed_image(self, number: int, entry: _ListedImage) -> None:
        part = self._parts.find(entry.Config) if entry.Config else None
        if part is None:
            raise ValueError(f"manifest.json: image {number} has no configuration `{entry.Config}` in the archive")
        _check_name(part, entry.Config)
        config = parse_config(part.read(), f"`{entry.Config}`")
        found = next((one for one in self._found.values() if _has(one.node, part.digest)), None)
        if found is None:
            node = self._made(config, part, entry.Layers or [])
            _check_system(node)
            found = self._found.setdefault(node.descriptor.digest, Listed(node, []))
        for text in entry.RepoTags or ():
            name = self._name(text)
            self._add_name(found, name if name is None or name.tag else None)

    def _made(self, config: ImageConfig, part: Part, names: list[str]) -> Node:
        """Return the image of an entry of manifest.json, with a manifest."""
        _check_count(len(config.diff_ids), len(names))
        kept = Kept({part.digest: part}, {}, {}, {})
        layers = [
            self._layer(name, diff_id, kept) for name, diff_id in zip(names, config.diff_ids, strict=True)
        ]
        zstd = any(layer.descriptor.media_type == "zstd" for layer in layers)
        family: media.Family = "oci" if zstd else "docker"
        described = tuple(
            msgspec.structs.replace(
                layer.descriptor, media_type=media.layer_media_type(family, _compression(layer.descriptor.media_type))
            )
            for layer in layers
        )
        configured = Descriptor(media.config_media_type(family), part.digest, part.size)
        manifest = encode_manifest(Manifest(media.manifest_media_type(family), configured, described))
        kept.documents[manifest.digest] = manifest.raw
        return Node(manifest.descriptor, config, kept)

    def _layer(self, name: str, diff_id: DiffID, kept: Kept) -> Layer:
        """Return a layer of manifest.json; instead of a media type its descriptor has the compression."""
        part = self._parts.find(name)
        if part is None:
            raise ValueError(f"manifest.json: the layer `{name}` is not in the archive")
        _check_name(part, name)
        _check_diff_id(part, diff_id, kept)
        if part.form in ("bzip2", "xz"):
            return self._recompressed(part, diff_id, kept)
        kept.parts[part.digest] = part
        return Layer(diff_id, Descriptor(part.form, part.digest, part.size))

    def _recompressed(self, part: Part, diff_id: DiffID, kept: Kept) -> Layer:
        """Compress a layer with gzip: no media type stands for its own compression."""
        writer = self._new_blob()
        written = write_tar(iter_decompressed(part.chunks(), part.form), writer)
        writer.end()
        kept.layers[written.digest] = writer
        return Layer(diff_id, Descriptor("gzip", written.digest, written.size))

    def _add_name(self, found: Listed, name: Reference | None) -> None:
        """Give an image a name; of two images with the same name the later one keeps it, as in `docker load`."""
        if name is None or name in found.names:
            return
        for other in self._found.values():
            if name in other.names:
                other.names.remove(name)
                self._warn("load-name", f"the archive gives two images the name {name.familiar}: the later counts")
        found.names.append(name)


def _has(node: Node, config: Digest) -> bool:
    return any(image.config is not None and image.config.digest == config for image in node.images())


def _compression(form: str) -> media.Compression:
    return "gzip" if form == "gzip" else "zstd" if form == "zstd" else "none"


def _check_system(node: Node) -> None:
    systems = {image.config.platform.os for image in node.images() if image.config is not None}
    if _LINUX not in systems:
        raise ValueError(f"cannot load {sorted(systems)[0]} image on {_LINUX}")


def _check_count(wanted: int, found: int) -> None:
    if wanted != found:
        raise ValueError(f"invalid manifest, layers length mismatch: expected {wanted}, got {found}")


def _check_diff_id(part: Part, diff_id: DiffID, kept: Kept) -> None:
    """Check what a layer holds, and note what it unpacks to. Raises ValueError."""
    if part.failure is not None:
        raise part.failure
    if part.diff_id != diff_id:
        raise ValueError(f"the layer `{part.name}` holds {part.diff_id or 'nothing'}, but its image says {diff_id}")
    if part.unpacked is not None:
        kept.sizes[diff_id] = part.unpacked


def _check_name(part: Part, name: str) -> None:
    """Check the digest in the name of a file: `blobs/sha256/HEX`, `sha256:HEX`, `HEX.json`."""
    last = name.rpartition("/")[2]
    if name.startswith("blobs/sha256/"):
        last = f"sha256:{last}"
    elif last.endswith(".json"):
        last = f"sha256:{last.removesuffix('.json')}"
    try:
        stated = parse_digest(last)
    except ValueError:
        return
    if stated != part.digest:
        raise ValueError(f"`{name}` is damaged: its digest is {part.digest}")
