"""Reads one blob: verifies it as it passes, resumes after a broken connection. Does I/O. registry/ only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from firkin.errors import RegistryError
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import finish, new_hasher
from firkin.registry.protocol import content_length, content_range_start
from firkin.registry.session import backoff_s, because, patience
from firkin.registry.transport import Exchange
from firkin.registry.url import redact_url

# (offset) -> an answer with status 200 or 206, or an error
Opener = Callable[[int], Exchange]

_PROGRESS_RESETS_BYTES = 1024 * 1024


class Begun(NamedTuple):
    """The beginning of a blob, which an earlier download left: how many bytes, and an iterable of them."""

    size: int
    chunks: Iterable[bytes]


class BlobStream:
    """A blob's bytes: iterate, or `read(n)`. Use it as a context manager, in one thread at a time.

    The last bytes are returned only after size and digest were verified; a wrong blob raises RegistryError
    (`registry-digest`). Broken connections are resumed by Range, up to `retries` times without progress. The bytes of
    `begun` come first and are verified with the others; the registry is asked for the rest only.
    """

    def __init__(
        self, descriptor: Descriptor, opener: Opener, *, what: str, retries: int, sleep: Callable[[float], None],
        progress: Callable[[int], None] | None = None, on_wrong: Callable[[], None] | None = None,
        begun: Begun | None = None,
    ) -> None:
        self.descriptor = descriptor
        self._opener = opener
        self._what = what
        self._retries = retries
        self._sleep = sleep
        self._progress = progress
        self._on_wrong = on_wrong
        self._begun = begun or Begun(0, ())
        complete = 0 < descriptor.size <= self._begun.size
        self._exchange: Exchange | None = None if complete else opener(self._begun.size)
        self._chunks = self._verified()
        self._rest = memoryview(b"")

    def __enter__(self) -> BlobStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        if self._rest:
            rest, self._rest = bytes(self._rest), memoryview(b"")
            yield rest
        yield from self._chunks

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes (all remaining ones if it is negative), b"" at the end."""
        if size < 0:
            return b"".join(self)
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data

    def close(self) -> None:
        """Give the connection back; unread bytes are dropped."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _verified(self) -> Iterator[bytes]:
        wanted = self.descriptor
        hasher = new_hasher(wanted.digest.partition(":")[0])
        total = 0
        for chunk in self._resumed():
            total += len(chunk)
            if total > wanted.size:
                raise self._error(f"is longer than the {wanted.size} bytes that its manifest states")
            hasher.update(chunk)
            if total == wanted.size and finish(hasher) != wanted.digest:
                raise self._error(f"has digest `{finish(hasher)}` instead of `{wanted.digest}`")
            if self._progress is not None:
                self._progress(total)
            yield chunk
        if wanted.size == 0 and finish(hasher) != wanted.digest:
            raise self._error(f"has digest `{finish(hasher)}` instead of `{wanted.digest}`")

    def _resumed(self) -> Iterator[bytes]:
        """Yield chunks, none of them empty, until the stated size was reached."""
        wanted, done, attempt = self.descriptor.size, 0, 0
        for chunk in self._begun.chunks:
            done += len(chunk)
            yield chunk
        if 0 < wanted <= done:
            return
        mark = done
        while True:
            try:
                if self._exchange is None:
                    self._exchange = self._opener(done)
                for chunk in self._after(self._exchange, done):
                    done += len(chunk)
                    yield chunk
                if done >= wanted:
                    return
                failure = self._error(f"ends after {done} of {wanted} bytes", "registry-truncated", temporary=True)
            except RegistryError as error:
                if not error.temporary:
                    raise
                failure = because(self._what, error)
            finally:
                self.close()
            if done - mark >= _PROGRESS_RESETS_BYTES:
                attempt, mark = 0, done
            if attempt >= (patience(self._retries) if failure.code == "registry-timeout" else self._retries):
                raise failure
            attempt += 1
            self._sleep(backoff_s(attempt))

    def _after(self, exchange: Exchange, done: int) -> Iterator[bytes]:
        """Yield the body from byte `done` of the blob on, even if the answer begins earlier."""
        head = exchange.head()
        start = 0
        if exchange.status == 206:
            start = content_range_start(head)
            if start < 0 or start > done:
                raise self._error(f"resumes at byte {start}, not {done}", "registry-answer")
        length = content_length(head)
        if length >= 0 and start + length > self.descriptor.size:
            raise self._error(
                f"is announced with {start + length} bytes, its manifest states {self.descriptor.size}"
            )
        skip = done - start
        for chunk in exchange.chunks():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            piece, skip = chunk[skip:], 0
            yield piece

    def _error(self, reason: str, code: str = "registry-digest", *, temporary: bool = False) -> RegistryError:
        exchange = self._exchange
        # With bytes that came earlier, nobody knows which ones are wrong.
        if code == "registry-digest" and self._on_wrong is not None and not self._begun.size:
            self._on_wrong()
        url = redact_url(str(exchange.url)) if exchange is not None else ""
        return RegistryError(
            f"{self._what}: blob `{self.descriptor.digest}` {reason}", code=code, method="GET", url=url,
            status=exchange.status if exchange is not None else 0, temporary=temporary,
        )
