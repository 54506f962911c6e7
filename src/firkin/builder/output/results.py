"""The result of a build, as values: its images, and the document of --metadata-file. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from firkin.builder.output.built import Built
from firkin.builder.output.kinds import Family
from firkin.builder.request import BuildRequest, ImageResult
from firkin.oci import media
from firkin.oci.image import Image, stored_bytes
from firkin.oci.manifest import Index, encode_index
from firkin.oci.reference import Reference


def index_of(request: BuildRequest, images: Sequence[Image], family: Family) -> Index | None:
    """Return the index that joins the images of several platforms; None for one image."""
    if len(images) < 2:
        return None
    manifests = tuple(
        msgspec.structs.replace(image.manifest.descriptor, platform=image.config.platform) for image in images
    )
    kind = media.index_media_type("oci" if family == "base" else family)
    return encode_index(Index(kind, manifests, request.annotations))


def result_of(built: Built, names: tuple[Reference, ...]) -> ImageResult:
    """Return the result for one image."""
    image = built.image
    return ImageResult(
        image.manifest.digest,
        image.config.digest,
        image.manifest.media_type,
        tuple(str(name) for name in names),
        str(image.config.platform),
        image.size_bytes,
        msgspec.Raw(image.config.raw),
    )


def result_of_index(first: ImageResult, index: Index, images: Sequence[Image]) -> ImageResult:
    """Return the result for the images of several platforms together."""
    return msgspec.structs.replace(
        first, digest=index.digest, config_digest="", media_type=index.media_type, platform="",
        size_bytes=stored_bytes(images, index), config=msgspec.Raw(b"{}"),
    )  # fmt: skip


def metadata(root: ImageResult, size_bytes: int, created: str, names: tuple[Reference, ...]) -> msgspec.Raw:
    """Return the document of --metadata-file, with buildx's keys."""
    data: dict[str, object] = {"containerimage.config.digest": root.config_digest} if root.config_digest else {}
    data["containerimage.descriptor"] = {
        "mediaType": root.media_type,
        "digest": root.digest,
        "size": size_bytes,
        "annotations": {"org.opencontainers.image.created": created},
    }
    data["containerimage.digest"] = root.digest
    if names:
        data["image.name"] = ",".join(str(name) for name in names)
    return msgspec.Raw(msgspec.json.encode(data))
