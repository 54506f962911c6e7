"""Turns a registry's challenge into an Authorization header: the token flow as a generator. Pure.

`token_flow` yields Requests and is sent Responses; its caller does the I/O. Spec: distribution docs,
"Token Authentication" and "OAuth2 Token Authentication". registry/ only.
"""

from __future__ import annotations

import base64
from collections.abc import Generator
from typing import TYPE_CHECKING

import msgspec

from firkin.errors import RegistryError
from firkin.hints import AnyHint, Hint
from firkin.oci import codec
from firkin.registry.protocol import Challenge, Request, Response, merge_scopes, response_error
from firkin.registry.url import Url, is_loopback, quote, redact_url, split_url, with_query

if TYPE_CHECKING:
    from firkin.oci.gojson import Shape

CLIENT_ID = "firkin"
DEFAULT_LIFETIME_S = 60.0  # of a token whose server gives no lifetime
_LONGEST_LIFETIME_S = 86400.0
_NO_GET = frozenset((404, 405, 501))  # statuses of a token server that takes only the OAuth2 form
IDENTITY_USER = "<token>"  # the user name under which helpers keep identity tokens


class Credentials(msgspec.Struct, frozen=True):
    """A user's secrets for a registry, and where they come from. Its repr never shows a secret.

    `source` is for messages: `~/.docker/config.json (auths)`. `identity_token` is an OAuth2 refresh token,
    `registry_token` a bearer token that is sent unchanged.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, source={self.source!r})"


class Token(msgspec.Struct, frozen=True):
    """A bearer token for merged scopes. It is used until `expires_s` (on the clock given to `token_flow`), a little
    before it expires at its server."""

    value: str
    scopes: tuple[str, ...]
    expires_s: float
    refresh: str = ""  # the identity token that came with it, if it was asked for

    def __repr__(self) -> str:
        return f"Token(scopes={self.scopes!r}, expires_s={self.expires_s!r})"

    def fresh(self, now_s: float) -> bool:
        """Say whether the token may still be used."""
        return now_s < self.expires_s


class _TokenAnswer(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: object = None  # servers send a number, its digits as text, or null


def _token_shape() -> Shape:
    from firkin.oci.gojson import Shape

    return Shape(_TokenAnswer)


def choose_challenge(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """Return the challenge to answer: Bearer if it has a realm, else Basic; None if neither is offered."""
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.param("realm"):
            return challenge
    return next((challenge for challenge in challenges if challenge.scheme == "basic"), None)


def basic_authorization(credentials: Credentials) -> str:
    """Return the value of an Authorization header for basic authentication."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def check_realm(realm: str, registry: Url, *, plain: bool) -> Url:
    """Return a token server's URL if credentials may go there; raises RegistryError.

    The realm comes from the registry's answer. https is always allowed; plain HTTP only if the registry
    itself is used over plain HTTP (`plain`) or both are this machine. So an https registry can never make
    firkin send a password in clear text.
    """
    try:
        url = split_url(realm)
    except ValueError as error:
        raise RegistryError(
            f"registry `{registry.host}` names an unusable token server: {error}", code="registry-realm"
        ) from None
    local = is_loopback(url.host) and is_loopback(registry.host)
    if url.scheme == "http" and not local and not (plain and registry.scheme == "http"):
        raise RegistryError(
            f"registry `{registry.host}` asks for credentials to go to `{redact_url(realm)}` in plain HTTP",
            code="registry-realm",
            hints=("the registry's token realm must be an https URL; ask whoever runs it",),
            url=redact_url(realm),
        )
    return url


def token_flow(
    challenge: Challenge, registry: Url, credentials: Credentials | None, scopes: tuple[str, ...], now_s: float,
    *, plain: bool = False, lasting: bool = False,
) -> Generator[Request, Response, Token]:
    """Get a bearer token for the scopes of the challenge and `scopes`; anonymous without credentials.

    `lasting` asks for an identity token as well, which may be kept in the place of the password.
    Yields one to three Requests (a redirect of one with a body must not be followed); returns the Token. Raises
    RegistryError when the server refuses or sends no token. Mirrors: containerd remotes/docker/auth.
    """
    realm = check_realm(challenge.param("realm"), registry, plain=plain)
    service = challenge.param("service")
    wanted = merge_scopes(challenge.param("scope"), *scopes)
    if credentials is not None and credentials.registry_token:
        return Token(credentials.registry_token, wanted, now_s + 1e9)
    if credentials is not None and credentials.identity_token:
        response = yield from _ask_by_identity(realm, service, credentials, wanted)
    else:
        response = yield from _ask_by_password(realm, service, credentials, wanted, lasting)
    if response.status != 200:
        hints = credential_hints(registry.host, credentials)
        if response.url.host != realm.host and credentials is not None:
            hints = (f"`{realm.host}` leads to `{response.url.host}`, where the credentials do not go", *hints)
        raise response_error(f"token server of `{registry.host}` refuses", response, hints)
    return _read_token(response, wanted, now_s)


def _ask_by_identity(
    realm: Url, service: str, credentials: Credentials, scopes: tuple[str, ...]
) -> Generator[Request, Response, Response]:
    response = yield _refresh_request(realm, service, credentials, scopes)
    # Some servers know only the GET form and answer with various statuses; then the token is sent as a password.
    if response.status in (400, 401, 404, 405) and credentials.username not in ("", IDENTITY_USER):
        password = msgspec.structs.replace(credentials, password=credentials.identity_token)
        response = yield _get_request(realm, service, password, scopes)
    return response


def _ask_by_password(
    realm: Url, service: str, credentials: Credentials | None, scopes: tuple[str, ...], lasting: bool
) -> Generator[Request, Response, Response]:
    response = yield _get_request(realm, service, credentials, scopes, lasting)
    if response.status in _NO_GET and credentials is not None and credentials.password:
        response = yield _password_request(realm, service, credentials, scopes)
        if response.status == 401:
            # This server does not read the form: it expects the password in the header, as with GET.
            authorization = ("Authorization", basic_authorization(credentials))
            request = _password_request(realm, service, credentials, scopes)
            response = yield msgspec.structs.replace(request, headers=(*request.headers, authorization))
    return response


def _get_request(
    realm: Url, service: str, credentials: Credentials | None, scopes: tuple[str, ...], lasting: bool = False
) -> Request:
    query = [("scope", scope) for scope in scopes]
    if lasting:
        query += [("offline_token", "true"), ("client_id", CLIENT_ID)]
    if service:
        query.insert(0, ("service", service))
    headers: tuple[tuple[str, str], ...] = ()
    if credentials is not None and (credentials.username or credentials.password):
        if credentials.username:
            query.insert(0, ("account", credentials.username))
        headers = (("Authorization", basic_authorization(credentials)),)
    return Request("GET", msgspec.structs.replace(realm, target=with_query(realm.target, *query)), headers)


def _refresh_request(realm: Url, service: str, credentials: Credentials, scopes: tuple[str, ...]) -> Request:
    secret = [("refresh_token", credentials.identity_token)]
    return _form_request(realm, service, "refresh_token", secret, scopes)


def _password_request(realm: Url, service: str, credentials: Credentials, scopes: tuple[str, ...]) -> Request:
    secret = [("username", credentials.username), ("password", credentials.password)]
    return _form_request(realm, service, "password", secret, scopes)


def _form_request(
    realm: Url, service: str, grant: str, secret: list[tuple[str, str]], scopes: tuple[str, ...]
) -> Request:
    form = [("grant_type", grant), ("service", service), ("client_id", CLIENT_ID), *secret]
    if scopes:
        form.append(("scope", " ".join(scopes)))
    body = "&".join(f"{name}={quote(value)}" for name, value in form).encode()
    return Request("POST", realm, (("Content-Type", "application/x-www-form-urlencoded"),), body)


def _read_token(response: Response, scopes: tuple[str, ...], now_s: float) -> Token:
    try:
        answer = codec.decode_like_go(response.body, _TokenAnswer, "token", _token_shape)
    except ValueError:
        answer = _TokenAnswer()
    value = answer.token or answer.access_token or ""
    if not value or not value.isascii() or not value.isprintable():
        raise response_error("token server sends no usable token", response)
    lifetime = _seconds(answer.expires_in)
    refresh = answer.refresh_token or ""
    kept = refresh if refresh.isascii() and refresh.isprintable() else ""
    return Token(value, scopes, now_s + lifetime - min(10.0, lifetime / 5), kept)


def _seconds(stated: object) -> float:
    try:
        seconds = float(stated) if isinstance(stated, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    return min(seconds, _LONGEST_LIFETIME_S) if seconds > 0 else DEFAULT_LIFETIME_S


def credential_hints(host: str, credentials: Credentials | None, notes: tuple[str, ...] = ()) -> tuple[AnyHint, ...]:
    """Return the hints for a refused request; `notes` are problems of the keychain."""
    if credentials is None:
        return (Hint.of("login", host=host), *notes)
    user = f" (user `{credentials.username}`)" if credentials.username not in ("", IDENTITY_USER) else ""
    return (f"credentials for `{host}` come from {credentials.source}{user}", *notes)


def refusal(
    what: str, response: Response, host: str, credentials: Credentials | None, notes: tuple[str, ...] = (), *,
    sent: bool = True,
) -> RegistryError:
    """Return the error for a 401 or a 403 that remains after authentication; each has its own message.

    `sent` says whether the request had the credentials: only then the registry has rejected them.
    """
    hints = credential_hints(host, credentials, notes)
    if credentials is not None and not sent:
        why = "they go there only" if response.url.host != host else "it did not ask for any that they could be"
        hints = (f"`{response.url.host}` was not given the credentials for `{host}`: {why}", *hints)
    elif response.status == 403 and credentials is not None:
        hints = (f"`{host}` knows these credentials but does not allow this", *hints)
    elif response.status == 401 and credentials is not None:
        hints = (f"`{host}` does not accept these credentials for this repository, or it does not exist", *hints)
    return response_error(what, response, hints)
