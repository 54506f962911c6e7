"""Reads, looks for, pushes and mounts blobs of registries. Does I/O.

The client remembers which repositories have a blob as long as it lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from firkin.errors import RegistryError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest
from firkin.oci.reference import Reference
from firkin.registry.download import Begun, BlobStream
from firkin.registry.endpoints import Endpoints
from firkin.registry.protocol import (
    BROKEN_HEAD,
    OPENED,
    Endpoint,
    Response,
    endpoint_of,
    repository_scope,
    response_error,
    says_too_little,
)
from firkin.registry.session import Session
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Exchange, Reader, upload_of
from firkin.registry.upload import BlobUpload
from firkin.registry.url import Url, split_url

Progress = Callable[[int], None]
PushOutcome = Literal["exists", "mounted", "pushed"]


class Blobs:
    """The blobs of one client. Safe to share between threads."""

    def __init__(self, settings: RegistrySettings, session: Session, endpoints: Endpoints) -> None:
        self._settings = settings
        self._session = session
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._present: set[tuple[str, str, Digest]] = set()
        self._sending: dict[tuple[str, str, Digest], threading.Lock] = {}
        self._wrong: set[tuple[Endpoint, Digest]] = set()  # endpoints that sent a wrong blob

    def open(
        self, ref: Reference, descriptor: Descriptor, progress: Progress | None, begun: Begun | None = None
    ) -> BlobStream:
        """Return a stream of a blob, verified while it is read; see BlobStream."""
        what = f"cannot pull `{ref.name}`"
        repository, digest = ref.repository, descriptor.digest
        first = begun.size if begun is not None else 0

        def stream(endpoint: Endpoint) -> BlobStream:
            if (endpoint, digest) in self._wrong and endpoint.mirror:
                raise RegistryError(f"{what}: `{endpoint.host}` sent a wrong blob", code="registry-digest")

            def opener(offset: int) -> Exchange:
                headers = (("Range", f"bytes={offset}-"),) if offset else ()
                return self._session.exchange(
                    endpoint, "GET", endpoint.url(repository, f"blobs/{digest}"), what=what,
                    repository=endpoint.repository(repository),
                    scopes=(repository_scope(endpoint.repository(repository), "pull"),),
                    accept=(200, 206) if offset else (200,), headers=headers,
                    # A stream counts its own attempts to go on.
                    retries=0 if offset > first else self._endpoints.retries(endpoint),
                )

            return self._stream(descriptor, opener, what, progress, lambda: self._wrong.add((endpoint, digest)), begun)

        try:
            return self._endpoints.ask(ref.registry, what, stream)
        except RegistryError as error:
            if error.status != 404 or not descriptor.urls:
                raise
            return self._foreign_blob(descriptor, what, progress, error, begun)

    def may_be_pulled(self, ref: Reference, digest: Digest) -> bool:
        """Say whether a mirror or the registry has a blob: one HEAD for each that is asked."""
        what = f"cannot look for a blob in `{ref.name}`"

        def look(endpoint: Endpoint) -> bool:
            response = self._session.call(
                endpoint, "HEAD", endpoint.url(ref.repository, f"blobs/{digest}"), what=what,
                repository=ref.repository, scopes=(repository_scope(ref.repository, "pull"),),
                accept=(200, 404, *BROKEN_HEAD), retries=self._endpoints.retries(endpoint),
            )
            if response.status != 200 and endpoint.mirror and self._settings.mirror_fallback:
                raise response_error(what, response)  # the next one is asked
            return response.status == 200

        try:
            return self._endpoints.ask(ref.registry, what, look)
        except RegistryError as error:
            if not says_too_little(error):
                raise
            return False

    def has(self, ref: Reference, digest: Digest, *, push: bool) -> bool:
        """Say whether the registry itself (no mirror) has a blob; `push` requests the scope (and token) of a push."""
        key = (ref.registry, ref.repository, digest)
        if key in self._present:
            return True
        endpoint = self._endpoints.of(ref.registry, push=push)
        actions = ("pull", "push") if push else ("pull",)
        try:
            response = self._session.call(
                endpoint, "HEAD", endpoint.url(ref.repository, f"blobs/{digest}"),
                what=f"cannot look for a blob in `{ref.name}`", repository=ref.repository,
                scopes=(repository_scope(ref.repository, *actions),), accept=(200, 404, *BROKEN_HEAD), push=push,
            )
        except RegistryError as error:
            if not says_too_little(error):
                raise
            return False  # unknown: pushing it is right in any case
        if response.status == 200:
            self._present.add(key)
        return response.status == 200

    def push(
        self, ref: Reference, descriptor: Descriptor, open_reader: Callable[[], Reader], mount_from: str, check: bool,
        progress: Progress | None,
    ) -> PushOutcome:
        """Bring a blob to the repository with the least traffic; two threads never upload the same blob at once."""
        key = (ref.registry, ref.repository, descriptor.digest)
        with self._lock:
            sending = self._sending.setdefault(key, threading.Lock())
        with sending:
            if key in self._present:
                return "exists"
            outcome = self._push(ref, descriptor, open_reader, mount_from, check, progress)
            self._present.add(key)
            return outcome

    def _push(
        self, ref: Reference, descriptor: Descriptor, open_reader: Callable[[], Reader], mount_from: str, check: bool,
        progress: Progress | None,
    ) -> PushOutcome:
        endpoint = self._endpoints.of(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        started = None
        if mount_from and mount_from != ref.repository:
            started = self._mount(endpoint, ref, descriptor.digest, mount_from, what)
            if started is not None and started.status == 201:
                return "mounted"
        if started is None and check and self.has(ref, descriptor.digest, push=True):
            return "exists"
        BlobUpload(
            self._session, endpoint, ref.repository, descriptor, open_reader,
            scopes=(repository_scope(ref.repository, "pull", "push"),), what=what, progress=progress,
        ).run(started)
        return "pushed"

    def mount_source(self, ref: Reference, source: Reference) -> str:
        """Return the repository from which a push to `ref` may mount blobs of `source`, or ""."""
        if source.registry == ref.registry:
            return source.repository
        host = endpoint_of(ref.registry).host
        for endpoint in self._endpoints.of_pulls(source.registry):
            if endpoint.mirror and endpoint.host == host:
                return endpoint.repository(source.repository)
        return ""

    def mount(self, ref: Reference, digest: Digest, mount_from: str) -> bool:
        """Mount a blob from another repository of the same registry; False if that did not work."""
        endpoint = self._endpoints.of(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        response = self._mount(endpoint, ref, digest, mount_from, what)
        if response is None:
            return False
        if response.status == 201:
            self._present.add((ref.registry, ref.repository, digest))
            return True
        self._abandon(endpoint, ref, response, what)
        return False

    def check_push(self, ref: Reference) -> None:
        """Find out whether pushing to the repository is allowed: open an upload and cancel it."""
        endpoint = self._endpoints.of(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        response = self._session.call(
            endpoint, "POST", endpoint.url(ref.repository, "blobs/uploads/"), what=what, repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull", "push"),), accept=OPENED, body=upload_of(b""),
            push=True,
        )
        self._abandon(endpoint, ref, response, what)

    def _mount(self, endpoint: Endpoint, ref: Reference, digest: Digest, mount_from: str, what: str) -> Response | None:
        """Request a mount; None if the registry refuses instead of opening an upload (no access to the source, …)."""
        scopes = (repository_scope(ref.repository, "pull", "push"), repository_scope(mount_from, "pull"))
        url = endpoint.url(ref.repository, "blobs/uploads/", ("mount", digest), ("from", mount_from))
        try:
            return self._session.call(
                endpoint, "POST", url, what=what, repository=ref.repository, scopes=scopes, accept=OPENED,
                body=upload_of(b""), push=True, retries=min(1, self._settings.retries),
            )
        except RegistryError as error:
            if not error.status:
                raise
            return None

    def _abandon(self, endpoint: Endpoint, ref: Reference, response: Response, what: str) -> None:
        try:
            where = self._session.located(endpoint, ref.repository, response)
            self._session.call(
                endpoint, "DELETE", where, what=what, repository=ref.repository,
                scopes=(repository_scope(ref.repository, "pull", "push"),), accept=(200, 202, 204), retries=0,
                push=True,
            )
        except RegistryError:
            return  # many registries cannot cancel uploads; they remove them by themselves

    def _stream(
        self, descriptor: Descriptor, opener: Callable[[int], Exchange], what: str, progress: Progress | None,
        on_wrong: Callable[[], None], begun: Begun | None,
    ) -> BlobStream:
        return BlobStream(
            descriptor, opener, what=what, retries=self._settings.retries, sleep=self._session.transport.sleep,
            progress=progress, on_wrong=on_wrong, begun=begun,
        )

    def _foreign_blob(
        self, descriptor: Descriptor, what: str, progress: Progress | None, error: RegistryError, begun: Begun | None
    ) -> BlobStream:
        """Fetch a layer from the URLs in its manifest: by https, without credentials, and verified as usual."""
        for text in descriptor.urls:
            try:
                url = split_url(text)
            except ValueError:
                continue
            if url.scheme != "https" and not self._endpoints.is_insecure(url.host):
                continue

            def opener(offset: int, url: Url = url) -> Exchange:
                return self._foreign_exchange(url, offset, what)

            try:
                return self._stream(descriptor, opener, what, progress, lambda: None, begun)
            except RegistryError as failure:
                error = failure
        raise error

    def _foreign_exchange(self, url: Url, offset: int, what: str) -> Exchange:
        headers = (("Range", f"bytes={offset}-"),) if offset else ()
        answer = self._session.plain(url, headers)
        if answer.status not in (200, 206):
            raise response_error(what, answer.response())
        return answer
