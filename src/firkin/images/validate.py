"""Checks that an image is what its manifests say: digests, sizes, diff ids, counts. Does I/O.

Mirrors: google/go-containerregistry pkg/v1/validate.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from firkin.errors import Cancelled, FirkinError, RegistryError
from firkin.images.copy.convert import is_image, read_whole
from firkin.images.copy.ends import Source
from firkin.images.copy.plan import Selection, blobs_of, make_plan
from firkin.images.copy.several import Several
from firkin.layer.blob import read_tar, verified_blob
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Manifest


class Checked(msgspec.Struct, frozen=True):
    """The digest that the name means, and what is wrong with the image."""

    digest: Digest
    problems: tuple[str, ...]


def validate_image(source: Source, selection: Selection, several: Several, *, fast: bool = False) -> Checked:
    """Check everything that a name means; `fast` only looks whether layers are there.

    Raises what the source raises when there is no such image, or it cannot be reached.
    """
    plan = make_plan(source, selection)
    found = _Findings(source, several, fast=fast)
    for item in plan.left_out:
        found.add(f"manifest {item.digest} is missing")
    for manifest in plan.manifests:
        found.check(manifest)
    found.read()
    return Checked(plan.root.digest, tuple(dict.fromkeys(found.problems)))


class _Findings:
    def __init__(self, source: Source, several: Several, *, fast: bool) -> None:
        self._source = source
        self._several = several
        self._fast = fast
        self._blobs: dict[Digest, tuple[Descriptor, str | None]] = {}
        self.problems: list[str] = []

    def add(self, text: str) -> None:
        self.problems.append(text)

    def check(self, manifest: Manifest) -> None:
        """Check what a manifest and its configuration say, and note its layers."""
        if not is_image(manifest):
            self._blobs |= {blob.digest: (blob, None) for blob in blobs_of(manifest) if not blob.urls}
            return
        try:
            config = parse_config(read_whole(self._source, manifest.config), f"configuration {manifest.config.digest}")
        except (ValueError, FirkinError) as error:
            self._note(manifest.config, error)
            return
        if len(config.diff_ids) != len(manifest.layers):
            count = f"{len(config.diff_ids)} diff ids, the manifest {len(manifest.layers)} layers"
            self.add(f"manifest {manifest.digest}: the configuration has {count}")
            return
        self._check_history(manifest, config)
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            self._blobs[layer.digest] = layer, diff_id

    def _check_history(self, manifest: Manifest, config: ImageConfig) -> None:
        steps = sum(not line.empty_layer for line in config.history)
        if config.history and steps != len(manifest.layers):
            self.add(f"manifest {manifest.digest}: its history has {steps} layers, not {len(manifest.layers)}")

    def read(self) -> None:
        """Read all layers, or look for them."""
        self._several(self._read_one, [blob for blob, _ in self._blobs.values()])

    def _read_one(self, blob: Descriptor) -> None:
        try:
            if self._fast:
                if not blob.urls and not self._source.has(blob):
                    self.add(f"blob {blob.digest} is missing")
                return
            self._verify(blob, self._blobs[blob.digest][1])
        except Cancelled:
            raise
        except (ValueError, FirkinError) as error:
            self._note(blob, error)

    def _verify(self, blob: Descriptor, diff_id: str | None) -> None:
        chunks = self._several.open(lambda: self._source.open(blob))
        try:
            if diff_id is None:
                _drain(chunks)
            else:
                read_tar(verified_blob(chunks, blob), blob, diff_id, _drain)
        finally:
            chunks.close()

    def _note(self, blob: Descriptor, error: Exception) -> None:
        """Note a damaged blob; a registry that cannot be reached is an error and no finding."""
        if isinstance(error, RegistryError) and error.temporary:
            raise error
        text = error.message if isinstance(error, FirkinError) else str(error)
        self.add(text if blob.digest in text else f"blob {blob.digest}: {text}")


def _drain(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass
