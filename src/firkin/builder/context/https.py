"""Files from http and https: ADD's downloads, and contexts given by a URL. Does I/O. Contexts import it.

Mirrors: moby/buildkit source/http.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from firkin.builder.context.archive import Scratch
from firkin.builder.context.views import SingleFile
from firkin.builder.graph.ops import Http
from firkin.decode import decode_json
from firkin.errors import ContextError, RegistryError
from firkin.layer.change import Entry
from firkin.registry.protocol import TEMPORARY, Headers, retry_after_s
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Exchange, Transport, upload_of
from firkin.registry.url import Url, join_url, redact_url, split_url

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 10
_MAX_BYTES = 64 << 30
_MAX_PAUSE_S = 30.0
_BUFFER = 1 << 20
# Go's client sends the same, so servers give the same answers and ETags as to other builders.
_ENCODING = ("Accept-Encoding", "gzip")


class Web:
    """Requests with redirects, authorization by origin, and retries. Thread-safe.

    `authorizations` maps an origin (`Url.origin`) to the value of its Authorization header; the user information
    in a URL takes precedence. Each value is sent to its own origin only.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        cancelled: Callable[[], bool] | None = None,
        authorizations: Mapping[tuple[str, str], str] | None = None,
        now_s: float = 0.0,
    ) -> None:
        self.settings = settings
        self._transport = Transport(settings, cancelled=cancelled)
        self._authorizations = authorizations or {}
        self._now_s = now_s

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def open(
        self, address: str, headers: Headers = (), *, body: bytes | None = None, accept: tuple[int, ...] = (200,)
    ) -> Exchange:
        """Return the answer to a GET (POST with a body) whose status is one of `accept`. Raises ContextError."""
        shown = redact_url(address)
        try:
            url = split_url(address)
        except ValueError as error:
            raise ContextError(str(error), code="fetch") from error
        secret = user_information(address) or self._authorizations.get(url.origin, "")
        attempt = 0
        while True:
            pause = 0.0
            try:
                exchange = self._follow(url, headers, body, secret)
                if exchange.status in accept:
                    return exchange
                failure = _refused(shown, exchange.status)
                temporary = exchange.status in TEMPORARY
                pause = retry_after_s(exchange.head(), self._now_s) or 0.0
                exchange.close()
            except RegistryError as error:
                # Other hints of the transport are about registries.
                hints = error.hints if error.code in ("registry-tls", "registry-proxy") else ()
                failure = ContextError(f"cannot fetch {shown}: {error.message}", code="fetch", hints=hints)
                temporary = error.temporary
            if not temporary or attempt >= self.settings.retries:
                raise failure
            self._transport.sleep(min(max(pause, 0.3 * 2**attempt), _MAX_PAUSE_S))
            attempt += 1

    def _follow(self, url: Url, headers: Headers, body: bytes | None, secret: str) -> Exchange:
        origin = url.origin
        method = "GET" if body is None else "POST"
        plain = body is None and not any(name.lower() in ("accept-encoding", "range") for name, _ in headers)
        encoding = (_ENCODING,) if plain else ()
        for _ in range(_MAX_REDIRECTS):
            authorization = (("Authorization", secret),) if secret and url.origin == origin else ()
            upload = upload_of(body) if body is not None else None
            exchange = self._transport.open(method, url, (*headers, *authorization, *encoding), upload)
            location = exchange.head().header("location")
            if exchange.status not in _REDIRECTS or not location:
                return exchange
            exchange.close()
            url = _redirected(url, location)
        raise RegistryError(f"more than {_MAX_REDIRECTS} redirects")


def _redirected(url: Url, location: str) -> Url:
    try:
        target = join_url(url, location)
    except ValueError as error:
        raise RegistryError(f"a redirect leads nowhere: {error}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise RegistryError(f"a redirect leads from https to http ({target.host})")
    return target


def _refused(shown: str, status: int) -> ContextError:
    hints: tuple[str, ...] = ()
    if status in (401, 403):
        hints = ("the server wants other credentials",)
    return ContextError(f"cannot fetch {shown}: invalid response status {status}", code="fetch-status", hints=hints)


def user_information(address: str) -> str:
    """Return the Authorization header for `https://user:password@host`."""
    rest = address.partition("://")[2]
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    user, at, _ = authority.rpartition("@")
    if not at:
        return ""
    from base64 import b64encode
    from urllib.parse import unquote_to_bytes

    name, _, password = user.partition(":")
    return "Basic " + b64encode(unquote_to_bytes(name) + b":" + unquote_to_bytes(password)).decode()


class _Known(msgspec.Struct):
    """The record of a download."""

    digest: str
    size: int
    mtime_s: int
    etag: str = ""
    last_modified: str = ""


class Fetched(NamedTuple):
    """A download on this machine. `mtime_s` is Last-Modified, 0 if the server did not send it."""

    path: str
    digest: str
    size: int
    mtime_s: int


class Downloads:
    """The downloads of one build. `directory` keeps those of earlier builds, which are revalidated each time.

    A kept file with the given checksum is used without a request.
    """

    def __init__(self, web: Web, scratch: Scratch, directory: str = "") -> None:
        self._web = web
        self._scratch = scratch
        self._directory = directory

    def file(self, op: Http) -> SingleFile:
        """Return the file of an ADD as a tree: mode 0600, owner 0:0. Raises ContextError."""
        found = self.fetch(op.url, op.checksum)
        entry = Entry(kind="file", mode=0o600, size=found.size, mtime_ns=found.mtime_s * 1_000_000_000)
        return SingleFile(op.filename, entry, found.path)

    def fetch(self, url: str, checksum: str = "") -> Fetched:
        """Download a URL, or reuse a download that has not changed. Raises ContextError, also for a wrong digest."""
        known = self._load(url)
        kept = self._hold(url, known) if known is not None else None
        if known is None or kept is None:
            return self._take(url, self._web.open(url), checksum)
        if checksum and kept.digest == checksum:
            return kept
        conditions: tuple[tuple[str, str], ...] = ()
        if known.etag:
            conditions = (("If-None-Match", known.etag),)
        elif known.last_modified:
            conditions = (("If-Modified-Since", known.last_modified),)
        exchange = self._web.open(url, conditions, accept=(200, 304) if conditions else (200,))
        if exchange.status == 304:
            exchange.close()
            return _check(kept, url, checksum)
        os.unlink(kept.path)
        return self._take(url, exchange, checksum)

    def _take(self, url: str, exchange: Exchange, checksum: str) -> Fetched:
        algorithm = checksum.partition(":")[0] or "sha256"
        hasher = hashlib.new(algorithm, usedforsecurity=False)
        path = self._scratch("download")
        size = 0
        try:
            with open(path, "xb", buffering=_BUFFER) as file:
                for chunk in exchange.chunks():
                    hasher.update(chunk)
                    file.write(chunk)
                    size += len(chunk)
                    if size > _MAX_BYTES:
                        raise ContextError(f"{redact_url(url)} is larger than {_MAX_BYTES >> 30} GiB", code="fetch")
        except RegistryError as error:
            raise ContextError(f"cannot fetch {redact_url(url)}: {error.message}", code="fetch") from error
        finally:
            exchange.close()
        head = exchange.head()
        last_modified = head.header("last-modified")
        digest = f"{algorithm}:{hasher.hexdigest()}"
        known = _Known(digest, size, _seconds(last_modified), head.header("etag"), last_modified)
        found = _check(Fetched(path, digest, size, known.mtime_s), url, checksum)
        if self._directory:
            self._keep(url, known, path)
        return found

    # Downloads of earlier builds: NAME.json is the record of a URL, NAME.DIGEST is its content. The content of a
    # NAME.DIGEST never changes, so record and content match even if other builds write at the same time.

    def _place(self, url: str) -> str:
        return f"{self._directory}/{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()}"

    def _content(self, url: str, known: _Known) -> str:
        return f"{self._place(url)}.{known.digest.partition(':')[2]}"

    def _hold(self, url: str, known: _Known) -> Fetched | None:
        """Link an earlier download into this build's scratch space, where nobody removes it; None if it is gone."""
        path = self._scratch("download")
        try:
            os.link(self._content(url, known), path)
            if os.stat(path).st_size != known.size:
                return None
            os.utime(self._place(url) + ".json")  # the time of its last use, for `firkin prune`
        except OSError:
            return None
        return Fetched(path, known.digest, known.size, known.mtime_s)

    def _load(self, url: str) -> _Known | None:
        if not self._directory:
            return None
        try:
            with open(self._place(url) + ".json", "rb") as file:
                return decode_json(file.read(), _Known)
        except (OSError, msgspec.MsgspecError):
            return None

    def _keep(self, url: str, known: _Known, path: str) -> None:
        """Keep a download for the next build, unless the disk is full or has no hard links."""
        former = self._load(url)
        note = path + ".json"
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            with open(note, "xb") as file:
                file.write(msgspec.json.encode(known))
            os.link(path, path + ".kept")
            os.replace(path + ".kept", self._content(url, known))
            os.replace(note, self._place(url) + ".json")
            if former is not None and former.digest != known.digest:
                os.unlink(self._content(url, former))
        except OSError:
            return  # this build has the download anyway


def _check(found: Fetched, url: str, checksum: str) -> Fetched:
    if not checksum or found.digest == checksum:
        return found
    if found.digest.partition(":")[0] != checksum.partition(":")[0]:
        with open(found.path, "rb") as file:
            digest = hashlib.file_digest(file, checksum.partition(":")[0])
        if f"{digest.name}:{digest.hexdigest()}" == checksum:
            return found
    raise ContextError(f"digest mismatch for {redact_url(url)}: {found.digest} != {checksum}", code="fetch-digest")


def _seconds(last_modified: str) -> int:
    """Return the seconds since 1970 of a header's date, 0 if it is not a date."""
    if not last_modified:
        return 0
    from email.utils import parsedate_to_datetime

    try:
        return max(0, int(parsedate_to_datetime(last_modified).timestamp()))
    except ValueError:
        return 0


def document_chunks(web: Web, url: str, dated: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield the body of a URL, for contexts; `dated` is called with Last-Modified, if sent. Raises ContextError."""
    exchange = web.open(url)
    try:
        modified_s = _seconds(exchange.head().header("last-modified"))
        if modified_s and dated is not None:
            dated(modified_s)
        yield from exchange.chunks()
    except RegistryError as error:
        raise ContextError(f"cannot fetch {redact_url(url)}: {error.message}", code="fetch") from error
    finally:
        exchange.close()
