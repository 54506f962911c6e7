"""RegistryClient: what the rest of firkin does with registries. Does I/O. Context and everything above it may import
it.

Pulls go to the mirrors of a registry in order, then to itself; pushes only to itself. Documents and presence of blobs
are remembered for the client's life, so asking twice costs one request. docs/dev/registry.md tells the rules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from firkin.errors import RegistryError, UsageError
from firkin.oci import codec, media
from firkin.oci.config import ImageConfig, parse_config
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import Digest, digest_of, finish, new_hasher, parse_digest
from firkin.oci.manifest import Index, Manifest, parse_manifest
from firkin.oci.reference import Reference
from firkin.registry.download import BlobStream
from firkin.registry.protocol import (
    OPENED,
    Endpoint,
    Response,
    content_length,
    endpoint_of,
    mirror_endpoint,
    next_page,
    repository_scope,
    response_error,
    told_digest,
)
from firkin.registry.session import Session, Warn, backoff_s
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Exchange, Reader, upload_of
from firkin.registry.trust import check_certificates
from firkin.registry.upload import BlobUpload
from firkin.registry.url import Url, host_matches, redact_url, split_url

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

T = TypeVar("T")


class _TagPage(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    name: object = None
    tags: list[str] | None = None


def _tag_page_shape() -> Shape:
    from firkin.oci.gojson import TEXTS, Shape

    return Shape(_TagPage, tags=TEXTS)


Progress = Callable[[int], None]
PushOutcome = Literal["exists", "mounted", "pushed"]

# What a HEAD may be answered with where a GET works: registries and proxies that cannot do HEAD.
_BROKEN_HEAD = (405, 500, 501)
_MAX_TAG_PAGES = 2000
_MAX_IDLE_PAGES = 10  # that bring no tag which was not there before
_MAX_TAG_BYTES = 64 * 1024 * 1024
# An endpoint that fails so is not asked again when there is another one.
_DOWN = frozenset(("registry-unreachable", "registry-proxy", "registry-tls", "registry-timeout", "registry-connection"))


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
        self._settings = settings
        self._session = Session(settings, cancelled=cancelled, warn=warn)
        self._lock = threading.Lock()
        self._documents: dict[Digest, Manifest | Index] = {}
        self._resolved: dict[Reference, Descriptor] = {}
        self._present: set[tuple[str, str, Digest]] = set()
        self._sending: dict[tuple[str, str, Digest], threading.Lock] = {}
        self._down: set[Endpoint] = set()
        self._wrong: set[tuple[Endpoint, Digest]] = set()  # endpoints that sent a wrong blob

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
        with self._lock:
            known = self._resolved.get(ref) or self._document_descriptor(ref)
        if known is not None:
            return known
        what = f"cannot resolve `{ref}`"

        def head(endpoint: Endpoint) -> Descriptor | None:
            try:
                response = self._manifest_request(endpoint, ref, "HEAD", what, accept=(200, *_BROKEN_HEAD))
                if response.status != 200:
                    raise response_error(what, response)
            except RegistryError as error:
                if not _says_too_little(error) or (endpoint.mirror and self._settings.mirror_fallback):
                    raise
                return None
            return _described(response, ref)

        found = self._pull(ref.registry, what, head)
        if found is None:
            return self.get_manifest(ref).descriptor
        with self._lock:
            return self._resolved.setdefault(ref, found)

    def get_manifest(self, ref: Reference) -> Manifest | Index:
        """Return the manifest or index of a name, verified against its digest; `raw` is what was sent."""
        with self._lock:
            resolved = self._resolved.get(ref)
            digest = resolved.digest if resolved is not None else ref.digest
            document = self._documents.get(digest) if digest is not None else None
        if document is not None:
            return document
        exact = Reference(ref.registry, ref.repository, ref.tag, digest)
        what = f"cannot pull `{ref}`"

        def get(endpoint: Endpoint) -> Manifest | Index:
            response = self._manifest_request(endpoint, exact, "GET", what, accept=(200,))
            return self._read_document(response, exact, what)

        document = self._pull(ref.registry, what, get)
        with self._lock:
            descriptor = document.descriptor
            self._documents[digest or descriptor.digest] = self._documents[descriptor.digest] = document
            self._resolved.setdefault(ref, descriptor)
        return document

    def find_manifest(self, ref: Reference) -> Manifest | Index | None:
        """Return what the registry itself (no mirror) has under a name now, or None: one GET, never remembered."""
        endpoint = self._endpoint(ref.registry)
        what = f"cannot look for `{ref}`"
        response = self._manifest_request(endpoint, ref, "GET", what, accept=(200, 404))
        return self._read_document(response, ref, what) if response.status == 200 else None

    def open_blob(self, ref: Reference, descriptor: Descriptor, *, progress: Progress | None = None) -> BlobStream:
        """Return a stream of a blob of the repository that `ref` names, verified while it is read.

        Falls back to the descriptor's `urls` when no registry has the blob. `progress` gets the bytes so far.
        """
        what = f"cannot pull `{ref.name}`"
        repository, digest = ref.repository, descriptor.digest

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
                    retries=0 if offset else self._retries(endpoint),  # a stream counts its own attempts
                )

            return self._stream(descriptor, opener, what, progress, lambda: self._wrong.add((endpoint, digest)))

        try:
            return self._pull(ref.registry, what, stream)
        except RegistryError as error:
            if error.status != 404 or not descriptor.urls:
                raise
            return self._foreign_blob(descriptor, what, progress, error)

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

    def has_blob(self, ref: Reference, digest: Digest, *, push: bool = False) -> bool:
        """Say whether the registry itself has a blob in the repository; at most one HEAD per blob.

        `push` asks with the rights (and so the token) of a push.
        """
        key = (ref.registry, ref.repository, digest)
        if key in self._present:
            return True
        endpoint = self._endpoint(ref.registry, push=push)
        actions = ("pull", "push") if push else ("pull",)
        try:
            response = self._session.call(
                endpoint, "HEAD", endpoint.url(ref.repository, f"blobs/{digest}"),
                what=f"cannot look for a blob in `{ref.name}`", repository=ref.repository,
                scopes=(repository_scope(ref.repository, *actions),), accept=(200, 404, *_BROKEN_HEAD), push=push,
            )
        except RegistryError as error:
            if not _says_too_little(error):
                raise
            return False  # who knows: sending it is right in any case
        if response.status == 200:
            self._present.add(key)
        return response.status == 200

    def list_tags(self, ref: Reference) -> tuple[str, ...]:
        """Return the tags of a repository, in the registry's order. Raises RegistryError."""
        endpoint = self._endpoint(ref.registry)
        what = f"cannot list the tags of `{ref.name}`"
        url = endpoint.url(ref.repository, "tags/list")
        tags: dict[str, None] = {}
        seen, total, idle = {url}, 0, 0
        while True:
            response = self._session.call(
                endpoint, "GET", url, what=what, repository=ref.repository,
                scopes=(repository_scope(ref.repository, "pull"),), accept=(200,),
            )
            try:
                page = codec.decode_like_go(response.body, _TagPage, "list of tags", _tag_page_shape).tags or []
            except ValueError as error:
                raise RegistryError(
                    f"{what}: `{endpoint.host}` sends no list: {error}", code="registry-answer"
                ) from None
            before = len(tags)
            tags.update(dict.fromkeys(page))
            total += len(response.body)
            idle = idle + 1 if len(tags) == before else 0
            following = next_page(response)
            # Some registries let the last page lead to itself.
            if following is None or following == url:
                return tuple(tags)
            endless = following in seen or idle > _MAX_IDLE_PAGES
            if endless or len(seen) >= _MAX_TAG_PAGES or total > _MAX_TAG_BYTES:
                raise RegistryError(
                    f"{what}: the list of `{endpoint.host}` does not come to an end "
                    f"({len(tags)} tags on {len(seen)} pages)", code="registry-answer",
                )
            seen.add(following)
            url = following

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
        key = (ref.registry, ref.repository, descriptor.digest)
        with self._lock:
            sending = self._sending.setdefault(key, threading.Lock())
        with sending:
            if key in self._present:
                return "exists"
            outcome = self._push_blob(ref, descriptor, open_reader, mount_from, check, progress)
            self._present.add(key)
            return outcome

    def _push_blob(
        self, ref: Reference, descriptor: Descriptor, open_reader: Callable[[], Reader], mount_from: str, check: bool,
        progress: Progress | None,
    ) -> PushOutcome:
        endpoint = self._endpoint(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        started = None
        if mount_from and mount_from != ref.repository:
            started = self._mount(endpoint, ref, descriptor.digest, mount_from, what)
            if started is not None and started.status == 201:
                return "mounted"
        if started is None and check and self.has_blob(ref, descriptor.digest, push=True):
            return "exists"
        BlobUpload(
            self._session, endpoint, ref.repository, descriptor, open_reader,
            scopes=(repository_scope(ref.repository, "pull", "push"),), what=what, progress=progress,
        ).run(started)
        return "pushed"

    def mount_source(self, ref: Reference, source: Reference) -> str:
        """Return the repository from which a push to `ref` may mount blobs of `source`, or "" when there is none.

        That is its own repository in the same registry, or its place in a mirror of its registry that `ref` lies in.
        """
        if source.registry == ref.registry:
            return source.repository
        host = endpoint_of(ref.registry).host
        for endpoint in self._pull_endpoints(source.registry):
            if endpoint.mirror and endpoint.host == host:
                return endpoint.repository(source.repository)
        return ""

    def mount_blob(self, ref: Reference, digest: Digest, mount_from: str) -> bool:
        """Take a blob over from another repository of the same registry; False when that did not work."""
        endpoint = self._endpoint(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        response = self._mount(endpoint, ref, digest, mount_from, what)
        if response is None:
            return False
        if response.status == 201:
            self._present.add((ref.registry, ref.repository, digest))
            return True
        self._abandon(endpoint, ref, response, what)
        return False

    def push_manifest(self, ref: Reference, raw: bytes, media_type: str) -> Digest:
        """Put a manifest or index under the tag (or else the digest) of `ref`; return its digest.

        Raises RegistryError.
        """
        digest = _digest_as(raw, ref.digest or "sha256:")
        name = ref.tag or digest
        endpoint = self._endpoint(ref.registry, push=True)
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

    def manifest_digest(self, ref: Reference) -> Digest | None:
        """Return what the registry itself (no mirror) has under a name now: one HEAD, never remembered.

        Raises RegistryError.
        """
        endpoint = self._endpoint(ref.registry, push=True)
        what = f"cannot look for `{ref}`"
        try:
            response = self._manifest_request(
                endpoint, ref, "HEAD", what, accept=(200, 404, *_BROKEN_HEAD), push=True
            )
            if response.status in _BROKEN_HEAD:
                raise response_error(what, response)
        except RegistryError as error:
            if not _says_too_little(error):
                raise
            response = self._manifest_request(endpoint, ref, "GET", what, accept=(200, 404), push=True)
        if response.status != 200:
            return None
        if ref.digest is not None:
            return ref.digest
        try:
            return parse_digest(told_digest(response))
        except ValueError:
            return digest_of(response.body) if response.method == "GET" else None

    def check_push(self, ref: Reference) -> None:
        """Find out whether pushing to the repository is allowed: open an upload and give it up again."""
        endpoint = self._endpoint(ref.registry, push=True)
        what = f"cannot push to `{ref.name}`"
        response = self._session.call(
            endpoint, "POST", endpoint.url(ref.repository, "blobs/uploads/"), what=what, repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull", "push"),), accept=OPENED, body=upload_of(b""),
            push=True,
        )
        self._abandon(endpoint, ref, response, what)

    def check_access(self, registry: str) -> None:
        """Find out whether the registry answers and takes the credentials: GET /v2/."""
        endpoint = self._endpoint(registry)
        self._session.call(
            endpoint, "GET", Url(endpoint.scheme, endpoint.host, "/v2/"), what=f"cannot log in to `{registry}`",
            repository="", scopes=(), accept=(200,),
        )

    def delete(self, ref: Reference) -> None:
        """Delete a manifest by its digest, or by its tag where the registry allows that."""
        endpoint = self._endpoint(ref.registry, push=True)
        self._session.call(
            endpoint, "DELETE", endpoint.url(ref.repository, f"manifests/{ref.identifier}"),
            what=f"cannot delete `{ref}`", repository=ref.repository,
            scopes=(repository_scope(ref.repository, "pull", "push", "delete"),), accept=(200, 202, 204), push=True,
        )
        with self._lock:
            self._resolved.pop(ref, None)

    def repeat(self, attempts: int, operation: Callable[[], T]) -> T:
        """Run a whole pull or push, up to `attempts` times more when it fails, 1, 2, 4, … seconds apart.

        Kaniko's --push-retry and --image-download-retry: unlike a request's retries they do not ask why it failed.
        """
        delay_s = 1.0
        for _ in range(attempts):
            try:
                return operation()
            except RegistryError as error:
                self._session.warn_once("registry-retry", f"{error.message}; trying again")
            self._session.transport.sleep(delay_s)
            delay_s = min(delay_s * 2, 64.0)
        return operation()

    # --- endpoints ---------------------------------------------------------------------------------------------------

    def _endpoint(self, registry: str, *, push: bool = False) -> Endpoint:
        settings = self._settings
        plain = settings.insecure_push if push else settings.insecure_pull
        endpoint = endpoint_of(registry, plain=plain or self._insecure(registry))
        return self._preferring_tls(endpoint, registry)

    def _insecure(self, host: str) -> bool:
        return any(host_matches(pattern, host) for pattern in self._settings.insecure)

    def _preferring_tls(self, endpoint: Endpoint, host: str) -> Endpoint:
        """Begin with TLS on a loopback host that was given certificates or TLS settings of its own."""
        settings = self._settings
        named = [*(item[0] for item in (*settings.ca_files, *settings.client_certs)), *settings.skip_tls_verify]
        if endpoint.scheme == "http" and not self._insecure(host):
            if any(pattern != "*" and host_matches(pattern, host) for pattern in named):
                return Endpoint(endpoint.registry, endpoint.host, "https", endpoint.prefix, False, endpoint.mirror)
        return endpoint

    def _pull_endpoints(self, registry: str) -> list[Endpoint]:
        settings = self._settings
        mirrors = []
        for mirror in settings.mirrors:
            if mirror.registry.lower() != registry.lower():
                continue
            try:
                endpoint = mirror_endpoint(registry, mirror.location)
                if "://" not in mirror.location:
                    plain = settings.insecure_pull or self._insecure(endpoint.host)
                    endpoint = self._preferring_tls(
                        mirror_endpoint(registry, mirror.location, plain=plain), endpoint.host
                    )
            except ValueError as error:
                raise UsageError(str(error), code="registry-mirror") from None
            mirrors.append(endpoint)
        if mirrors and not settings.mirror_fallback:
            return mirrors
        return [*mirrors, self._endpoint(registry)]

    def _retries(self, endpoint: Endpoint) -> int | None:
        # A mirror is there to be quick: when it fails once, the next endpoint is asked.
        return 0 if endpoint.mirror and self._settings.mirror_fallback else None

    def _pull(self, registry: str, what: str, ask: Callable[[Endpoint], T]) -> T:
        """Ask the endpoints of a registry in order; the whole round again as `pull_retries` says."""
        return self.repeat(self._settings.pull_retries, lambda: self._pull_once(registry, what, ask))

    def _pull_once(self, registry: str, what: str, ask: Callable[[Endpoint], T]) -> T:
        endpoints = self._pull_endpoints(registry)
        notes: list[str] = []
        for number, endpoint in enumerate(endpoints):
            last = number == len(endpoints) - 1
            if not last and endpoint in self._down:
                continue
            try:
                return ask(endpoint)
            except RegistryError as error:
                if last:
                    error.hints = (*error.hints, *notes)
                    raise
                reason = error.message.removeprefix(f"{what}: ")
                notes.append(f"mirror `{endpoint.host}` was asked before: {reason}")
                if error.code in _DOWN:
                    self._down.add(endpoint)
                if error.status != 404:
                    self._session.warn_once("registry-mirror", f"mirror `{endpoint.host}` is passed over: {reason}")
        raise AssertionError("a registry has at least one endpoint")

    def _once_blobs_are_known(self, put: Callable[[], Response]) -> Response:
        """Put a manifest; again when a registry whose parts agree late does not know the blobs yet that it took."""
        for attempt in range(1, 4):
            try:
                return put()
            except RegistryError as error:
                if "BLOB_UNKNOWN" not in error.message or error.temporary:
                    raise
            self._session.transport.sleep(backoff_s(attempt))
        return put()

    # --- requests ----------------------------------------------------------------------------------------------------

    def _manifest_request(
        self, endpoint: Endpoint, ref: Reference, method: str, what: str, *, accept: tuple[int, ...],
        push: bool = False,
    ) -> Response:
        repository = endpoint.repository(ref.repository)
        actions = ("pull", "push") if push else ("pull",)
        return self._session.call(
            endpoint, method, endpoint.url(ref.repository, f"manifests/{ref.identifier}"), what=what,
            repository=repository, scopes=(repository_scope(repository, *actions),), accept=accept,
            headers=(("Accept", media.ACCEPT),), retries=None if push else self._retries(endpoint), push=push,
        )

    def _read_document(self, response: Response, ref: Reference, what: str) -> Manifest | Index:
        document = _read_document(response, ref, what)
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

    def _stream(
        self, descriptor: Descriptor, opener: Callable[[int], Exchange], what: str, progress: Progress | None,
        on_wrong: Callable[[], None],
    ) -> BlobStream:
        return BlobStream(
            descriptor, opener, what=what, retries=self._settings.retries, sleep=self._session.transport.sleep,
            progress=progress, on_wrong=on_wrong,
        )

    def _foreign_blob(
        self, descriptor: Descriptor, what: str, progress: Progress | None, error: RegistryError
    ) -> BlobStream:
        """Fetch a layer from where its manifest says it lies: by https, without credentials, verified all the same."""
        for text in descriptor.urls:
            try:
                url = split_url(text)
            except ValueError:
                continue
            if url.scheme != "https" and not self._insecure(url.host):
                continue

            def opener(offset: int, url: Url = url) -> Exchange:
                return self._foreign_exchange(url, offset, what)

            try:
                return self._stream(descriptor, opener, what, progress, lambda: None)
            except RegistryError as failure:
                error = failure
        raise error

    def _foreign_exchange(self, url: Url, offset: int, what: str) -> Exchange:
        headers = (("Range", f"bytes={offset}-"),) if offset else ()
        answer = self._session.plain(url, headers)
        if answer.status not in (200, 206):
            raise response_error(what, answer.response())
        return answer

    def _mount(self, endpoint: Endpoint, ref: Reference, digest: Digest, mount_from: str, what: str) -> Response | None:
        """Ask for a mount; None where the registry refuses instead of opening an upload (the source is not ours, …)."""
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
            return  # many registries cannot; they forget uploads by themselves


def _described(response: Response, ref: Reference) -> Descriptor | None:
    """Return the descriptor that a HEAD tells, or None where it says too little."""
    size = content_length(response)
    kind = response.header("content-type").partition(";")[0].strip()
    try:
        digest = ref.digest or parse_digest(told_digest(response))
    except ValueError:
        return None
    if size <= 0 or kind not in (*media.MANIFESTS, *media.INDEXES):
        return None
    return Descriptor(kind, digest, size)


def _says_too_little(error: RegistryError) -> bool:
    """Say whether a GET is to be tried as well: a HEAD's refusal has no words, and some registries refuse HEAD only."""
    refused = 400 <= error.status < 500 and error.status != 401 and not error.temporary
    return error.method == "HEAD" and (refused or error.status in _BROKEN_HEAD)


def _read_document(response: Response, ref: Reference, what: str) -> Manifest | Index:
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
