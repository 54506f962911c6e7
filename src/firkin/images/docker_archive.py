"""Writes a tar that `docker load` accepts and that is also an OCI layout. Does I/O.

The tar is like those of `docker save` since 25: blobs by digest, an `index.json`, and `manifest.json` with names,
configuration and layers for older readers. Or it is flat, with the files that go-containerregistry writes.
"""

from __future__ import annotations

from typing import BinaryIO

from firkin.images.archive import ArchiveWriter, BlobSource, output_file
from firkin.images.oci_layout import LAYOUT, blobs_of, named
from firkin.oci import codec, media
from firkin.oci.image import Image
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import Reference


def write_docker_archive(
    image: Image, names: tuple[Reference, ...], source: BlobSource, dest: str, stdout: BinaryIO | None
) -> None:
    """Write one image under its names."""

    def place(digest: str) -> str:
        return f"blobs/{digest.replace(':', '/')}"

    manifest = [
        {
            "Config": place(image.manifest.config.digest),
            "RepoTags": [name.familiar for name in names if name.tag] or None,
            "Layers": [place(layer.descriptor.digest) for layer in image.layers],
        }
    ]
    with output_file(dest, stdout) as stream:
        archive = ArchiveWriter(stream)
        archive.directory("blobs")
        archive.directory("blobs/sha256")
        for descriptor, data in blobs_of((image,), None):
            if data is None:
                archive.blob(place(descriptor.digest), source, descriptor)
            else:
                archive.file(place(descriptor.digest), data)
        entries = named(image.manifest.descriptor, names, image.config.created)
        archive.file("index.json", encode_index(Index(media.OCI_INDEX, entries)).raw)
        archive.file("manifest.json", codec.encode(manifest))
        archive.file("oci-layout", LAYOUT)
        archive.end()


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
