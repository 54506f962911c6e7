"""Layers, snapshots and images; assembling and validating. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.oci import media
from firkin.oci.config import ImageConfig
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import ChainID, DiffID, chain_ids
from firkin.oci.manifest import Index, Manifest, PairMap, encode_manifest


class Layer(msgspec.Struct, frozen=True):
    """A layer of an image: the digest of its tar, and the descriptor of its (compressed) blob."""

    diff_id: DiffID
    descriptor: Descriptor


class Image(msgspec.Struct, frozen=True):
    """A manifest with its configuration and layers, consistent with one another."""

    config: ImageConfig
    manifest: Manifest
    layers: tuple[Layer, ...]

    @property
    def chain_id(self) -> ChainID | None:
        """The chain id of the whole stack; None for an image without layers."""
        chain = chain_ids(layer.diff_id for layer in self.layers)
        return chain[-1] if chain else None

    @property
    def size_bytes(self) -> int:
        """Its size in a registry: the bytes of manifest, configuration and (compressed) layers, each once."""
        return stored_bytes((self,))


def stored_bytes(images: Iterable[Image], index: Index | None = None) -> int:
    """Return how many bytes a registry holds for images that are pushed together; each blob counts once.

    Wherever firkin shows the size of an image, it is this one, with the compressed size of each layer.
    """
    sizes: dict[str, int] = {}
    for image in images:
        sizes |= {layer.descriptor.digest: layer.descriptor.size for layer in image.layers}
        sizes |= {image.config.digest: len(image.config.raw), image.manifest.digest: len(image.manifest.raw)}
    return sum(sizes.values()) + (len(index.raw) if index is not None else 0)


def assemble(
    config: ImageConfig, layers: tuple[Layer, ...], family: media.Family, annotations: PairMap = ()
) -> Image:
    """Make the image of an encoded configuration and its layers.

    Every layer gets the media type of the one family (types are never mixed in a manifest).
    Raises ValueError when configuration and layers do not belong together.
    """
    typed = tuple(
        msgspec.structs.replace(
            layer,
            descriptor=msgspec.structs.replace(
                layer.descriptor,
                media_type=media.layer_media_type(
                    family, media.layer_compression(layer.descriptor.media_type)
                ),
                platform=None,
            ),
        )
        for layer in layers
    )
    described = Descriptor(media.config_media_type(family), config.digest, len(config.raw))
    manifest = encode_manifest(
        Manifest(
            media.manifest_media_type(family),
            described,
            tuple(layer.descriptor for layer in typed),
            annotations,
        )
    )
    image = Image(config, manifest, typed)
    problems = validate(image)
    if problems:
        raise ValueError(problems[0])
    return image


def image_of(config: ImageConfig, manifest: Manifest) -> Image:
    """Join a pulled manifest and its configuration; raises ValueError when they disagree."""
    if len(config.diff_ids) != len(manifest.layers):
        raise ValueError(
            f"the configuration lists {len(config.diff_ids)} layers, the manifest {len(manifest.layers)}"
        )
    if manifest.config.digest != config.digest:
        raise ValueError("the manifest names another configuration")
    return Image(config, manifest, tuple(map(Layer, config.diff_ids, manifest.layers)))


def is_image(manifest: Manifest) -> bool:
    """Say whether a manifest is one of an image, not of an attestation or another artifact."""
    if not manifest.layers:
        return not manifest.artifact_type and manifest.config.media_type in (media.OCI_CONFIG, media.DOCKER_CONFIG)
    return all(media.is_layer(layer.media_type) for layer in manifest.layers)


def validate(image: Image) -> tuple[str, ...]:
    """Return the inconsistencies of the image; empty when it is sound."""
    kinds = [layer.descriptor.media_type for layer in image.layers]
    families = {media.layer_family(kind) for kind in kinds if media.is_layer(kind)}
    diff_ids = tuple(layer.diff_id for layer in image.layers)
    descriptors = tuple(layer.descriptor for layer in image.layers)
    history = image.config.history
    steps = len(image.layers) if not history else sum(not line.empty_layer for line in history)
    described = image.manifest.config
    checks = (
        (described.digest == image.config.digest, "the manifest names another configuration"),
        (described.size == len(image.config.raw), "the manifest states another size of the configuration"),
        (image.config.diff_ids == diff_ids, "the configuration's diff_ids do not fit the layers"),
        (image.manifest.layers == descriptors, "the manifest's layers do not fit"),
        *((media.is_layer(kind), f"`{kind}` is not a file-system layer") for kind in kinds),
        (len(families) < 2, "Docker and OCI media types are mixed"),
        (steps == len(image.layers), "the history does not fit the number of layers"),
    )
    return tuple(problem for holds, problem in checks if not holds)
