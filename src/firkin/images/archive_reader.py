"""Reads an image from a docker archive or an OCI layout. Does I/O.

The archive is a tar, compressed or not, or a directory. It must hold exactly one image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import msgspec

from firkin.errors import ContextError
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import limit_hints
from firkin.linux.beneath import Beneath
from firkin.oci import codec, media
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, finish, new_hasher
from firkin.oci.image import Image, Layer, assemble, image_of
from firkin.oci.manifest import Index, parse_manifest

_CHUNK = 1 << 20
_MAX_DOCUMENT_BYTES = 16 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Files(Protocol):
    """The files of an archive, by their names in it."""

    def open(self, name: str) -> BinaryIO | None:
        """Open a file from its start; return None if it does not exist."""

    def close(self) -> None:
        """Release them; files that are open stay usable."""


class _Directory:
    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> BinaryIO | None:
        # A job of somebody else may have made the directory: no name and no link in it may lead out of it.
        try:
            with Beneath(self._path) as root:
                fd = root.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return open(fd, "rb")
        os.close(fd)
        return None

    def close(self) -> None:
        """Each file has its own handle."""


def open_directory(path: str) -> Files:
    """Return the files of a directory."""
    return _Directory(path)


def open_files(
    path: str,
    scratch: Callable[[], str],
    check: Callable[[], None] = lambda: None,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> Files:
    """Return the files of a tar or a directory; raises ContextError (`push-source`) when it cannot be read.

    `scratch` returns a directory, which a compressed tar needs while it is open; `check` may raise to stop.
    """
    if os.path.isdir(path):
        return open_directory(path)
    from firkin.images.tar_files import TarFiles

    try:
        return TarFiles(path, scratch, limits, check)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        hints = limit_hints(error) if isinstance(error, ValueError) else ()
        raise ContextError(f"cannot read {path}: {why}", code="push-source", hints=hints) from error


def read_image(files: Files) -> tuple[Image, dict[Digest, str]]:
    """Return the one image of an archive and the files that are its layers; raises ValueError."""
    index = _read(files, "index.json")
    if index is not None:
        return _from_layout(files, index)
    listed = _read(files, "manifest.json")
    if listed is None:
        raise ValueError("it is neither a docker archive nor an OCI layout")
    return _from_archive(files, listed)


def _from_layout(files: Files, raw: bytes) -> tuple[Image, dict[Digest, str]]:
    document = parse_manifest(raw, media.OCI_INDEX)
    assert isinstance(document, Index)
    found = {item.digest: item for item in document.manifests}
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} images, not one")
    (descriptor,) = found.values()
    manifest = parse_manifest(_blob(files, descriptor.digest), descriptor.media_type)
    if isinstance(manifest, Index):
        raise ValueError("it holds an index of several platforms; push it with `firkin push`")
    image = image_of(parse_config(_blob(files, manifest.config.digest)), manifest)
    return image, {layer.descriptor.digest: _place(layer.descriptor.digest) for layer in image.layers}


class _Listed(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    Config: str
    Layers: list[str] | None = None
    RepoTags: object = None
    LayerSources: object = None


def _listed_shape() -> Any:
    from firkin.oci.gojson import TEXTS, Shape

    return [Shape(_Listed, Layers=TEXTS)]


def _from_archive(files: Files, raw: bytes) -> tuple[Image, dict[Digest, str]]:
    listed = codec.decode_like_go(raw, list[_Listed], "manifest.json", _listed_shape)
    if len(listed) != 1:
        raise ValueError(f"it holds {len(listed)} images, not one")
    data = _read(files, listed[0].Config)
    if data is None:
        raise ValueError(f"`{listed[0].Config}` is missing")
    config: ImageConfig = parse_config(data)
    names = listed[0].Layers or []
    described = [_describe(files, name) for name in names]
    if len(described) != len(config.diff_ids):
        raise ValueError(f"the configuration lists {len(config.diff_ids)} layers, the archive {len(described)}")
    layers = tuple(map(Layer, config.diff_ids, described))
    places = {item.digest: name for item, name in zip(described, names, strict=True)}
    return assemble(config, layers, "docker"), places


def _describe(files: Files, name: str) -> Descriptor:
    file = files.open(name)
    if file is None:
        raise ValueError(f"the layer `{name}` is missing")
    hasher, size, start = new_hasher(), 0, b""
    with file:
        while chunk := file.read(_CHUNK):
            start = start or chunk[:4]
            hasher.update(chunk)
            size += len(chunk)
    if start.startswith(_ZSTD):
        raise ValueError("layers with zstd need an OCI layout")
    kind = media.layer_media_type("docker", "gzip" if start.startswith(_GZIP) else "none")
    return Descriptor(kind, finish(hasher), size)


def _read(files: Files, name: str) -> bytes | None:
    file = files.open(name)
    if file is None:
        return None
    with file:
        data = file.read(_MAX_DOCUMENT_BYTES + 1)
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise ValueError(f"`{name}` is too large")
    return data


def _blob(files: Files, digest: Digest) -> bytes:
    data = _read(files, _place(digest))
    if data is None:
        raise ValueError(f"blob {digest} is missing")
    return data


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
