"""What `buildx imagetools inspect` knows of a name of a registry: manifest, configurations, attestations. Does I/O.

Everything is read on demand, and verified against its digest. Mirrors: buildx util/imagetools loader.go, printers.go.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from firkin.errors import RegistryError
from firkin.oci import media
from firkin.oci.codec import readable
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, Manifest, descriptor_json
from firkin.oci.platform import Platform
from firkin.oci.reference import Reference
from firkin.registry.client import RegistryClient

_REFERENCES = ("com.docker.reference.digest", "vnd.docker.reference.digest")
_PREDICATE = "in-toto.io/predicate-type"
_SPDX = "https://spdx.dev/Document"
_SLSA = "https://slsa.dev/provenance/"
_STATEMENT = "application/vnd.in-toto+json"
_DEEPEST = 3
_MOST_DOCUMENTS = 4096
_MOST_BYTES = 64 << 20
"""An attestation is JSON, read as a whole."""


class Attested:
    """A name's manifest or index, with its images by platform."""

    def __init__(self, client: RegistryClient, name: Reference) -> None:
        self._client = client
        self._name = name
        self.document = client.get_manifest(name)
        self._images: dict[str, Manifest] | None = None
        self._proofs: dict[str, list[Manifest]] = {}

    @property
    def children(self) -> list[dict[str, Any]]:
        """The entries of an index, with every key that they have."""
        if not isinstance(self.document, Index):
            return []
        found: list[dict[str, Any]] = msgspec.json.decode(readable(self.document.raw))["manifests"]
        return found

    def manifest(self) -> dict[str, Any]:
        """Return the manifest's descriptor, or what the index says, with its digest and size."""
        descriptor = self.document.descriptor
        if isinstance(self.document, Manifest):
            return descriptor_json(descriptor)
        found: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": descriptor.media_type, "digest": descriptor.digest,
            "size": descriptor.size, "manifests": self.children,
        }  # fmt: skip
        if self.document.annotations:
            found["annotations"] = dict(self.document.annotations)
        return found

    def platforms(self) -> list[str]:
        """Return the platforms that there are images for, sorted. Raises RegistryError."""
        return sorted(self._by_platform())

    def config(self, platform: str) -> dict[str, Any]:
        """Return the configuration of an image as JSON has it. Raises RegistryError."""
        config = self._client.get_config(self._name, self._by_platform()[platform])
        found: dict[str, Any] = msgspec.json.decode(readable(config.raw))
        return found

    def sbom(self, platform: str) -> dict[str, Any]:
        """Return `SPDX`, and `AdditionalSPDXs` if there are several; nothing if there is none. Raises RegistryError."""
        found = [self._predicate(layer) for layer in self._statements(platform) if _is(layer, _SPDX)]
        return ({"SPDX": found[0]} | ({"AdditionalSPDXs": found[1:]} if found[1:] else {})) if found else {}

    def provenance(self, platform: str) -> dict[str, Any]:
        """Return `SLSA`; nothing if there is none. Raises RegistryError."""
        found = [layer for layer in self._statements(platform) if _is(layer, _SLSA)]
        return {"SLSA": self._predicate(found[0])} if found else {}

    def _by_platform(self) -> dict[str, Manifest]:
        if self._images is None:
            self._images = {}
            self._read(self.document, None, 0, set())
        return self._images

    def _read(self, document: Manifest | Index, listed: Descriptor | None, depth: int, seen: set[Digest]) -> None:
        if isinstance(document, Index):
            self._read_listed(document, depth, seen)
        else:
            self._note(document, listed)

    def _read_listed(self, index: Index, depth: int, seen: set[Digest]) -> None:
        for child in index.manifests:
            if child.digest in seen or child.media_type not in (*media.MANIFESTS, *media.INDEXES):
                continue
            if depth > _DEEPEST or len(seen) >= _MOST_DOCUMENTS:
                why = f"more than {_MOST_DOCUMENTS} manifests, or indexes that are nested too deeply"
                raise RegistryError(f"{self._name.familiar} lists {why}", code="image-invalid")
            seen.add(child.digest)
            self._read(self._client.get_manifest(self._name.pinned(child.digest)), child, depth + 1, seen)

    def _note(self, document: Manifest, listed: Descriptor | None) -> None:
        assert self._images is not None
        notes = dict(listed.annotations) if listed is not None else {}
        subject = next((notes[key] for key in _REFERENCES if key in notes), "")
        if subject:
            self._proofs.setdefault(subject, []).append(document)
            return
        platform = listed.platform if listed is not None else None
        known: Platform = platform or self._client.get_config(self._name, document).platform
        self._images[str(known)] = document

    def _statements(self, platform: str) -> list[Descriptor]:
        image = self._by_platform()[platform]
        return [layer for proof in self._proofs.get(image.digest, ()) for layer in proof.layers if _is_statement(layer)]

    def _predicate(self, layer: Descriptor) -> Any:
        what = f"{self._name.familiar}: attestation {layer.digest}"
        if layer.size > _MOST_BYTES:
            raise RegistryError(f"{what} has {layer.size} bytes, more than {_MOST_BYTES}", code="image-invalid")
        with self._client.open_blob(self._name, layer) as stream:
            raw = stream.read()
        try:
            document = msgspec.json.decode(raw)
            if layer.media_type != _STATEMENT:
                document = msgspec.json.decode(base64.b64decode(document["payload"]))
            return document.get("predicate")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RegistryError(f"{what} is no statement of in-toto", code="image-invalid") from None


def _is(layer: Descriptor, predicate: str) -> bool:
    kind = dict(layer.annotations).get(_PREDICATE, "")
    return kind.startswith(predicate) if predicate.endswith("/") else kind == predicate


def _is_statement(layer: Descriptor) -> bool:
    kind = layer.media_type
    return kind == _STATEMENT or (kind.startswith("application/vnd.in-toto.") and kind.endswith("+dsse"))
