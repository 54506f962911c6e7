"""RegistryClient: what the rest of firkin does with registries. Does I/O. Context and everything above it may import
it.

Pulls go to the mirrors of a registry in order, then to itself; pushes only to itself. Documents and presence of blobs
are remembered for the client's life, so asking twice costs one request. docs/dev/registry.md tells the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from firkin.errors import RegistryError
from firkin.oci import codec
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.manifest import Index, Manifest
from firkin.oci.reference import Reference
from firkin.registry.blobs import Blobs, Progress, PushOutcome
from firkin.registry.download import BlobStream
from firkin.registry.endpoints import Endpoints
from firkin.registry.manifests import Manifests
from firkin.registry.session import Session, Warn
from firkin.registry.settings import RegistrySettings
from firkin.registry.tags import list_tags
from firkin.registry.transport import Reader
from firkin.registry.trust import check_certificates
from firkin.registry.url import Url

T = TypeVar("T")


class RegistryClient:
    """Talks to registries by one set of settings. Safe to share between threads; close it in the end.

    `cancelled` is asked several times a second while anything is under way; `warn(code, message)` hears of what is
    worked around (a mirror that is down). Everything raises RegistryError or Cancelled, and UsageError for unusable
    settings (a broken config.json, an unreadable certificate).
    """

    def __init__(
        self, settings: RegistrySettings, *, cancelled: Callable[[], bool] | None = None, warn: Warn | None = None
    ) -> None:
        check_certificates(settings)
        self._session = Session(settings, cancelled=cancelled, warn=warn)
        self._endpoints = Endpoints(settings, self._session)
        self._manifests = Manifests(settings, self._session, self._endpoints)
        self._blobs = Blobs(settings, self._session, self._endpoints)

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def preload(self) -> None:
        """Read certificates now, before the files of this root are replaced."""
        self._session.transport.trust.preload()
        self._session.keychain.preload()

    # --- pull --------------------------------------------------------------------------------------------------------

    def resolve(self, ref: Reference) -> Descriptor:
        """Return the descriptor of a name's manifest or index: one HEAD, or a GET where that says too little."""
        return self._manifests.resolve(ref)

    def get_manifest(self, ref: Reference) -> Manifest | Index:
        """Return the manifest or index of a name, verified against its digest; `raw` is what was sent."""
        return self._manifests.get(ref)

    def find_manifest(self, ref: Reference) -> Manifest | Index | None:
        """Return what the registry itself (no mirror) has under a name now, or None: one GET, never remembered."""
        return self._manifests.find(ref)

    def get_config(self, ref: Reference, manifest: Manifest) -> ImageConfig:
        """Return the configuration of an image; RegistryError also for one that cannot be read."""
        size, limit = manifest.config.size, codec.MAX_DOCUMENT_BYTES
        if size > limit:
            raise RegistryError(
                f"{ref.familiar}: its configuration has {size} bytes, more than {limit}", code="image-invalid"
            )
        with self.open_blob(ref, manifest.config) as stream:
            raw = stream.read()
        try:
            return parse_config(raw, f"configuration of {ref.familiar}")
        except ValueError as error:
            raise RegistryError(str(error), code="image-invalid") from None

    def open_blob(self, ref: Reference, descriptor: Descriptor, *, progress: Progress | None = None) -> BlobStream:
        """Return a stream of a blob of the repository that `ref` names, verified while it is read.

        Falls back to the descriptor's `urls` when no registry has the blob. `progress` gets the bytes so far.
        """
        return self._blobs.open(ref, descriptor, progress)

    def has_blob(self, ref: Reference, digest: Digest, *, push: bool = False) -> bool:
        """Say whether the registry itself has a blob in the repository; at most one HEAD per blob.

        `push` asks with the rights (and so the token) of a push.
        """
        return self._blobs.has(ref, digest, push=push)

    def list_tags(self, ref: Reference) -> tuple[str, ...]:
        """Return the tags of a repository, in the registry's order. Raises RegistryError."""
        return list_tags(self._session, self._endpoints.of(ref.registry), ref)

    # --- push --------------------------------------------------------------------------------------------------------

    def push_blob(
        self, ref: Reference, descriptor: Descriptor, open_reader: Callable[[], Reader], *,
        mount_from: str = "", check: bool = True, progress: Progress | None = None,
    ) -> PushOutcome:
        """Bring a blob to the repository, in the cheapest way; `open_reader` gives its bytes, anew for each attempt.

        `mount_from` is a repository of the same registry that is likely to have it: then one POST mounts it, or opens
        the upload. Otherwise one HEAD looks for it first, unless `check` is false. `progress` gets the bytes so far.
        A blob is on its way once at a time: who comes second waits for the first.
        """
        return self._blobs.push(ref, descriptor, open_reader, mount_from, check, progress)

    def mount_source(self, ref: Reference, source: Reference) -> str:
        """Return the repository from which a push to `ref` may mount blobs of `source`, or "" when there is none.

        That is its own repository in the same registry, or its place in a mirror of its registry that `ref` lies in.
        """
        return self._blobs.mount_source(ref, source)

    def mount_blob(self, ref: Reference, digest: Digest, mount_from: str) -> bool:
        """Take a blob over from another repository of the same registry; False when that did not work."""
        return self._blobs.mount(ref, digest, mount_from)

    def push_manifest(self, ref: Reference, raw: bytes, media_type: str) -> Digest:
        """Put a manifest or index under the tag (or else the digest) of `ref`; return its digest.

        Raises RegistryError.
        """
        return self._manifests.push(ref, raw, media_type)

    def manifest_digest(self, ref: Reference) -> Digest | None:
        """Return what the registry itself (no mirror) has under a name now: one HEAD, never remembered.

        Raises RegistryError.
        """
        return self._manifests.digest(ref)

    def check_push(self, ref: Reference) -> None:
        """Find out whether pushing to the repository is allowed: open an upload and give it up again."""
        self._blobs.check_push(ref)

    def check_access(self, registry: str) -> None:
        """Find out whether the registry answers and takes the credentials: GET /v2/."""
        endpoint = self._endpoints.of(registry)
        self._session.call(
            endpoint, "GET", Url(endpoint.scheme, endpoint.host, "/v2/"), what=f"cannot log in to `{registry}`",
            repository="", scopes=(), accept=(200,),
        )

    def delete(self, ref: Reference) -> None:
        """Delete a manifest by its digest, or by its tag where the registry allows that."""
        self._manifests.delete(ref)

    def repeat(self, attempts: int, operation: Callable[[], T]) -> T:
        """Run a whole pull or push, up to `attempts` times more when it fails, 1, 2, 4, … seconds apart.

        Kaniko's --push-retry and --image-download-retry: unlike a request's retries they do not ask why it failed.
        """
        return self._endpoints.repeat(attempts, operation)
