"""Writes a tar that `docker load` accepts and that is also an OCI layout. Does I/O.

The tar is like those of `docker save` since 25: blobs by digest, an `index.json`, and for older readers `manifest.json`
and `repositories`, with names, configurations and layers. Or it is flat, with the files that go-containerregistry
writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from firkin.images.archive import ArchiveWriter, BlobSource, output_file
from firkin.images.oci_layout import write_files
from firkin.images.pack import Packed
from firkin.oci import codec
from firkin.oci.digest import Digest
from firkin.oci.image import Image
from firkin.oci.reference import Reference


def write_docker_archive(
    packed: Sequence[Packed], source: BlobSource, dest: str, stdout: BinaryIO | None, *, private: bool = False
) -> None:
    """Write images, each under its names; blobs that several share are written once.

    Readers that do not know indexes get this machine's platform. `private`: nobody else may read the file.
    """
    with output_file(dest, stdout, private=private) as stream:
        archive = ArchiveWriter(stream)
        write_files(archive, packed, source)
        archive.file("manifest.json", codec.encode(_manifest(packed)))
        named = _repositories(packed)
        if named:
            archive.file("repositories", codec.encode(named))
        archive.end()


def _manifest(packed: Sequence[Packed]) -> list[dict[str, Any]]:
    """Return manifest.json: each image once, with all its names."""
    entries: dict[Digest, dict[str, Any]] = {}
    for one in packed:
        manifest = one.image.manifest
        entry = entries.setdefault(
            manifest.digest,
            {
                "Config": _place(manifest.config.digest),
                "RepoTags": None,
                "Layers": [_place(layer.digest) for layer in manifest.layers],
            },
        )
        names = [name.familiar for name in one.names if name.tag]
        if names:
            entry["RepoTags"] = [*(entry["RepoTags"] or ()), *names]
    return list(entries.values())


def _repositories(packed: Sequence[Packed]) -> dict[str, dict[str, str]]:
    """Return the names as the first versions of docker had them: repository, tag, top layer."""
    named: dict[str, dict[str, str]] = {}
    for one in packed:
        layers = one.image.manifest.layers
        for name in one.names:
            if name.tag and layers:
                repository = name.familiar.removesuffix(f":{name.tag}")
                named.setdefault(repository, {})[name.tag] = layers[-1].digest.partition(":")[2]
    return named


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def write_flat_archive(
    image: Image, names: tuple[Reference, ...], source: BlobSource, dest: str, stdout: BinaryIO | None
) -> None:
    """Write one image as `sha256:<config>`, `<hex>.tar.gz` for each layer, and `manifest.json`.

    Mirrors: google/go-containerregistry pkg/v1/tarball.MultiWriteToFile.
    """
    layers = [layer.descriptor for layer in image.layers]
    manifest = [
        {
            "Config": image.manifest.config.digest,
            "RepoTags": [name.familiar for name in names if name.tag],
            "Layers": [_layer_file(layer.digest) for layer in layers],
        }
    ]
    with output_file(dest, stdout) as stream:
        archive = ArchiveWriter(stream)
        archive.file(image.manifest.config.digest, image.config.raw)
        for layer in dict.fromkeys(layers):
            archive.blob(_layer_file(layer.digest), source, layer)
        archive.file("manifest.json", codec.encode(manifest))
        archive.end()


def _layer_file(digest: str) -> str:
    return f"{digest.partition(':')[2]}.tar.gz"
