"""Writing one blob: monolithic PUT first, chunks where a registry wants them, resumed when broken. I; registry/ only.

Spec: distribution-spec, Pushing Blobs. A broken PUT is not lost: the session's GET says how much arrived, and the rest
follows as a PATCH. Registries behind a proxy that limits bodies (413) get chunks as well.
"""

from __future__ import annotations

from collections.abc import Callable

from firkin.errors import RegistryError
from firkin.oci.descriptor import Descriptor
from firkin.registry.protocol import Endpoint, Response, received_bytes
from firkin.registry.session import Session, backoff_s
from firkin.registry.transport import Reader, Upload, upload_of
from firkin.registry.url import Url, with_query

_OCTETS = ("Content-Type", "application/octet-stream")
_CHUNK_BYTES = 16 * 1024 * 1024
# Below this an upload starts again rather than asks how far it came.
_RESUME_BYTES = 1024 * 1024
# How registries and proxies say that they do not take the whole blob in one PUT.
_WANTS_CHUNKS = frozenset((405, 411, 413, 415, 501))
# The session is gone, or is not where we believe it to be.
_LOST_SESSION = frozenset((404, 409, 410, 416))


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
        self._chunk_bytes = 0  # 0: the whole blob in one PUT

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
                if error.status in _WANTS_CHUNKS and not self._chunk_bytes:
                    self._chunk_bytes = min(_CHUNK_BYTES, max(1, self._descriptor.size))
                    continue
                lost = error.status in _LOST_SESSION and error.method in ("PUT", "PATCH")
                if error.status == 400 and error.method == "PUT" and not attempt:
                    # libcurl repeats a request when a kept connection dies under it; a session that had taken some
                    # of the first copy then holds a mixture. A new session tells that from a wrong digest.
                    lost = True
                if not (error.temporary or lost) or attempt >= self._session.settings.retries:
                    raise
                attempt += 1
                self._session.transport.sleep(backoff_s(attempt))

    def _post(self) -> Response:
        url = self._endpoint.url(self._repository, "blobs/uploads/")
        return self._call("POST", url, upload_of(b""), (202,))

    def _transfer(self, response: Response) -> None:
        where = self._session.located(self._endpoint, response)
        smallest = response.header("oci-chunk-min-length")
        if self._chunk_bytes and smallest.isdigit():
            self._chunk_bytes = max(self._chunk_bytes, int(smallest))
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
        """Send what is missing of a broken upload, or raise the error that broke it."""
        for attempt in range(1, self._session.settings.retries + 1):
            self._session.transport.sleep(backoff_s(attempt))
            try:
                status = self._call("GET", where, None, (204, 202), retries=0)
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
            headers = (_OCTETS, ("Content-Range", f"{offset}-{offset + length - 1}"))
            response = self._call(
                "PATCH", where, Upload(self._open, length, offset, self._progress), (202, 204), headers, retries=0,
            )
            where = self._moved(where, response)
            held = received_bytes(response)
            if held > offset + length or (0 <= held <= offset):
                raise RegistryError(
                    f"{self._what}: `{self._endpoint.host}` holds {held} bytes of an upload after {offset + length}",
                    code="registry-answer", method="PATCH", status=response.status, temporary=True,
                )
            # A registry may keep less than it was sent; what it says counts.
            offset = held if held > 0 else offset + length
        self._put(where, size)

    def _moved(self, where: Url, response: Response) -> Url:
        return self._session.located(self._endpoint, response) if response.header("location") else where

    def _put(self, where: Url, offset: int) -> None:
        url = Url(where.scheme, where.host, with_query(where.target, ("digest", self._descriptor.digest)))
        length = self._descriptor.size - offset
        body = Upload(self._open, length, offset, self._progress) if length else upload_of(b"")
        self._call("PUT", url, body, (201, 204), (_OCTETS,), retries=0)

    def _call(
        self, method: str, url: Url, body: Upload | None, accept: tuple[int, ...],
        headers: tuple[tuple[str, str], ...] = (), retries: int | None = None,
    ) -> Response:
        return self._session.call(
            self._endpoint, method, url, what=self._what, repository=self._endpoint.repository(self._repository),
            scopes=self._scopes, accept=accept, headers=headers, body=body, retries=retries, push=True,
        )


