"""Media types of OCI and of Docker schema 2, and the compressions of layers. Pure.

Spec: image-spec media-types.md; distribution docs, image manifest v2 schema 2.
"""

from __future__ import annotations

from typing import Literal

Compression = Literal["none", "gzip", "zstd"]
Family = Literal["oci", "docker"]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCTETS = "application/octet-stream"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
ACCEPT = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))

_LAYERS: dict[tuple[Family, Compression], str] = {
    ("oci", "none"): OCI_LAYER,
    ("oci", "gzip"): OCI_LAYER + "+gzip",
    ("oci", "zstd"): OCI_LAYER + "+zstd",
    ("docker", "none"): DOCKER_LAYER,
    ("docker", "gzip"): DOCKER_LAYER + ".gzip",
}
_LAYER_TYPES: dict[str, tuple[Family, Compression]] = {
    **{media: key for key, media in _LAYERS.items()},
    # Docker never defined it, but some tools write it.
    DOCKER_LAYER + ".zstd": ("docker", "zstd"),
    "application/vnd.oci.image.layer.nondistributable.v1.tar": ("oci", "none"),
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": ("oci", "gzip"),
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": ("oci", "zstd"),
    DOCKER_FOREIGN_LAYER: ("docker", "gzip"),
}


def layer_media_type(family: Family, compression: Compression) -> str:
    """Return the media type of a layer; raises ValueError for zstd in Docker's family."""
    try:
        return _LAYERS[family, compression]
    except KeyError:
        raise ValueError(f"{compression} layers need OCI media types") from None


def layer_family(media_type: str) -> Family:
    """Return the family of a layer's media type; raises ValueError if it is no layer."""
    return _layer(media_type)[0]


def layer_compression(media_type: str) -> Compression:
    """Return the compression that a layer's media type states; raises ValueError if it is no layer."""
    return _layer(media_type)[1]


def is_layer(media_type: str) -> bool:
    """Say whether the media type is one of a file-system layer."""
    return media_type in _LAYER_TYPES


def _layer(media_type: str) -> tuple[Family, Compression]:
    try:
        return _LAYER_TYPES[media_type]
    except KeyError:
        raise ValueError(f"`{media_type}` is not the media type of a file-system layer") from None


def manifest_media_type(family: Family) -> str:
    """Return the media type of an image manifest."""
    return OCI_MANIFEST if family == "oci" else DOCKER_MANIFEST


def config_media_type(family: Family) -> str:
    """Return the media type of an image configuration."""
    return OCI_CONFIG if family == "oci" else DOCKER_CONFIG


def index_media_type(family: Family) -> str:
    """Return the media type of an image index (Docker: manifest list)."""
    return OCI_INDEX if family == "oci" else DOCKER_INDEX
