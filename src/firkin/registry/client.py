"""RegistryClient: all that the rest of firkin does with registries. Does I/O. `content` and every room above it may
import it.

Pulls go to the mirrors of a registry in order, then to the registry itself; pushes only to the registry. The client
remembers documents and the presence of blobs as long as it lives, so asking twice costs one request. The rules are in
docs/dev/registry.md.
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
from firkin.registry.download import Begun, BlobStream
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
    """Talks to registries with one set of settings. Safe to share between threads; close it at the end.

    `cancelled` is called several times a second while a request runs; `warn(code, message)` gets a warning for each
    problem that is worked around (a mirror that is down). Everything raises RegistryError or Cancelled, and UsageError
    for unusable settings (a broken config.json, an unreadable certificate).
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
        """Read certificates now, before a build replaces the files of this root."""
        self._session.transport.trust.preload()
        self._session.keychain.preload()

    # --- pull --------------------------------------------------------------------------------------------------------

    def resolve(self, ref: Reference) -> Descriptor:
        """Return the descriptor of a name's manifest or index: one HEAD, or a GET if its answer is not sufficient."""
        return self._manifests.resolve(ref)

    def get_manifest(self, ref: Reference) -> Manifest | Index:
        """Return the manifest or index of a name, verified against its digest; `raw` has the received bytes."""
        return self._manifests.get(ref)

    def find_manifest(self, ref: Reference, *, mirrors: bool = False) -> Manifest | Index | None:
        """Return the present manifest or index of a name, or None: one GET of the registry itself, never remembered.

        With `mirrors` those are asked first, as for a pull.
        """
        return self._manifests.find(ref, mirrors=mirrors)

    def get_config(self, ref: Reference, manifest: Manifest) -> ImageConfig:
        """Return the configuration of an image. Raises RegistryError, also if it is invalid."""
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

    def open_blob(
        self, ref: Reference, descriptor: Descriptor, *, progress: Progress | None = None, begun: Begun | None = None
    ) -> BlobStream:
        """Return a stream of a blob of the repository that `ref` names, verified while it is read.

        Falls back to the descriptor's `urls` if no registry has the blob. `progress` gets the count of bytes so far.
        `begun` is what an earlier download left: the stream begins with it.
        """
        return self._blobs.open(ref, descriptor, progress, begun)

    def has_blob(self, ref: Reference, digest: Digest, *, push: bool = False) -> bool:
        """Say whether the registry itself (no mirror) has a blob in the repository; at most one HEAD per blob.

        `push` requests the scope (and token) of a push.
        """
        return self._blobs.has(ref, digest, push=push)

    def may_be_pulled(self, ref: Reference, digest: Digest) -> bool:
        """Say whether a mirror or the registry has a blob; at most one HEAD for each. Raises RegistryError."""
        return self._blobs.may_be_pulled(ref, digest)

    def list_tags(self, ref: Reference, *, mirrors: bool = False) -> tuple[str, ...]:
        """Return the tags of a repository, in the registry's order; of its first mirror that answers with `mirrors`.

        Raises RegistryError.
        """
        if not mirrors:
            return list_tags(self._session, self._endpoints.of(ref.registry), ref)
        what = f"cannot list the tags of `{ref.name}`"
        return self._endpoints.ask(ref.registry, what, lambda endpoint: list_tags(self._session, endpoint, ref))

    # --- push --------------------------------------------------------------------------------------------------------

    def push_blob(
        self, ref: Reference, descriptor: Descriptor, open_reader: Callable[[], Reader], *,
        mount_from: str = "", check: bool = True, progress: Progress | None = None,
    ) -> PushOutcome:
        """Bring a blob to the repository with the least traffic; `open_reader` is called for each attempt.

        `mount_from` is a repository of the same registry that is likely to have the blob: then one POST mounts it, or
        opens the upload. Otherwise one HEAD looks for it first, unless `check` is false. `progress` gets the count of
        bytes so far. If two threads push the same blob, the second waits for the first.
        """
        return self._blobs.push(ref, descriptor, open_reader, mount_from, check, progress)

    def mount_source(self, ref: Reference, source: Reference) -> str:
        """Return the repository from which a push to `ref` may mount blobs of `source`, or "" if there is none.

        In the same registry that is the repository of `source`. If the registry of `ref` is a mirror of that of
        `source`, it is the repository's name in the mirror.
        """
        return self._blobs.mount_source(ref, source)

    def mount_blob(self, ref: Reference, digest: Digest, mount_from: str) -> bool:
        """Mount a blob from another repository of the same registry; False if that did not work."""
        return self._blobs.mount(ref, digest, mount_from)

    def push_manifest(self, ref: Reference, raw: bytes, media_type: str) -> Digest:
        """Put a manifest or index under the tag (or else the digest) of `ref`; return its digest.

        Raises RegistryError.
        """
        return self._manifests.push(ref, raw, media_type)

    def manifest_digest(self, ref: Reference) -> Digest | None:
        """Return the present digest of a name, or None: one HEAD of the registry itself, never remembered.

        Raises RegistryError.
        """
        return self._manifests.digest(ref)

    def check_push(self, ref: Reference) -> None:
        """Find out whether pushing to the repository is allowed: open an upload and cancel it."""
        self._blobs.check_push(ref)

    def check_access(self, registry: str) -> None:
        """Find out whether the registry answers and accepts the credentials: GET /v2/."""
        endpoint = self._endpoints.of(registry)
        self._session.call(
            endpoint, "GET", Url(endpoint.scheme, endpoint.host, "/v2/"), what=f"cannot log in to `{registry}`",
            repository="", scopes=(), accept=(200,),
        )

    def log_in(self, registry: str) -> str:
        """Check the credentials as `check_access` does; return the identity token to keep for them, "" for none."""
        self._session.lasting = True
        self.check_access(registry)
        return self._session.identity_token

    def delete(self, ref: Reference) -> None:
        """Delete a manifest by its digest, or by its tag if the registry allows that."""
        self._manifests.delete(ref)

    def repeat(self, attempts: int, operation: Callable[[], T]) -> T:
        """Run a whole pull or push; repeat it up to `attempts` times when it fails, after 1, 2, 4, … seconds.

        For Kaniko's --push-retry and --image-download-retry: unlike retries of a request, they repeat after any error.
        """
        return self._endpoints.repeat(attempts, operation)
