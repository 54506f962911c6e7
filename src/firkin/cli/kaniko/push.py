"""`executor push TAR|LAYOUT`: pushes an image that was written before. I; only `cli.executor` may import it.

A tar is a docker archive or an OCI layout, compressed or not; exactly one image may be in it.
"""

from __future__ import annotations

import os
import tarfile
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from firkin.ambient import Ambient, absolute
from firkin.builder.output.registry import Push, PushJob
from firkin.cli.kaniko.parse import Values
from firkin.cli.kaniko.request import destination_of, executor_registry
from firkin.errors import Cancelled, ContextError, UsageError
from firkin.oci import codec, media
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, finish, new_hasher
from firkin.oci.image import Image, Layer, assemble, image_of
from firkin.oci.manifest import Index, parse_manifest
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient
from firkin.render.logs import LogRenderer
from firkin.tasks.pools import Pools

_CHUNK = 1 << 20
_MAX_DOCUMENT_BYTES = 16 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def push(flags: Values, ambient: Ambient, log: LogRenderer) -> int:
    """Push the image of an artefact to every destination, in order."""
    if len(flags.words) != 1:
        raise UsageError("`executor push` takes one tar or OCI layout", hints=("executor push image.tar -d NAME",))
    names = tuple(destination_of(text) for text in flags.many("destination"))
    if not names:
        raise UsageError("you must provide --destination")
    files = _open(absolute(ambient.cwd, flags.words[0]))
    try:
        image, places = read_image(files)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ContextError(f"{flags.words[0]}: {error}", code="push-source") from error
    settings = executor_registry(flags, ambient)
    pools = Pools(steps=1, transfers=settings.parallel, cpu=1)
    try:
        with RegistryClient(settings) as client:
            if not flags.flag("skip-push-permission-check"):
                for name in {name.name: name for name in names}.values():
                    client.check_push(name)
            job = PushJob((image,), None, names, False, settings.ignore_immutable_tags)
            work = Push(job, client, pools.transfers, _Layers(files, places), log.event)
            client.repeat(settings.push_retries, work.run)
    finally:
        pools.close(Cancelled("the push has ended"))
    return 0


class Files(Protocol):
    """The files of an artefact, by their names in it."""

    def open(self, name: str) -> BinaryIO | None:
        """Open a file from its start; None where there is none."""


class _Directory:
    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> BinaryIO | None:
        try:
            return open(f"{self._path}/{name}", "rb")
        except FileNotFoundError:
            return None


class _Tar:
    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> BinaryIO | None:
        # A handle of its own for each reader: uploads read several layers at a time.
        archive = tarfile.open(self._path)
        try:
            found = archive.extractfile(name)
        except KeyError:
            found = None
        if found is None:
            archive.close()
        return cast("BinaryIO | None", found)


def _open(path: str) -> Files:
    if os.path.isdir(path):
        return _Directory(path)
    try:
        with tarfile.open(path):
            return _Tar(path)
    except (OSError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ContextError(f"cannot read {path}: {why.lower()}", code="push-source") from error


def read_image(files: Files) -> tuple[Image, dict[Digest, str]]:
    """Return the one image of an artefact and where its layers are; raises ValueError."""
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


class _Layers:
    """Layers of the artefact, as a push reads them."""

    def __init__(self, files: Files, places: dict[Digest, str]) -> None:
        self._files = files
        self._places = places

    def open(self, descriptor: Descriptor) -> BinaryIO:
        file = self._files.open(self._places[descriptor.digest])
        if file is None:
            raise ContextError(f"blob {descriptor.digest} is missing", code="push-source")
        return file

    def origin(self, digest: Digest) -> Reference | None:
        return None
