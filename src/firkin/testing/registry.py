"""A registry in this process that keeps everything in memory and injects faults. Does I/O. For tests only.

`with FakeRegistry() as registry:` serves plain HTTP at `registry.host`. `registry.fail(...)` queues faults, and
`registry.seen` lists the requests. Spec: distribution-spec, with the token flow of distribution's docs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from firkin.testing.quirks import Quirks


class Seen(NamedTuple):
    """One request that was received; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class Fault(NamedTuple):
    """A fault for `times` requests of `method` whose path contains `path`.

    `status` is answered at once (0: the usual answer follows). `cut` ends the connection after so many bytes of the
    body: of the answer, or of an upload, which keeps them. `corrupt` flips the answer's last byte. `delay_s` is a pause
    before the answer, `drip_s` before each byte of it.
    """

    method: str
    path: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: int = -1
    corrupt: bool = False
    delay_s: float = 0.0
    drip_s: float = 0.0


class FakeRegistry:
    """An in-memory registry. `auth` is "none", "basic" or "token"; set its attributes to change how it behaves."""

    def __init__(
        self, *, auth: str = "none", user: str = "user", password: str = "secret", tls: ssl.SSLContext | None = None,
        quirks: Quirks | None = None,
    ) -> None:
        self.auth = auth
        self.quirks = quirks or Quirks()
        self.user = user
        self.password = password
        self.tls = tls
        self.identity_token = ""  # accepted by POST at the token server; given to who asks for an offline token
        self.token_lifetime_s = 60
        self.realm = ""  # "": this server's own
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[Seen] = []
        self.tokens: dict[str, tuple[set[str], float]] = {}
        self.max_put_bytes = -1  # a PUT with a longer body gets 413
        self.patch_keeps = -1  # bytes of each PATCH that are kept; -1: all
        self.page_size = 100
        self.ranges = True  # whether Range is understood
        self.upload_host = ""  # Location of uploads points here, e.g. `http://localhost:PORT`
        self.counts: dict[str, int] = {}  # how often each quirk of limited duration has occurred
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._numbers = iter(range(1, 1 << 30))

    def __enter__(self) -> FakeRegistry:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if self.tls is not None:
            # The handler's thread does the handshake: a client that disconnects must not stop the server.
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """`http[s]://127.0.0.1:PORT`."""
        return f"{'https' if self.tls is not None else 'http'}://{self.host}"

    def add_blob(self, repository: str, data: bytes) -> str:
        """Store a blob and return its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[repository, digest] = data
        return digest

    def add_manifest(self, repository: str, tag: str, media_type: str, raw: bytes) -> str:
        """Store a manifest under its tag and digest; return the digest."""
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        self.manifests[repository, digest] = (media_type, raw)
        if tag:
            self.manifests[repository, tag] = (media_type, raw)
        return digest

    def fail(
        self, method: str, path: str, *, times: int = 1, status: int = 0, headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"", cut: int = -1, corrupt: bool = False, delay_s: float = 0.0, drip_s: float = 0.0,
    ) -> None:
        """Queue a Fault for the next `times` requests that it matches."""
        fault = Fault(method, path, status, tuple(headers), body, cut, corrupt, delay_s, drip_s)
        with self._lock:
            self._faults += [fault] * times

    def take_fault(self, method: str, path: str) -> Fault | None:
        """Remove and return the first fault that matches a request."""
        with self._lock:
            for fault in self._faults:
                if fault.method == method and fault.path in path:
                    self._faults.remove(fault)
                    return fault
        return None

    def still(self, quirk: str, times: int) -> bool:
        """Say whether a quirk that occurs `times` times must still occur, and count it."""
        with self._lock:
            self.counts[quirk] = self.counts.get(quirk, 0) + 1
            return self.counts[quirk] <= times

    def revoke_tokens(self) -> None:
        """Make every issued token invalid."""
        self.tokens.clear()

    def requests(self, method: str = "", path: str = "") -> list[Seen]:
        """Return the requests of a method whose path contains `path`, without those for tokens."""
        return [
            seen for seen in self.seen
            if (not method or seen.method == method) and path in seen.path and not seen.path.startswith("/token")
        ]

    def new_upload(self) -> str:
        """Open an upload and return its name."""
        name = f"upload-{next(self._numbers)}"
        self.uploads[name] = bytearray()
        return name

    def new_token(self, scopes: Iterable[str]) -> str:
        """Issue a token."""
        token = f"token-{next(self._numbers)}"
        granted = {
            f"{scope.rpartition(':')[0]}:{action}" for text in scopes for scope in text.split()
            for action in scope.rpartition(":")[2].split(",")
        }
        self.tokens[token] = (granted, time.monotonic() + self.token_lifetime_s)
        return token

    def allows(self, authorization: str, repository: str, action: str) -> bool:
        """Say whether a request may do `action`."""
        if self.auth == "basic":
            return authorization == self.basic()
        if self.auth == "token":
            granted, expires = self.tokens.get(authorization.removeprefix("Bearer "), (set(), 0.0))
            wanted = f"repository:{repository}:{action}"
            return time.monotonic() < expires and (not repository or wanted in granted)
        return True

    def basic(self) -> str:
        """Return the Authorization header of the one user."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        fake = registry

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeRegistry

    def handle(self) -> None:
        """Serve one connection; ignore a client that disconnects."""
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer any method; the other `do_` methods are this function."""
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.fault = self.fake.take_fault(self.command, self.path)
        self.cut = self.fault.cut if self.fault is not None else -1
        body = b"" if self._is_upload() else self._read()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.fake.seen.append(Seen(self.command, self.path, headers, body))
        if self._failed():
            return
        if parts.path == "/token":
            self._token(body)
        elif parts.path.startswith("/storage/") and self.fake.quirks.storage:
            if self.headers.get("Authorization"):
                self._error(400, "TOO_MANY_CREDENTIALS")
            else:
                self._answer(200, self.fake.blobs[self.query["repository"][0], parts.path[9:]])
        elif parts.path in ("/v2", "/v2/"):
            if self._allowed("", "pull"):
                self._answer(200, b"{}")
        elif parts.path.startswith("/v2/"):
            self._route(parts.path[4:], body)
        else:
            self._error(404, "NOT_FOUND")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _failed(self) -> bool:
        """Answer with the fault for this request; return False if there is none, or if it only delays the answer."""
        if self.fault is None:
            return False
        time.sleep(self.fault.delay_s)
        if self.fault.status:
            self._read()
            self._answer(self.fault.status, self.fault.body, self.fault.headers)
        return bool(self.fault.status)

    def _is_upload(self) -> bool:
        return self.command in ("PUT", "PATCH") and "/blobs/uploads/" in self.path

    def _read(self, limit: int = -1) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        del self.headers["Content-Length"]
        if self.headers.get("Expect", "").lower() == "100-continue" and length:
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(length if limit < 0 else min(length, limit))

    def _route(self, path: str, body: bytes) -> None:
        for kind in ("/manifests/", "/blobs/uploads/", "/blobs/", "/tags/list"):
            repository, found, name = path.partition(kind)
            if not found:
                continue
            action = "pull" if self.command in ("GET", "HEAD") and kind != "/blobs/uploads/" else "push"
            if not self._allowed(repository, action):
                return
            if kind == "/manifests/":
                self._manifest(repository, name, body)
            elif kind == "/blobs/uploads/":
                self._upload(repository, name)
            elif kind == "/blobs/":
                self._blob(repository, name)
            else:
                self._tags(repository)
            return
        self._error(404, "NAME_UNKNOWN")

    def _allowed(self, repository: str, action: str) -> bool:
        fake = self.fake
        if fake.allows(self.headers.get("Authorization", ""), repository, action):
            return True
        self._read()
        stranger = not self.headers.get("Authorization")
        if repository and fake.quirks.hide and (stranger or fake.quirks.hide == 401):
            self._error(fake.quirks.hide, "HIDDEN")
        elif not repository and fake.quirks.ping != 401:
            self._answer(fake.quirks.ping, b"{}")
        else:
            headers = (("WWW-Authenticate", self._challenge(repository, action)),)
            self._answer(401, _error_body("UNAUTHORIZED"), headers)
        return False

    def _challenge(self, repository: str, action: str) -> str:
        fake, quirk = self.fake, self.fake.quirks.challenge
        if fake.auth == "basic":
            challenge = "basic realm=fake" if quirk == "lower case" else 'Basic realm="fake"'
        else:
            scope = f',scope="repository:{repository}:{action}"' if repository else ""
            query = "?account_type=a%20b" if quirk == "realm with query" else ""
            name = "bearer" if quirk == "lower case" else "Bearer"
            challenge = f'{name} realm="{fake.realm or fake.url + "/token"}{query}",service="fake"{scope}'
        return f"Negotiate, NTLM, {challenge}, Digest x=1" if quirk == "among others" else challenge

    def _token(self, body: bytes) -> None:
        fake = self.fake
        if fake.quirks.token_busy and fake.still("token", fake.quirks.token_busy):
            self._answer(429, b"slow down", (("Retry-After", "2"),))
            return
        scopes = self._scopes(body)
        if scopes is None:
            return
        token, lifetime = fake.new_token(scopes), fake.token_lifetime_s
        answers: dict[str, dict[str, object]] = {
            "access_token": {"access_token": token, "token": "", "expires_in": 0, "issued_at": ""},
            "nulls": {"token": None, "access_token": token, "expires_in": None, "issued_at": None},
            "text": {"token": token, "expires_in": str(lifetime), "issued_at": 12},
            "fraction": {"token": token, "expires_in": lifetime + 0.5, "refresh_token": "x" * 3000},
        }
        answer = answers.get(fake.quirks.token, {"token": token, "expires_in": lifetime})
        if fake.identity_token and "offline_token=true" in self.path:
            answer = {**answer, "refresh_token": fake.identity_token}
        kind = "text/html" if fake.quirks.token == "html type" else "application/json"
        self._answer(200, json.dumps(answer).encode(), (("Content-Type", kind),))

    def _scopes(self, body: bytes) -> list[str] | None:
        """Return the scopes of a token request; None if an error was answered."""
        fake = self.fake
        if self.command == "POST":
            form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
            refreshed = fake.identity_token and form.get("refresh_token") == fake.identity_token
            named = fake.quirks.token_by_post and (
                (form.get("username"), form.get("password")) == (fake.user, fake.password)
            )
            if refreshed or named:
                return [form.get("scope", "")]
            self._error(401, "invalid_grant")
        elif fake.quirks.token_by_post:
            self._error(405, "UNSUPPORTED")
        elif self.headers.get("Authorization", "") not in ("", fake.basic()):
            self._error(401, "UNAUTHORIZED")
        else:
            return self.query.get("scope", [])
        return None

    def _manifest(self, repository: str, name: str, body: bytes) -> None:
        fake, quirks = self.fake, self.fake.quirks
        if self.command == "PUT":
            if quirks.late_blobs and fake.still("manifest", quirks.late_blobs):
                self._error(400, "MANIFEST_BLOB_UNKNOWN")
                return
            digest = fake.add_manifest(repository, name, self.headers.get("Content-Type", ""), body)
            location = ("Location", f"/v2/x/manifests/{digest}")
            self._answer(quirks.named, b"", (*self._digest(digest), location))
            return
        found = fake.manifests.get((repository, name))
        if found is None:
            self._error(404, "MANIFEST_UNKNOWN")
        elif self.command == "DELETE":
            del fake.manifests[repository, name]
            self._answer(202, b"")
        elif self.command == "HEAD" and quirks.head:
            self._answer(quirks.head, b"")
        else:
            digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
            kind = found[0] if quirks.content_type is None else quirks.content_type
            self._answer(200, found[1], (*((("Content-Type", kind),) if kind else ()), *self._digest(digest)))

    def _digest(self, digest: str) -> tuple[tuple[str, str], ...]:
        quirk = self.fake.quirks.digest
        if quirk == "none":
            return ()
        return (("Docker-Content-Digest", f'"{digest}"' if quirk == "quoted" else digest),)

    def _blob(self, repository: str, digest: str) -> None:
        data = self.fake.blobs.get((repository, digest))
        if data is None:
            self._error(404, "BLOB_UNKNOWN")
            return
        if self.fake.quirks.storage:
            location = f"{self.fake.quirks.storage}/storage/{digest}?repository={repository}"
            self._answer(307, b"", (("Location", location),))
            return
        wanted = self.headers.get("Range", "")
        if wanted and self.fake.ranges:
            first = int(wanted.removeprefix("bytes=").partition("-")[0])
            if first >= len(data):
                self._error(416, "RANGE_INVALID")
                return
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._answer(206, data[first:], (("Content-Range", span),))
        else:
            self._answer(200, data)

    def _tags(self, repository: str) -> None:
        tags = sorted(tag for name, tag in self.fake.manifests if name == repository and ":" not in tag)
        last = self.query.get("last", [""])[0]
        rest = [tag for tag in tags if tag > last]
        page, size = rest[: self.fake.page_size], self.fake.page_size
        link = (("Link", f'</v2/{repository}/tags/list?last={page[-1]}>; rel="next"'),) if len(rest) > size else ()
        self._answer(200, json.dumps({"name": repository, "tags": page}).encode(), link)

    def _upload(self, repository: str, name: str) -> None:
        fake = self.fake
        if self.command == "POST":
            mount, source = self.query.get("mount", [""])[0], self.query.get("from", [""])[0]
            if mount and fake.quirks.mount:
                self._error(fake.quirks.mount, "DENIED")
                return
            if mount and (source, mount) in fake.blobs:
                fake.blobs[repository, mount] = fake.blobs[source, mount]
                self._answer(201, b"")
                return
            self._session(fake.quirks.opened, repository, fake.new_upload())
            return
        held = fake.uploads.get(name)
        if held is None:
            self._read()
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "GET":
            self._session(204, repository, name)
        elif self.command == "DELETE":
            del fake.uploads[name]
            self._answer(204, b"")
        else:
            self._receive(repository, name, held)

    def _receive(self, repository: str, name: str, held: bytearray) -> None:
        fake = self.fake
        if self._refused(repository, name, held):
            return
        data = self._read(self.cut)
        if self.command == "PATCH" and fake.patch_keeps >= 0:
            data = data[: fake.patch_keeps]
        held += data
        if self.cut >= 0:
            self._drop()
        elif self.command == "PATCH":
            if fake.quirks.location == "moves":
                fake.uploads[name + "-moved"] = fake.uploads.pop(name)
                name += "-moved"
            self._session(fake.quirks.patched, repository, name)
        else:
            self._store(repository, name, held)

    def _refused(self, repository: str, name: str, held: bytearray) -> bool:
        """Say whether a request with a body was answered with an error before its bytes were stored."""
        fake, put = self.fake, self.command == "PUT"
        length = int(self.headers.get("Content-Length") or 0)
        start = self.headers.get("Content-Range", "").partition("-")[0]
        if length and put and fake.quirks.put:
            self._read()
            self._error(fake.quirks.put, "BLOB_UPLOAD_INVALID")
        elif self.command == "PATCH" and not fake.quirks.patch:
            self._read()
            self._error(405, "BLOB_UPLOAD_INVALID")
        elif put and 0 <= fake.max_put_bytes < length:
            self.close_connection = True
            self._answer(413, b"<html>too large</html>")
        elif start and int(start) != len(held):
            self._read()
            self._session(416, repository, name)
        else:
            return False
        return True

    def _store(self, repository: str, name: str, held: bytearray) -> None:
        """Make a blob of a finished upload."""
        digest = self.query.get("digest", [""])[0]
        if digest != f"sha256:{hashlib.sha256(held).hexdigest()}":
            self._error(400, "DIGEST_INVALID")
            return
        self.fake.blobs[repository, digest] = bytes(held)
        del self.fake.uploads[name]
        self._answer(self.fake.quirks.stored, b"", self._digest(digest))

    def _session(self, status: int, repository: str, name: str) -> None:
        held, quirks = len(self.fake.uploads[name]), self.fake.quirks
        host = self.fake.upload_host
        if quirks.location in ("absolute", "upper case"):
            host = self.fake.url.upper() if quirks.location == "upper case" else self.fake.url
        location = f"{host}/v2/{repository}/blobs/uploads/{name}?_state=secret%2B"
        headers = [("Location", f"{name}?_state=1" if quirks.location == "relative" else location)]
        if quirks.location == "uuid only":
            headers = [("Docker-Upload-UUID", name)]
        if quirks.ranges:
            headers.append(("Range", f"0-{max(0, held - 1)}"))
        self._answer(status, b"", headers)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, _error_body(code))

    def _answer(self, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
        if self.fault is not None and self.fault.corrupt and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut >= 0 and not self._is_upload():
            self.wfile.write(body[: self.cut])
            self._drop()
            return
        if self.fault is not None and self.fault.drip_s:
            for position in range(len(body)):
                time.sleep(self.fault.drip_s)
                self.wfile.write(body[position : position + 1])
            return
        self.wfile.write(body)

    def _drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True


def _error_body(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
