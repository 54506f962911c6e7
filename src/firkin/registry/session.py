"""Requests with authentication, redirects and retries. Does I/O. registry/ only.

`Authorization` is sent only to the origin of the endpoint. A redirect or Location from https to http is refused; one to
the same host is followed by https, because some proxies do not know that they were reached by https.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import msgspec

from firkin.errors import RegistryError
from firkin.registry.auth import (
    Credentials,
    Token,
    basic_authorization,
    choose_challenge,
    refusal,
    token_flow,
)
from firkin.registry.hints import for_a_push
from firkin.registry.keychain import Keychain
from firkin.registry.protocol import (
    MAX_ERROR_BYTES,
    TEMPORARY,
    Challenge,
    Endpoint,
    Headers,
    Response,
    covers,
    merge_scopes,
    parse_challenges,
    response_error,
    retry_after_s,
)
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Exchange, Transport, Upload, upload_of
from firkin.registry.url import Url, host_matches, join_url, redact_url, split_host

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 10
_FIRST_DELAY_S = 0.3
_MAX_DELAY_S = 30.0
_MAX_RETRY_AFTER_S = 120.0
_MAX_TOKEN_BYTES = 1024 * 1024
# A registry may answer an anonymous request with these although it accepts the user's credentials.
_HIDING = frozenset((401, 403, 404))

Warn = Callable[[str, str], None]


class _HostAuth:
    """The authentication of one host: its challenge, and tokens by user and scopes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.challenge: Challenge | None = None
        self.asked = False  # whether `GET /v2/` was sent to find the challenge
        self.frank = False  # whether its 404 means "not found" in an anonymous request, too
        self.tokens: list[tuple[Credentials | None, Token]] = []

    def token(self, credentials: Credentials | None, scopes: tuple[str, ...]) -> str:
        """Return the header with a known token, or ""; the caller holds `lock`."""
        for owner, token in self.tokens:
            if owner == credentials and covers(token.scopes, scopes):
                return f"Bearer {token.value}"
        return ""

    def learn(self, status: int) -> None:
        """Note the status of a request that was sent again with an Authorization header."""
        with self.lock:
            if self.challenge is None and status not in _HIDING:
                self.challenge = Challenge("basic")  # no challenge asked for credentials, but they helped
            self.frank = self.frank or (self.challenge is None and status == 404)


class Session:
    """Sends requests to endpoints. Safe to share between threads."""

    def __init__(
        self, settings: RegistrySettings, *, cancelled: Callable[[], bool] | None = None, warn: Warn | None = None
    ) -> None:
        self.settings = settings
        self.transport = Transport(settings, cancelled=cancelled)
        self.keychain = Keychain(settings, cancelled)
        self._warn = warn or (lambda code, message: None)
        self._lock = threading.Lock()
        self._hosts: dict[str, _HostAuth] = {}
        self._tls_hosts: set[str] = set()  # plain HTTP is allowed, but they speak TLS
        self._plain_hosts: set[str] = set()  # they speak plain HTTP
        self._answered: set[str] = set()  # hosts of endpoints that were reached
        self._warned: set[str] = set()
        self.lasting = False  # ask token servers for an identity token, for a login
        self.identity_token = ""  # … which is here then

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    def warn_once(self, code: str, message: str) -> None:
        """Pass on a warning, once."""
        with self._lock:
            if message in self._warned:
                return
            self._warned.add(message)
        self._warn(code, message)

    def exchange(
        self, endpoint: Endpoint, method: str, url: Url, *, what: str, repository: str, scopes: tuple[str, ...],
        accept: tuple[int, ...], headers: Headers = (), body: Upload | None = None, retries: int | None = None,
        push: bool = False,
    ) -> Exchange:
        """Send a request and return its answer if the status is one of `accept`.

        `what` (`cannot pull ...`) begins every error message; `repository` (at the endpoint) chooses credentials.
        After temporary failures the request is tried again `retries` times (default: as in the settings); half as often
        if the host was never reached, because then its name is probably wrong. Raises RegistryError, Cancelled.
        """
        limit = self.settings.retries if retries is None else retries
        attempt = 0
        while True:
            try:
                answer = self._authorized(endpoint, method, url, headers, body, what, repository, scopes, push, accept)
                self._answered.add(endpoint.host)
                if answer.status in accept:
                    return answer
                response = answer.response(MAX_ERROR_BYTES, cut=True)
                error = self._refused(what, endpoint, repository, response, answer.authorized)
                asked = retry_after_s(response, time.time()) if response.status in TEMPORARY else None
            except RegistryError as failure:
                error, asked = because(what, failure), failure.retry_after_s
                if push:
                    error.hints = for_a_push(error.hints)
                limit = self._tries_after(error, endpoint, limit)
            if not error.temporary or attempt >= limit:
                raise error
            if asked is not None and asked > _MAX_RETRY_AFTER_S:
                error.hints = (f"it asks to come back in {asked:.0f} seconds", *error.hints)
                raise error
            attempt += 1
            self.transport.sleep(max(asked or 0.0, backoff_s(attempt)))

    def _tries_after(self, error: RegistryError, endpoint: Endpoint, limit: int) -> int:
        """Return how often a request that failed with `error` is tried again."""
        if error.code == "registry-timeout":
            return min(limit, patience(self.settings.retries))
        if error.code in ("registry-unreachable", "registry-proxy") and endpoint.host not in self._answered:
            return min(limit, self.settings.retries // 2)
        return limit

    def call(
        self, endpoint: Endpoint, method: str, url: Url, *, what: str, repository: str, scopes: tuple[str, ...],
        accept: tuple[int, ...], headers: Headers = (), body: Upload | None = None, retries: int | None = None,
        push: bool = False, limit: int = 4 * 1024 * 1024,
    ) -> Response:
        """Like `exchange`; also read the answer's (small) body, and try again if the connection breaks meanwhile.

        Raises RegistryError.
        """
        tries = self.settings.retries if retries is None else retries
        attempt = 0
        while True:
            answer = self.exchange(
                endpoint, method, url, what=what, repository=repository, scopes=scopes, accept=accept,
                headers=headers, body=body, retries=retries, push=push,
            )
            try:
                return answer.response(limit)
            except RegistryError as error:
                attempt += 1
                if error.code == "registry-timeout":
                    tries = min(tries, patience(self.settings.retries))
                if not error.temporary or attempt > tries:
                    raise because(what, error) from None
            self.transport.sleep(backoff_s(attempt))

    def plain(self, url: Url, headers: Headers = ()) -> Exchange:
        """GET a URL outside of registries, without credentials (for layers with URLs in the manifest)."""
        return self._follow(None, "GET", url, headers, None, "", False)

    def located(self, endpoint: Endpoint, repository: str, response: Response) -> Url:
        """Return the URL where an upload goes on: the answer's Location, or the one for its Docker-Upload-UUID.

        Raises RegistryError if the answer has neither, or if the Location is not allowed.
        """
        location = response.header("location")
        name = response.header("docker-upload-uuid")
        if not location and name:
            return self._scheme(endpoint, endpoint.url(repository, f"blobs/uploads/{name}"))
        if not location:
            raise RegistryError(
                f"`{response.url.host}` does not say where to go on (no Location)", code="registry-answer",
                method=response.method, url=redact_url(str(response.url)), status=response.status,
            )
        return _checked_join(response, location)

    # --- one request, with authentication ----------------------------------------------------------------------------

    def _authorized(
        self, endpoint: Endpoint, method: str, url: Url, headers: Headers, body: Upload | None, what: str,
        repository: str, scopes: tuple[str, ...], push: bool, accept: tuple[int, ...],
    ) -> Exchange:
        credentials = self._credentials(endpoint, repository)
        scopes = merge_scopes(*scopes)
        url = self._scheme(endpoint, url)
        used = self._authorization(endpoint, credentials, scopes, push)
        answer = self._first_contact(endpoint, method, url, headers, body, used, push)
        # The answer of another host, reached by a redirect or a Location, must not make firkin send credentials.
        own = answer.url.origin == self._scheme(endpoint, Url(url.scheme, endpoint.host, "/")).origin
        if answer.status not in _HIDING or not own:
            return answer
        if answer.status == 401:
            response = answer.response(MAX_ERROR_BYTES, cut=True)
            renewed = self._renew(endpoint, response, credentials, scopes, used, push)
            if not renewed:
                raise self._refused(what, endpoint, repository, response, bool(used))
        else:
            # The registry may hide repositories from anonymous users. The answer is final if this host's 404 is known
            # to be true, or if there are no credentials and the status was expected.
            frank = answer.status == 404 and self._host(endpoint).frank
            if used or frank or (credentials is None and answer.status in accept):
                return answer
            renewed = self._renew_after(answer, endpoint, credentials, scopes, push)
            if not renewed:
                return answer
        answer = self._follow(endpoint, method, self._scheme(endpoint, url), headers, body, renewed, push)
        self._host(endpoint).learn(answer.status)
        return answer

    def _renew_after(
        self, answer: Exchange, endpoint: Endpoint, credentials: Credentials | None, scopes: tuple[str, ...], push: bool
    ) -> str:
        """Return a header for a second request and close the answer, or return "" if the answer is final."""
        try:
            renewed = self._renew(endpoint, None, credentials, scopes, "", push)
        except RegistryError:
            answer.close()
            raise
        if renewed:
            answer.close()
        return renewed

    def _credentials(self, endpoint: Endpoint, repository: str) -> Credentials | None:
        return self.keychain.find(endpoint.host if endpoint.mirror else endpoint.registry, repository)

    def _refused(
        self, what: str, endpoint: Endpoint, repository: str, response: Response, sent: bool
    ) -> RegistryError:
        if response.status in (401, 403):
            host = endpoint.host if endpoint.mirror else endpoint.registry
            credentials = self._credentials(endpoint, repository)
            return refusal(what, response, host, credentials, self.keychain.notes, sent=sent)
        return response_error(what, response)

    def _host(self, endpoint: Endpoint) -> _HostAuth:
        with self._lock:
            return self._hosts.setdefault(endpoint.host, _HostAuth())

    def _authorization(
        self, endpoint: Endpoint, credentials: Credentials | None, scopes: tuple[str, ...], push: bool
    ) -> str:
        """Return the header for a host whose challenge is known; "" on first contact."""
        host = self._host(endpoint)
        with host.lock:
            if host.challenge is None:
                return ""
            if host.challenge.scheme == "basic":
                return basic_authorization(credentials) if credentials is not None else ""
            now = time.monotonic()
            host.tokens = [pair for pair in host.tokens if pair[1].fresh(now)]
            known = host.token(credentials, scopes)
            return known or self._fetch_token(host, host.challenge, endpoint, credentials, scopes, push)

    def _renew(
        self, endpoint: Endpoint, response: Response | None, credentials: Credentials | None, scopes: tuple[str, ...],
        used: str, push: bool,
    ) -> str:
        """Return another header after a 401 (`response`) or an answer that may hide one; "" if there is none."""
        host = self._host(endpoint)
        with host.lock:
            named = _challenge_in(response) if response is not None else None
            challenge = named if named is not None else self._ask_challenge(host, endpoint, push)
            if challenge is None:
                # Mirrors: go-containerregistry, which sends Basic if `GET /v2/` names no challenge.
                return _other_basic(credentials, used) if credentials is not None and credentials.password else ""
            # The scope in a challenge is only for the request that was refused.
            params = tuple(pair for pair in challenge.params if pair[0] not in ("scope", "error"))
            host.challenge = Challenge(challenge.scheme, params)
            if challenge.scheme == "basic":
                return _other_basic(credentials, used)
            host.tokens = [pair for pair in host.tokens if f"Bearer {pair[1].value}" != used]
            # Another thread may have got a token since this request was sent.
            known = host.token(credentials, scopes)
            return known or self._fetch_token(host, challenge, endpoint, credentials, scopes, push)

    def _ask_challenge(self, host: _HostAuth, endpoint: Endpoint, push: bool) -> Challenge | None:
        """Return the challenge of `GET /v2/`. Sent once for each host, and only if a refusal has no challenge.

        Mirrors: docker and go-containerregistry (remote/transport ping), which always begin with it.
        """
        if host.challenge is None and not host.asked:
            host.asked = True
            url = self._scheme(endpoint, Url(endpoint.scheme, endpoint.host, "/v2/"))
            response = self._follow(endpoint, "GET", url, (), None, "", push).response(MAX_ERROR_BYTES, cut=True)
            if response.url.origin == url.origin:
                host.challenge = _challenge_in(response)
        return host.challenge

    def _fetch_token(
        self, host: _HostAuth, challenge: Challenge, endpoint: Endpoint, credentials: Credentials | None,
        scopes: tuple[str, ...], push: bool,
    ) -> str:
        registry = self._scheme(endpoint, Url(endpoint.scheme, endpoint.host, "/v2/"))
        flow = token_flow(
            challenge, registry, credentials, scopes, time.monotonic(), plain=endpoint.plain, lasting=self.lasting
        )
        try:
            request = next(flow)
            while True:
                body = upload_of(request.body) if request.method != "GET" else None
                answer = self._ask_token(registry.host, request.method, request.url, request.headers, body, push)
                request = flow.send(answer)
        except StopIteration as end:
            token: Token = end.value
            host.tokens.append((credentials, token))
            self.identity_token = token.refresh
            return f"Bearer {token.value}"

    def _ask_token(
        self, registry: str, method: str, url: Url, headers: Headers, body: Upload | None, push: bool
    ) -> Response:
        # There is no retry here: the request that needs the token is tried again.
        authorization = "".join(value for name, value in headers if name == "Authorization")
        others = tuple(pair for pair in headers if pair[0] != "Authorization")
        try:
            response = self._follow(None, method, url, others, body, authorization, push).response(_MAX_TOKEN_BYTES)
        except RegistryError as error:
            raise because("cannot get a token", error) from None
        if response.status in TEMPORARY:
            raise response_error(
                f"token server of `{registry}` is busy", response, retry_after_s=retry_after_s(response, time.time())
            )
        return response

    # --- one request, with redirects ---------------------------------------------------------------------------------

    def _follow(
        self, endpoint: Endpoint | None, method: str, url: Url, headers: Headers, body: Upload | None,
        authorization: str, push: bool,
    ) -> Exchange:
        home = url.origin if endpoint is None else Url(url.scheme, endpoint.host, "/").origin
        for _ in range(_MAX_REDIRECTS):
            sent = headers
            if authorization and url.origin == home:
                sent = (*headers, ("Authorization", authorization))
            answer = self.transport.open(method, url, sent, body, verify=self._verify(endpoint, url, push))
            answer.authorized = sent is not headers
            resend = method in ("GET", "HEAD") or (endpoint is not None and answer.status in (307, 308))
            if answer.status not in _REDIRECTS or not resend or not answer.head().header("location"):
                return answer
            response = answer.response(MAX_ERROR_BYTES, cut=True)
            url = _checked_join(response, response.header("location"))
        raise RegistryError(
            f"`{url.host}` redirects in circles", code="registry-redirect", method=method, url=redact_url(str(url))
        )

    def _verify(self, endpoint: Endpoint | None, url: Url, push: bool) -> bool:
        settings = self.settings
        if (settings.skip_tls_verify_push if push else settings.skip_tls_verify_pull):
            return False
        if any(host_matches(pattern, url.host) for pattern in settings.skip_tls_verify):
            return False
        # If plain HTTP is allowed for a host, an unknown certificate makes it no less secure.
        return not any(host_matches(pattern, url.host) for pattern in settings.insecure)

    def _scheme(self, endpoint: Endpoint, url: Url) -> Url:
        if url.scheme == "http" and url.host == endpoint.host and endpoint.host in self._tls_hosts:
            return msgspec.structs.replace(url, scheme="https")
        return url

    def _first_contact(
        self, endpoint: Endpoint, method: str, url: Url, headers: Headers, body: Upload | None, used: str, push: bool
    ) -> Exchange:
        """Send a request; if plain HTTP is allowed for the host but it wants TLS, send it again with TLS."""
        answer = self._follow(endpoint, method, url, headers, body, used, push)
        if url.scheme != "http" or url.host != endpoint.host or url.host in self._plain_hosts:
            return answer
        if answer.status != 400 or answer.url.origin != url.origin:
            self._plain_hosts.add(url.host)
            return answer
        if method != "HEAD":
            text = answer.response(MAX_ERROR_BYTES, cut=True).body
        else:
            # The reason is in the body, which an answer to HEAD does not have.
            answer.close()
            answer = self._follow(endpoint, "GET", url, headers, None, "", push)
            text = answer.response(MAX_ERROR_BYTES, cut=True).body
        # Go: "Client sent an HTTP request to an HTTPS server"; nginx: "The plain HTTP request was sent to HTTPS port".
        if b"HTTPS" not in text[:4096] and b"SSL-enabled" not in text[:4096]:
            self._plain_hosts.add(url.host)
            return self._follow(endpoint, method, url, headers, body, used, push)
        self._tls_hosts.add(endpoint.host)
        return self._follow(endpoint, method, self._scheme(endpoint, url), headers, body, used, push)


def _other_basic(credentials: Credentials | None, used: str) -> str:
    """Return the header of Basic, or "" if it was sent already."""
    value = basic_authorization(credentials) if credentials is not None else ""
    return value if value != used else ""


def _challenge_in(response: Response) -> Challenge | None:
    return choose_challenge(parse_challenges(response.headers_named("www-authenticate")))


def _checked_join(response: Response, location: str) -> Url:
    origin = response.url
    try:
        url = join_url(origin, location)
    except ValueError as error:
        raise RegistryError(
            f"`{origin.host}` leads to an unusable address: {error}", code="registry-redirect",
            method=response.method, url=redact_url(str(origin)), status=response.status,
        ) from None
    if origin.scheme == "https" and url.scheme == "http":
        if split_host(url.host)[0] == split_host(origin.host)[0]:
            return msgspec.structs.replace(url, scheme="https", host=origin.host)
        raise RegistryError(
            f"`{origin.host}` leads from https to plain HTTP at `{url.host}`", code="registry-redirect",
            method=response.method, url=redact_url(str(origin)), status=response.status,
        )
    return url


def patience(retries: int) -> int:
    """Return how often to try again after no or too few bytes came: each attempt costs a whole time-out."""
    return retries // 2


def backoff_s(attempt: int) -> float:
    """Return how long to wait before attempt 1, 2, …: exponential, with jitter."""
    return min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** (attempt - 1)) * (1 + os.urandom(1)[0] / 510)


def because(what: str, error: RegistryError) -> RegistryError:
    """Return the error with `what` before its message, unless the message begins with it already."""
    if error.message.startswith(what):
        return error
    return RegistryError(
        f"{what}: {error.message}", code=error.code, exit_code=error.exit_code, hints=error.hints, span=error.span,
        method=error.method, url=error.url, status=error.status, temporary=error.temporary,
        retry_after_s=error.retry_after_s,
    )
