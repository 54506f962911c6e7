"""HTTP by libcurl (pycurl): connections, streaming, time-outs, cancellation. Does I/O. registry/, builder/context/ and
cli/kaniko/ only.

One Exchange is one request and its answer. Its reader drives the transfer: nothing runs in the background, and memory
stays at a few buffers. `session` handles redirects, authentication and retries. Idle connections wait in a pool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Protocol

import msgspec

from firkin import __version__
from firkin.errors import Cancelled, FirkinError, RegistryError
from firkin.registry.curl import pycurl
from firkin.registry.protocol import Headers, Response, is_encoded
from firkin.registry.proxy import choose_proxy
from firkin.registry.settings import RegistrySettings
from firkin.registry.trust import Trust, TrustStore
from firkin.registry.url import Url, redact_url

_BUFFER_BYTES = 512 * 1024
_TICK_S = 0.2  # how long a wait may last before `cancelled` is asked again
_CONNECT_TIMEOUT_S = 30.0
# A registry may have to copy a blob in its storage before it answers the end of an upload.
_COMMIT_TIMEOUT_S = 300.0
# A transfer of fewer bytes within `timeout_s` counts as no transfer.
_SLOWEST_BYTES = 4096


class Reader(Protocol):
    """The source of an upload, e.g. a binary file."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start."""

    def close(self) -> None:
        """Release the source."""


class Upload(msgspec.Struct, frozen=True):
    """A request body: `length` bytes from `offset` of the Reader that `open` returns (called for every attempt)."""

    open: Callable[[], Reader]
    length: int
    offset: int = 0
    progress: Callable[[int], None] | None = None


def upload_of(data: bytes) -> Upload:
    """Return the body of a small request."""
    from io import BytesIO

    return Upload(lambda: BytesIO(data), len(data))


def _without_gzip(url: Url, chunks: Iterator[bytes]) -> Iterator[bytes]:
    from firkin.layer.compress import iter_decompressed

    first = next(chunks, b"")
    if not first:
        return  # an empty body is not encoded
    try:
        yield from iter_decompressed(chain((first,), chunks), "gzip")
    except ValueError as error:
        raise RegistryError(
            f"`{url.host}` sends what its Content-Encoding is not: {error}", code="registry-answer",
            method="GET", url=redact_url(str(url)),
        ) from None


class _Channel:
    """A multi handle (it owns the connections) with the one easy handle that uses it."""

    def __init__(self) -> None:
        self.multi = pycurl.CurlMulti()
        self.easy = pycurl.Curl()

    def close(self) -> None:
        self.multi.close()
        self.easy.close()


class Transport:
    """Opens Exchanges. Safe to share between threads; an Exchange belongs to one thread at a time."""

    def __init__(self, settings: RegistrySettings, *, cancelled: Callable[[], bool] | None = None) -> None:
        self.settings = settings
        self.trust = TrustStore(settings)
        self._cancelled = cancelled or (lambda: False)
        self._idle: list[_Channel] = []
        self._lock = threading.Lock()
        suffix = "".join(char for char in settings.user_agent_suffix if char.isprintable())
        self._agent = f"firkin/{__version__} {suffix}".rstrip()

    def open(
        self, method: str, url: Url, headers: Headers = (), body: Upload | None = None, *, verify: bool = True
    ) -> Exchange:
        """Send a request and return when the answer's headers have arrived.

        Raises RegistryError if no answer comes (`temporary` says whether another attempt may help), Cancelled.
        """
        self.check()
        with self._lock:
            channel = self._idle.pop() if self._idle else _Channel()
        exchange = Exchange(self, channel, method, url, body)
        try:
            self._configure(channel.easy, exchange, headers, body, verify)
            exchange.start()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for channel in idle:
            channel.close()

    def check(self) -> None:
        """Raise Cancelled if the build was told to stop."""
        if self._cancelled():
            raise Cancelled("cancelled while talking to a registry")

    def sleep(self, seconds: float) -> None:
        """Wait before another attempt; raises Cancelled."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _TICK_S))

    def release(self, channel: _Channel) -> None:
        """Take a channel back; called by Exchange only."""
        with self._lock:
            self._idle.append(channel)

    def proxy(self, url: Url) -> str:
        """Return the proxy for a URL, or ""."""
        return choose_proxy(url, self.settings.http_proxy, self.settings.https_proxy, self.settings.no_proxy)

    def _configure(
        self, easy: Any, exchange: Exchange, headers: Headers, body: Upload | None, verify: bool
    ) -> None:
        url, settings = exchange.url, self.settings
        proxy = self.proxy(url)
        easy.reset()
        options: list[tuple[int, object]] = [
            (pycurl.URL, str(url)),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.USERAGENT, self._agent),
            (pycurl.PROXY, proxy),  # with "" libcurl does not look at the environment
            (pycurl.NOPROXY, ""),
            (pycurl.CONNECTTIMEOUT_MS, int(min(settings.timeout_s, _CONNECT_TIMEOUT_S) * 1000)),
            (pycurl.TCP_KEEPALIVE, 1),
            (pycurl.EXPECT_100_TIMEOUT_MS, 500),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers]),
            (pycurl.HEADERFUNCTION, exchange.on_header),
            (pycurl.WRITEFUNCTION, exchange.on_body),
        ]
        if exchange.method == "HEAD":
            options.append((pycurl.NOBODY, 1))
        elif exchange.method != "GET":
            options.append((pycurl.CUSTOMREQUEST, exchange.method))
        if body is not None:
            options += [
                (pycurl.UPLOAD, 1),
                (pycurl.CUSTOMREQUEST, exchange.method),
                (pycurl.INFILESIZE_LARGE, body.length),
                (pycurl.UPLOAD_BUFFERSIZE, _BUFFER_BYTES),
                (pycurl.READFUNCTION, exchange.on_read),
                (pycurl.SEEKFUNCTION, exchange.on_seek),
            ]
        for option, value in options:
            easy.setopt(option, value)
        if url.scheme == "https":
            _set_trust(easy, self.trust.of(url.host, verify=verify))
        if proxy.startswith("https:"):
            roots = self.trust.of("")
            easy.setopt(*_roots(roots, pycurl.PROXY_CAINFO, pycurl.PROXY_CAINFO_BLOB))


def _roots(trust: Trust, file_option: int, blob_option: int) -> tuple[int, object]:
    # If there are no roots, an empty blob makes verification fail; otherwise libcurl would trust its built-in roots.
    return (file_option, trust.ca_file) if trust.ca_file else (blob_option, trust.ca_pem or b"\n")


def _set_trust(easy: Any, trust: Trust) -> None:
    easy.setopt(pycurl.SSL_VERIFYPEER, int(trust.verify))
    easy.setopt(pycurl.SSL_VERIFYHOST, 2 if trust.verify else 0)
    if trust.verify:
        easy.setopt(*_roots(trust, pycurl.CAINFO, pycurl.CAINFO_BLOB))
    if trust.certificate:
        easy.setopt(pycurl.SSLCERT, trust.certificate)
        easy.setopt(pycurl.SSLKEY, trust.key)


class Exchange:
    """One request and its answer. `status` and `headers` are set when Transport.open returns."""

    def __init__(
        self, transport: Transport, channel: _Channel, method: str, url: Url, body: Upload | None
    ) -> None:
        self.method = method
        self.url = url
        self.status = 0
        self.headers: Headers = ()
        self.authorized = False  # whether the request had credentials; `session` sets it
        self._transport = transport
        self._channel: _Channel | None = channel
        self._upload = body
        self._reader: Reader | None = None
        self._sent = 0
        self._moved = 0
        self._mark = (0.0, 0)  # when the measurement of the pace began, and how many bytes had moved before
        self._lines: list[tuple[str, str]] = []
        self._headers_end = False
        self._chunks: list[bytes] = []
        self._added = False
        self._done = False
        self._failure: BaseException | None = None

    def response(self, limit: int = 4 * 1024 * 1024, *, cut: bool = False) -> Response:
        """Read the body of a small answer and end the exchange; raises RegistryError above `limit` bytes.

        With `cut` a longer body is cut off instead: only the beginning of an error body matters.
        """
        try:
            parts, total = [], 0
            for chunk in self.chunks():
                total += len(chunk)
                if total > limit and cut:
                    parts.append(chunk[: len(chunk) - (total - limit)])
                    break
                if total > limit:
                    raise RegistryError(
                        f"`{self.url.host}` sends more than {limit} bytes where a document was expected",
                        code="registry-too-large", method=self.method, url=redact_url(str(self.url)),
                        status=self.status,
                    )
                parts.append(chunk)
            return Response(self.method, self.url, self.status, self.headers, b"".join(parts))
        finally:
            self.close()

    def head(self) -> Response:
        """Return status and headers, without reading the body."""
        return Response(self.method, self.url, self.status, self.headers)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in pieces of at most 1 MiB, without the gzip of a Content-Encoding.

        Other encodings stay, as in Go's client (and so in other builders). Raises RegistryError: `temporary` if the
        connection breaks, not for a damaged encoding. Raises Cancelled.
        """
        if is_encoded(self.head()):
            return _without_gzip(self.url, self._received())
        return self._received()

    def _received(self) -> Iterator[bytes]:
        idle_since = time.monotonic()
        while True:
            if self._chunks:
                chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks = []
                taken = time.monotonic()
                yield chunk
                idle_since = time.monotonic()
                # Time that the reader takes does not count.
                self._mark = (self._mark[0] + idle_since - taken, self._mark[1])
            elif self._done:
                if self._failure is not None:
                    raise self._failure
                return
            else:
                idle_since = self._step(idle_since)

    def close(self) -> None:
        """End the exchange; a connection with an unread body is closed."""
        channel, self._channel = self._channel, None
        if channel is not None:
            if self._added:
                channel.multi.remove_handle(channel.easy)
                self._added = False
            self._transport.release(channel)
        self._done = True
        self._close_reader()

    def start(self) -> None:
        """Send the request and wait for the headers; called by Transport only."""
        assert self._channel is not None
        if self._upload is not None:
            self._open_reader(0)
        self._channel.multi.add_handle(self._channel.easy)
        self._added = True
        idle_since = time.monotonic()
        self._mark = (idle_since, 0)
        while not self._done and not self._answered():
            idle_since = self._step(idle_since)
        self._mark = (time.monotonic(), self._moved)
        if self._headers_end and self.status >= 400:
            # A refusal that came before the whole body was sent is more important than the broken connection after it.
            self._failure = None
        if self._failure is not None and not self._chunks:
            raise self._failure
        self.headers = tuple(self._lines)

    def _answered(self) -> bool:
        # The headers of a proxy's answer to CONNECT end, too; only the server's own answer sets RESPONSE_CODE.
        if not self._headers_end or self._channel is None:
            return False
        return bool(self._channel.easy.getinfo(pycurl.RESPONSE_CODE) >= 200)

    def _step(self, idle_since: float) -> float:
        """Advance the transfer or wait a moment for it; return the time since when nothing was transferred."""
        self._transport.check()
        assert self._channel is not None
        moved = self._moved
        _, running = self._channel.multi.perform()
        if running == 0:
            self._finish()
            return idle_since
        now = time.monotonic()
        limit = self._transport.settings.timeout_s
        if self._moved != moved:
            self._check_pace(now, limit)
            return now
        if self._upload is not None and self._sent >= self._upload.length and not self._headers_end:
            limit = max(limit, _COMMIT_TIMEOUT_S) if self._upload.length else limit
        if now - idle_since > limit:
            self._fail(RegistryError(
                f"`{self.url.host}` does not answer: nothing moved for {limit:.0f} seconds",
                code="registry-timeout", method=self.method, url=redact_url(str(self.url)), temporary=True,
            ))
            return now
        self._wait(min(_TICK_S, limit))
        return idle_since

    def _check_pace(self, now: float, limit: float) -> None:
        """Fail if an answer is too slow. A request with a body may wait longer: the registry may be processing it."""
        since, before = self._mark
        if now - since <= limit:
            return
        self._mark = (now, self._moved)
        waits = self._upload is not None and self._upload.length > 0 and not self._headers_end
        if not waits and self._moved - before < _SLOWEST_BYTES:
            self._fail(RegistryError(
                f"`{self.url.host}` is too slow: {self._moved - before} bytes in {now - since:.0f} seconds",
                code="registry-timeout", method=self.method, url=redact_url(str(self.url)), temporary=True,
            ))

    def _wait(self, timeout_s: float) -> None:
        assert self._channel is not None
        multi = self._channel.multi
        wanted_ms = multi.timeout()
        if wanted_ms >= 0:
            timeout_s = min(timeout_s, wanted_ms / 1000)
        if timeout_s <= 0:
            return
        if any(multi.fdset()):
            multi.select(timeout_s)
        else:
            # While another thread looks up a name, there may be no descriptor to wait for.
            time.sleep(min(timeout_s, 0.005))

    def _finish(self) -> None:
        assert self._channel is not None
        multi, easy = self._channel.multi, self._channel.easy
        _, _, failed = multi.info_read()
        failure: BaseException | None = self._failure
        if failed and failure is None:
            _, number, text = failed[0]
            from firkin.registry.failures import transfer_error

            proxy = self._transport.proxy(self.url)
            failure = transfer_error(self.method, self.url, number, text, easy, proxy, self._transport.settings)
            if proxy and not easy.getinfo(pycurl.RESPONSE_CODE):
                self.status, self._headers_end = 0, False  # a proxy's answer about a tunnel is not the server's answer
        self._end(failure)

    def _fail(self, failure: BaseException) -> None:
        self._end(failure)

    def _end(self, failure: BaseException | None) -> None:
        channel, self._channel = self._channel, None
        self._done, self._failure = True, failure
        if channel is not None:
            channel.multi.remove_handle(channel.easy)
            self._added = False
            self._transport.release(channel)
        self._close_reader()

    # Callbacks run inside perform(): pycurl only prints their exceptions, so they store them for the caller.

    def on_header(self, line: bytes) -> None:
        """Take one header line."""
        self._moved += len(line)
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            code = text.split(" ", 2)[1:2]
            self.status = int(code[0]) if code and code[0].isdigit() else 0
            self._lines, self._headers_end = [], False
        elif not text:
            self._headers_end = self.status >= 200
        else:
            name, _, value = text.partition(":")
            self._lines.append((name.strip().lower(), value.strip()))

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._moved += len(data)
        self._chunks.append(data)

    def on_read(self, size: int) -> bytes | int:
        """Return the next piece of the upload. Raises RegistryError."""
        upload, reader = self._upload, self._reader
        assert upload is not None and reader is not None
        try:
            data = reader.read(min(size, upload.length - self._sent)) if self._sent < upload.length else b""
            if not data and self._sent < upload.length:
                raise RegistryError(
                    f"the content to upload ends after {upload.offset + self._sent} bytes, "
                    f"not {upload.offset + upload.length}", code="registry-source",
                )
            self._sent += len(data)
            self._moved += len(data)
            if upload.progress is not None and data:
                upload.progress(upload.offset + self._sent)
        except (OSError, ValueError, FirkinError) as error:
            self._failure = error
            return int(pycurl.READFUNC_ABORT)
        return data

    def on_seek(self, offset: int, origin: int) -> int:
        """Go back to `offset`: libcurl sends the body again if a reused connection turns out to be dead."""
        if origin != 0:
            return int(pycurl.SEEKFUNC_CANTSEEK)
        try:
            self._open_reader(offset)
        except (OSError, ValueError, FirkinError) as error:
            self._failure = error
            return int(pycurl.SEEKFUNC_FAIL)
        return int(pycurl.SEEKFUNC_OK)

    def _open_reader(self, sent: int) -> None:
        assert self._upload is not None
        self._close_reader()
        self._reader = self._upload.open()
        if self._upload.offset + sent:
            self._reader.seek(self._upload.offset + sent)
        self._sent = sent

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
