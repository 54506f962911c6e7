"""Uploads one blob: first by one PUT, in other forms if the registry refuses that; resumes a broken upload. Does I/O.
registry/ only.

Spec: distribution-spec, Pushing Blobs. A broken PUT is resumed: a GET of the upload session says how much arrived, and
a PATCH sends the remaining bytes. A registry that refuses the PUT, with any status, gets the blob as Docker sends it:
one PATCH without Content-Range, and a PUT without a body. If a proxy limits the size of bodies (413), chunks are sent.
"""

from __future__ import annotations

from collections.abc import Callable

from firkin.errors import RegistryError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import parse_digest
from firkin.registry.protocol import (
    OPENED,
    STORED,
    Endpoint,
    Headers,
    Response,
    parse_count,
    received_bytes,
    told_digest,
)
from firkin.registry.session import Session, backoff_s
from firkin.registry.transport import Reader, Upload, upload_of
from firkin.registry.url import Url, redact_url, with_query

_OCTETS = ("Content-Type", "application/octet-stream")
_CHUNK_BYTES = 16 * 1024 * 1024
# A broken upload of fewer bytes starts again instead of asking how much arrived.
_RESUME_BYTES = 1024 * 1024
# For these answers to a PUT another form of upload does not help. Those in the second row are temporary.
_NO_MATTER_OF_FORM = frozenset((401, 403, 429))
_PASSING = frozenset((408, 425, 503, 504))
# The upload session is gone, or has another offset than expected.
_LOST_SESSION = frozenset((404, 409, 410, 416))
# The registry does not support PATCH: then the error of the PUT is reported.
_NO_PATCH = frozenset((405, 501))


class BlobUpload:
    """The upload of one blob to one repository; `run` returns when the registry has it."""

    def __init__(
        self, session: Session, endpoint: Endpoint, repository: str, descriptor: Descriptor,
        open_reader: Callable[[], Reader], *, scopes: tuple[str, ...], what: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._repository = repository
        self._descriptor = descriptor
        self._open = open_reader
        self._scopes = scopes
        self._what = what
        self._progress = progress
        self._chunk_bytes = 0  # largest size of a PATCH; 0: the whole blob in one PUT
        self._refused: RegistryError | None = None  # why the registry refused the single PUT

    def run(self, started: Response | None = None) -> None:
        """Upload; `started` is the answer to a POST that has already opened a session."""
        attempt = 0
        while True:
            try:
                response = started or self._post()
                started = None
                self._transfer(response)
                return
            except RegistryError as error:
                if self._change_form(error) and not error.temporary:
                    continue
                lost = error.status in _LOST_SESSION and error.method in ("PUT", "PATCH")
                if not (error.temporary or lost) or attempt >= self._session.settings.retries:
                    raise
                attempt += 1
                self._session.transport.sleep(backoff_s(attempt))

    def _change_form(self, error: RegistryError) -> bool:
        """Decide after an error whether to send the blob in another form; if so, set the form and return True."""
        if error.method == "PUT" and not self._chunk_bytes and error.status >= 400:
            return self._give_up_put(error)
        if error.method == "PATCH" and error.status == 413 and self._chunk_bytes > _CHUNK_BYTES:
            self._chunk_bytes = _CHUNK_BYTES
            return True
        if error.method == "PATCH" and error.status in _NO_PATCH and self._refused is not None:
            raise self._refused
        return False

    def _give_up_put(self, error: RegistryError) -> bool:
        """Decide whether to send a blob by PATCH after a refused PUT; if so, set that and return True."""
        size = self._descriptor.size
        if size and error.status not in _NO_MATTER_OF_FORM | _PASSING:
            # libcurl repeats a request if a reused connection breaks. An upload session that had stored part of the
            # first copy then has a mixture and refuses it (400). A new session solves that, too.
            self._chunk_bytes = min(_CHUNK_BYTES, size) if error.status == 413 else size
            self._refused = error
            return True
        return False

    def _post(self) -> Response:
        url = self._endpoint.url(self._repository, "blobs/uploads/")
        return self._call("POST", url, upload_of(b""), OPENED)

    def _transfer(self, response: Response) -> None:
        where = self._session.located(self._endpoint, self._repository, response)
        smallest = parse_count(response.header("oci-chunk-min-length"))
        if 0 < self._chunk_bytes < smallest:
            self._chunk_bytes = min(smallest, self._descriptor.size)
        if self._chunk_bytes:
            self._patch(where, 0, self._chunk_bytes)
            return
        try:
            self._put(where, 0)
        except RegistryError as error:
            if not error.temporary or self._descriptor.size < _RESUME_BYTES:
                raise
            self._resume(where, error)

    def _resume(self, where: Url, error: RegistryError) -> None:
        """Send the missing bytes of a broken upload, or raise the error that broke it."""
        for attempt in range(1, self._session.settings.retries + 1):
            self._session.transport.sleep(backoff_s(attempt))
            try:
                status = self._call("GET", where, None, OPENED, retries=0)
            except RegistryError:
                raise error from None
            held = received_bytes(status)
            if held < _RESUME_BYTES or held > self._descriptor.size:
                raise error
            where = self._moved(where, status)
            try:
                self._patch(where, held, self._descriptor.size)
                return
            except RegistryError as failure:
                if not failure.temporary:
                    raise
                error = failure
        raise error

    def _patch(self, where: Url, offset: int, chunk_bytes: int) -> None:
        """Send the blob from `offset` on in chunks, and close the session."""
        size = self._descriptor.size
        while offset < size:
            length = min(chunk_bytes, size - offset)
            headers: Headers = (_OCTETS,)
            if length < size:  # a whole blob has no such header, as in Docker: not every registry supports it
                headers = (_OCTETS, ("Content-Range", f"{offset}-{offset + length - 1}"))
            response = self._call(
                "PATCH", where, Upload(self._open, length, offset, self._progress), OPENED, headers, retries=0,
            )
            where = self._moved(where, response)
            held = received_bytes(response)
            if held > offset + length or (0 < held <= offset) or (held == 0 and offset):
                raise RegistryError(
                    f"{self._what}: `{self._endpoint.host}` holds {held} bytes of an upload after {offset + length}",
                    code="registry-answer", method="PATCH", status=response.status, temporary=True,
                )
            # A registry may keep less than it was sent; its answer counts.
            offset = held if held > 0 else offset + length
        self._put(where, size)

    def _moved(self, where: Url, response: Response) -> Url:
        if not response.header("location"):
            return where
        return self._session.located(self._endpoint, self._repository, response)

    def _put(self, where: Url, offset: int) -> None:
        url = Url(where.scheme, where.host, with_query(where.target, ("digest", self._descriptor.digest)))
        length = self._descriptor.size - offset
        body = Upload(self._open, length, offset, self._progress) if length else upload_of(b"")
        response = self._call("PUT", url, body, STORED, (_OCTETS,), retries=0)
        self._check_stored(response)

    def _check_stored(self, response: Response) -> None:
        """Raise RegistryError if the registry reports that it stored another digest."""
        try:
            stored = parse_digest(told_digest(response))
        except ValueError:
            return  # it reports no digest
        wanted = self._descriptor.digest
        if stored != wanted and stored.partition(":")[0] == wanted.partition(":")[0]:
            raise RegistryError(
                f"{self._what}: `{self._endpoint.host}` stored a blob as `{stored}`, not `{wanted}`",
                code="registry-digest", method="PUT", url=redact_url(str(response.url)), status=response.status,
            )

    def _call(
        self, method: str, url: Url, body: Upload | None, accept: tuple[int, ...],
        headers: Headers = (), retries: int | None = None,
    ) -> Response:
        return self._session.call(
            self._endpoint, method, url, what=self._what, repository=self._endpoint.repository(self._repository),
            scopes=self._scopes, accept=accept, headers=headers, body=body, retries=retries, push=True,
        )


