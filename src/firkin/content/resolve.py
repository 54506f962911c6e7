"""Resolves names to base images: from the store, records of earlier builds, the registry. Does I/O.

A name that `firkin build -t` (or `pull`) put into the store is used without asking the registry, as in
docker, unless `--pull` is given. Otherwise one manifest HEAD asks whether the name still points to the
same digest, unless the last such check is recent enough (`--base-max-age`). Manifests and configurations
in the store are not fetched again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from firkin.content.documents import ImageDocuments
from firkin.errors import FirkinError, RegistryError
from firkin.events import Emit, Warned
from firkin.hints import Hint
from firkin.oci.config import parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, whole_digest
from firkin.oci.image import Image, image_of
from firkin.oci.manifest import Index, choose_manifest, parse_manifest
from firkin.oci.platform import Platform
from firkin.oci.reference import DIGEST_NAME, DOCKER_HUB, Reference, parse_reference
from firkin.store.records import ResolvedName
from firkin.store.store import Store

if TYPE_CHECKING:
    from firkin.registry.client import RegistryClient

_ID_HINT = Hint.of("tag")


class Resolved(msgspec.Struct, frozen=True):
    """A name's image for one platform. `digest` is that of the document the name points to."""

    name: str
    digest: Digest
    image: Image
    origin: str


class ImageResolver:
    """Resolves names for one build, each once. Thread-safe."""

    def __init__(
        self, store: Store, client: Callable[[], RegistryClient], emit: Emit, clock: Callable[[], float], *,
        pull: bool, max_age_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._store = store
        self._client = client
        self._emit = emit
        self._clock = clock
        self._pull = pull
        self._max_age_s = 0.0 if pull else max_age_s
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Resolved | FirkinError] = {}
        self._busy: dict[tuple[str, str], threading.Lock] = {}

    def resolve(self, name: str, platform: Platform) -> Resolved:
        """Return the image that a name points to; raises RegistryError."""
        key = (name, str(platform))
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            found = self._known.get(key)
            if found is None:
                try:
                    found = self._resolve(name, platform)
                except FirkinError as error:
                    found = error
                self._known[key] = found
        if isinstance(found, FirkinError):
            raise found
        return found

    def _resolve(self, name: str, platform: Platform) -> Resolved:
        try:
            reference = parse_reference(name)
        except ValueError as error:
            hints = (_ID_HINT,) if whole_digest(name) else ()
            raise RegistryError(
                f"failed to parse stage name `{name}`: {error}", code="reference", exit_code=1, hints=hints
            ) from error
        if reference.name == f"{DOCKER_HUB}/library/{DIGEST_NAME}":
            # BuildKit asks the Hub for a repository `sha256`, which cannot exist.
            raise RegistryError(f"`{name}` is a digest, not a name", code="reference", exit_code=1, hints=(_ID_HINT,))
        if not self._pull:
            stored = self._store.images.find(reference)
            if stored is not None:
                image = self.stored(stored, platform)
                if image is not None:
                    return Resolved(str(reference), stored.digest, image, _origin(reference, image))
        return self._from_registry(reference, platform)

    def stored(self, descriptor: Descriptor, platform: Platform) -> Image | None:
        """Read an image whose manifest is in the store; None if part of it is missing there."""
        if self._store.blobs.size(descriptor.digest) is None:
            return None
        document = parse_manifest(self._store.blobs.read(descriptor.digest), descriptor.media_type)
        if isinstance(document, Index):
            chosen = choose_manifest(document, platform)
            return None if chosen is None else self.stored(chosen, platform)
        if self._store.blobs.size(document.config.digest) is None:
            return None
        config = parse_config(self._store.blobs.read(document.config.digest))
        return image_of(config, document)

    def _from_registry(self, reference: Reference, platform: Platform) -> Resolved:
        remembered = self._store.records.resolved(str(reference), str(platform))
        digest = self._digest(reference, platform, remembered)
        image = None
        if remembered is not None and remembered.digest == digest:
            size = self._store.blobs.size(remembered.manifest) or 0
            image = self.stored(Descriptor("", remembered.manifest, size), platform)
        if image is None:
            image = ImageDocuments(self._store, self._client).image(reference, digest, platform)
            self._store.records.add_resolved(str(reference), str(platform), digest, image.manifest.digest)
        return Resolved(str(reference), digest, image, _origin(reference, image))

    def _digest(self, reference: Reference, platform: Platform, remembered: ResolvedName | None) -> Digest:
        """Return the digest that a name points to; asks the registry unless the name has it or a check is recent."""
        if reference.digest is not None:
            return reference.digest
        if remembered is None:
            return self._client().resolve(reference).digest
        if 0 <= self._clock() - remembered.checked_s < self._max_age_s:
            return remembered.digest
        try:
            digest = self._client().resolve(reference).digest
        except RegistryError as error:
            if not _is_out_of_reach(error):
                raise
            text = (
                f"{reference.familiar} could not be checked ({error.message}); "
                f"using what it was before: {remembered.digest}"
            )
            self._emit(Warned(self._clock(), "base-not-checked", text))
            return remembered.digest
        if remembered.digest == digest and self._max_age_s:  # it was checked just now
            self._store.records.add_resolved(str(reference), str(platform), digest, remembered.manifest)
        return digest


def _is_out_of_reach(error: RegistryError) -> bool:
    """Tell whether a registry gave no answer at all."""
    return not error.status and (error.temporary or error.code in ("registry-unreachable", "registry-proxy"))


def _origin(reference: Reference, image: Image) -> str:
    return f"docker-image://{reference.name}@{image.manifest.digest}"
