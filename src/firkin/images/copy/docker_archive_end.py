"""Docker archives (`docker save`) as sources. Does I/O.

An archive that is also an OCI layout has the manifests of its images, with their digests. For others a manifest is
made, for which every layer is read once before it is copied.
"""

from __future__ import annotations

from typing import Any

import msgspec

from firkin.errors import UsageError
from firkin.images.archive_reader import Files
from firkin.images.copy.documents import check_choice, read_document, read_small, reading
from firkin.images.copy.ends import Document
from firkin.images.copy.files_end import FilesSource, blob_path
from firkin.images.copy.places import Place
from firkin.layer.compress import MAGIC_BYTES, detect_format
from firkin.oci import codec, media
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of, finish, new_hasher
from firkin.oci.image import Layer, assemble
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.reference import Reference, parse_reference
from firkin.tasks.cancel import Cancel

_CHUNK = 1 << 20
_DEEPEST = 3
_MOST_LAYERS = 4096


class Listed(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An image in manifest.json."""

    Config: str
    Layers: list[str] | None = None
    RepoTags: list[str] | None = None
    LayerSources: object = None
    Parent: object = None


def _listed_shape() -> Any:
    from firkin.oci.gojson import TEXTS, Shape

    return [Shape(Listed, Layers=TEXTS, RepoTags=TEXTS)]


class DockerArchiveSource(FilesSource):
    """One image of a docker archive; `path` is a tar, compressed or not, or a directory."""

    whole = True

    def __init__(self, place: Place, path: str, files: Files, cancel: Cancel) -> None:
        super().__init__(path, files)
        self._place = place
        self._cancel = cancel
        self._paths: dict[Digest, str] = {}

    def __enter__(self) -> DockerArchiveSource:
        return self

    def listed(self) -> list[Listed]:
        """Return the images of the archive. Raises ContextError when it is none."""
        with reading(self._what):
            raw = read_small(self._files.open, "manifest.json")
            if raw is None:
                raise ValueError("it is no docker archive: manifest.json is missing")
            return codec.decode_like_go(raw, list[Listed], "manifest.json", _listed_shape)

    def root(self) -> Document:
        """Return the image that was chosen by name or number, or the only one. Raises UsageError."""
        item = self._chosen(self.listed())
        with reading(self._what):
            config = read_small(self._files.open, item.Config)
            if config is None:
                raise ValueError(f"`{item.Config}` is missing")
            found = self._original(digest_of(config))
            return found or self._made(item, config)

    def document(self, item: Descriptor) -> Document | None:
        """There are no indexes."""
        return None

    def _place_of(self, blob: Descriptor) -> str:
        return self._paths.get(blob.digest) or blob_path(blob)

    def _chosen(self, listed: list[Listed]) -> Listed:
        name = self._place.name
        if not name:
            return listed[check_choice(self._what, len(listed), self._place.number)]
        wanted = parse_reference(name)
        for item in listed:
            if wanted in map(_reference, item.RepoTags or ()):
                return item
        there = ", ".join(tag for item in listed for tag in item.RepoTags or ())
        raise UsageError(f"{self._what} has no image `{name}`", hints=(f"it has: {there[:500]}",) if there else ())

    def _original(self, config: Digest) -> Manifest | None:
        """Return the manifest of a configuration, if the archive is a layout as well and has all of it."""
        raw = read_small(self._files.open, "index.json")
        index = parse_manifest(raw, media.OCI_INDEX) if raw is not None else None
        found = self._search(index, config, 0, set()) if isinstance(index, Index) else None
        if found is None or not all(self.has(layer) for layer in found.layers):
            return None
        return found

    def _search(self, index: Index, config: Digest, depth: int, seen: set[Digest]) -> Manifest | None:
        for item in index.manifests:
            if item.digest in seen:
                continue
            seen.add(item.digest)
            document = read_document(self._files.open, blob_path(item), item)
            if isinstance(document, Index) and depth < _DEEPEST:
                document = self._search(document, config, depth + 1, seen)
            if isinstance(document, Manifest) and document.config.digest == config:
                return document
        return None

    def _made(self, item: Listed, config: bytes) -> Manifest:
        names = item.Layers or []
        parsed = parse_config(config)
        if len(names) != len(parsed.diff_ids) or len(names) > _MOST_LAYERS:
            raise ValueError(f"the configuration lists {len(parsed.diff_ids)} layers, manifest.json {len(names)}")
        described = {name: self._describe(name) for name in dict.fromkeys(names)}
        self._paths = {layer.digest: name for name, layer in described.items()}
        self._paths[digest_of(config)] = item.Config
        layers = tuple(Layer(diff_id, described[name]) for diff_id, name in zip(parsed.diff_ids, names, strict=True))
        family = media.layer_family(described[names[0]].media_type) if names else "docker"
        return assemble(parsed, layers, family).manifest

    def _describe(self, name: str) -> Descriptor:
        file = self._files.open(name)
        if file is None:
            raise ValueError(f"the layer `{name}` is missing")
        hasher, size, start = new_hasher(), 0, b""
        with file:
            while chunk := file.read(_CHUNK):
                self._cancel.check()
                start = start or chunk[:MAGIC_BYTES]
                hasher.update(chunk)
                size += len(chunk)
        compression = detect_format(start)
        if compression not in ("none", "gzip"):
            raise ValueError(f"the layer `{name}` has the compression {compression}, which needs an OCI layout")
        return Descriptor(media.layer_media_type("docker", compression), finish(hasher), size)


def tags_of(listed: list[Listed]) -> tuple[str, ...]:
    """Return the names in an archive; an image without one is `@N`. Mirrors: skopeo list-tags."""
    return tuple(
        name for number, item in enumerate(listed) for name in (item.RepoTags or (f"@{number}",))
    )  # fmt: skip


def _reference(tag: str) -> Reference | None:
    try:
        return parse_reference(tag)
    except ValueError:
        return None
