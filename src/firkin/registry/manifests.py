"""Resolves, reads, pushes and deletes manifests and indexes of registries. Does I/O.

The client remembers documents by digest, and the digests of names, as long as it lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from firkin.errors import RegistryError
from firkin.oci import media
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of, finish, new_hasher, parse_digest
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.reference import Reference
from firkin.registry.endpoints import Endpoints
from firkin.registry.protocol import (
    BROKEN_HEAD,
    Endpoint,
    Response,
    content_length,
    repository_scope,
    response_error,
    says_too_little,
    told_digest,
)
from firkin.registry.session import Session, backoff_s
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import upload_of
from firkin.registry.url import redact_url


class Manifests:
    """The manifests and indexes of one client. Safe to share between threads."""

    def __init__(self, settings: RegistrySettings, session: Session, endpoints: Endpoints) -> None:
        self._settings = settings
        self._session = session
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._documents: dict[Digest, Manifest | Index] = {}
        self._resolved: dict[Reference, Descriptor] = {}

    def resolve(self, ref: Reference) -> Descriptor:
        """Return the descriptor of a name's manifest or index: one HEAD, or a GET if its answer is not sufficient."""
        with self._lock:
            known = self._resolved.get(ref) or self._document_descriptor(ref)
        if known is not None:
            return known
        what = f"cannot resolve `{ref}`"

        def head(endpoint: Endpoint) -> Descriptor | None:
            try:
                response = self._request(endpoint, ref, "HEAD", what, accept=(200, *BROKEN_HEAD))
                if response.status != 200:
                    raise response_error(what, response)
            except RegistryError as error:
                if not says_too_little(error) or (endpoint.mirror and self._settings.mirror_fallback):
                    raise
                return None
            return _described(response, ref)

        found = self._endpoints.ask(ref.registry, what, head)
        if found is None:
            return self.get(ref).descriptor
        with self._lock:
            return self._resolved.setdefault(ref, found)

    def get(self, ref: Reference) -> Manifest | Index:
        """Return the manifest or index of a name, verified against its digest; `raw` has the received bytes."""
        with self._lock:
            resolved = self._resolved.get(ref)
            digest = resolved.digest if resolved is not None else ref.digest
            document = self._documents.get(digest) if digest is not None else None
        if document is not None:
            return document
        exact = Reference(ref.registry, ref.repository, ref.tag, digest)
        what = f"cannot pull `{ref}`"

        def get(endpoint: Endpoint) -> Manifest | Index:
            response = self._request(endpoint, exact, "GET", what, accept=(200,))
            return self._read(response, exact, what)

        document = self._endpoints.ask(ref.registry, what, get)
        with self._lock:
            descriptor = document.descriptor
            self._documents[digest or descriptor.digest] = self._documents[descriptor.digest] = document
            self._resolved.setdefault(ref, descriptor)
        return document

    def find(self, ref: Reference, *, mirrors: bool = False) -> Manifest | Index | None:
        """Return the present manifest or index of a name, or None: one GET of the registry itself, never remembered.

        With `mirrors` those are asked first.
        """
        what = f"cannot look for `{ref}`"

        def find(endpoint: Endpoint) -> Manifest | Index | None:
            response = self._request(endpoint, ref, "GET", what, accept=(200, 404))
            if response.status == 404 and endpoint.mirror and self._settings.mirror_fallback:
                raise response_error(what, response)  # the next one is asked
            return self._read(response, ref, what) if response.status == 200 else None

        return self._endpoints.ask(ref.registry, what, find) if mirrors else find(self._endpoints.of(ref.registry))

    def push(self, ref: Reference, raw: bytes, media_type: str) -> Digest:
        """Put a manifest or index under the tag (or else the digest) of `ref`; return its digest.

        Raises RegistryError.
        """
        digest = _digest_as(raw, ref.digest or "sha256:")
        name = ref.tag or digest
        endpoint = self._endpoints.of(ref.registry, push=True)
        what = f"cannot push `{ref}`"
        response = self._once_blobs_are_known(lambda: self._session.call(
            endpoint, "PUT", endpoint.url(ref.repository, f"manifests/{name}"), what=what, repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull", "push"),), accept=(200, 201, 202, 204),
            headers=(("Content-Type", media_type),), body=upload_of(raw), push=True,
        ))
        told = told_digest(response)
        if told and told.startswith(digest.partition(":")[0]) and told != digest:
            raise RegistryError(
                f"{what}: `{endpoint.host}` stored it as `{told}`, not `{digest}`", code="registry-digest",
                method="PUT", url=redact_url(str(response.url)), status=response.status,
            )
        with self._lock:
            self._resolved.pop(ref, None)
        return digest

    def digest(self, ref: Reference) -> Digest | None:
        """Return the present digest of a name, or None: one HEAD of the registry itself, never remembered.

        Raises RegistryError.
        """
        endpoint = self._endpoints.of(ref.registry, push=True)
        what = f"cannot look for `{ref}`"
        try:
            response = self._request(
                endpoint, ref, "HEAD", what, accept=(200, 404, *BROKEN_HEAD), push=True
            )
            if response.status in BROKEN_HEAD:
                raise response_error(what, response)
        except RegistryError as error:
            if not says_too_little(error):
                raise
            response = self._request(endpoint, ref, "GET", what, accept=(200, 404), push=True)
        if response.status != 200:
            return None
        if ref.digest is not None:
            return ref.digest
        try:
            return parse_digest(told_digest(response))
        except ValueError:
            return digest_of(response.body) if response.method == "GET" else None

    def delete(self, ref: Reference) -> None:
        """Delete a manifest by its digest, or by its tag if the registry allows that."""
        endpoint = self._endpoints.of(ref.registry, push=True)
        self._session.call(
            endpoint, "DELETE", endpoint.url(ref.repository, f"manifests/{ref.identifier}"),
            what=f"cannot delete `{ref}`", repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull", "push", "delete"),), accept=(200, 202, 204), push=True,
        )
        with self._lock:
            self._resolved.pop(ref, None)

    def _once_blobs_are_known(self, put: Callable[[], Response]) -> Response:
        """Put a manifest; try again if the registry does not see just uploaded blobs yet (eventual consistency)."""
        for attempt in range(1, 4):
            try:
                return put()
            except RegistryError as error:
                if "BLOB_UNKNOWN" not in error.message or error.temporary:
                    raise
            self._session.transport.sleep(backoff_s(attempt))
        return put()

    def _request(
        self, endpoint: Endpoint, ref: Reference, method: str, what: str, *, accept: tuple[int, ...],
        push: bool = False,
    ) -> Response:
        repository = endpoint.repository(ref.repository)
        actions = ("pull", "push") if push else ("pull",)
        return self._session.call(
            endpoint, method, endpoint.url(ref.repository, f"manifests/{ref.identifier}"), what=what,
            repository=repository, scopes=(repository_scope(repository, *actions),), accept=accept,
            headers=(("Accept", media.ACCEPT),), retries=None if push else self._endpoints.retries(endpoint), push=push,
        )

    def _read(self, response: Response, ref: Reference, what: str) -> Manifest | Index:
        document = _parsed(response, ref, what)
        stated = response.header("content-type").partition(";")[0].strip()
        if stated in (*media.MANIFESTS, *media.INDEXES) and stated != document.media_type:
            self._session.warn_once(
                "registry-content-type",
                f"`{response.url.host}` sends `{ref}` as `{stated}`, but it is `{document.media_type}`",
            )
        return document

    def _document_descriptor(self, ref: Reference) -> Descriptor | None:
        document = self._documents.get(ref.digest) if ref.digest is not None else None
        return document.descriptor if document is not None else None


def _described(response: Response, ref: Reference) -> Descriptor | None:
    """Return the descriptor from the headers of a HEAD, or None if they are not sufficient."""
    size = content_length(response)
    kind = response.header("content-type").partition(";")[0].strip()
    try:
        digest = ref.digest or parse_digest(told_digest(response))
    except ValueError:
        return None
    if size <= 0 or kind not in (*media.MANIFESTS, *media.INDEXES):
        return None
    return Descriptor(kind, digest, size)


def _parsed(response: Response, ref: Reference, what: str) -> Manifest | Index:
    told = told_digest(response)
    for wanted, source in ((ref.digest, "the reference"), (told, f"`{response.url.host}`")):
        algorithm = wanted.partition(":")[0] if wanted else ""
        if not wanted or algorithm not in ("sha256", "sha512"):
            continue
        found = _digest_as(response.body, wanted)
        if found != wanted:
            raise RegistryError(
                f"{what}: the manifest has digest `{found}`, {source} says `{wanted}`", code="registry-digest",
                method="GET", url=redact_url(str(response.url)), status=200,
            )
    try:
        return parse_manifest(response.body, response.header("content-type"))
    except ValueError as error:
        old = "schema version 1" in str(error)
        hints = ("pull and push it again with a current tool, so that it gets a schema 2 or OCI manifest",)
        raise RegistryError(
            f"{what}: {error}", code="registry-schema1" if old else "registry-manifest", hints=hints if old else (),
            method="GET", url=redact_url(str(response.url)), status=200,
        ) from None


def _digest_as(raw: bytes, like: str) -> Digest:
    hasher = new_hasher(like.partition(":")[0])
    hasher.update(raw)
    return finish(hasher)
