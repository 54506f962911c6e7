"""Requests and answers of the distribution protocol as values. Pure. For registry/, and for HTTP in builder/ and cli/.

Spec: distribution-spec spec.md (end-1 to end-13), RFC 9110 (challenges, ranges), RFC 8288 (Link).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from firkin.decode import decode_json
from firkin.errors import RegistryError
from firkin.hints import AnyHint
from firkin.registry.url import Url, is_loopback, join_url, quote, redact_url, split_url, with_query

Scheme = Literal["http", "https"]
Headers = tuple[tuple[str, str], ...]

MAX_ERROR_BYTES = 64 * 1024
DOCKER_DIGEST = "docker-content-digest"
# Answers to a HEAD by registries and proxies that do not support it, although a GET works.
BROKEN_HEAD = (405, 500, 501)
# Answers that mean that an upload may begin or goes on (202 in the spec), and that it is complete (201 in the spec).
OPENED = (202, 201, 200, 204)
STORED = (201, 200, 202, 204)


class Request(msgspec.Struct, frozen=True):
    """One HTTP request with a small body. Its repr shows no header values."""

    method: str
    url: Url
    headers: Headers = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {redact_url(str(self.url))})"


class Response(msgspec.Struct, frozen=True):
    """One answer; header names are in lower case. `url` is the last requested URL (after redirects)."""

    method: str
    url: Url
    status: int
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the first value of a header (name in lower case), or ""."""
        return next((value for key, value in self.headers if key == name), "")

    def headers_named(self, name: str) -> tuple[str, ...]:
        """Return all values of a header (name in lower case)."""
        return tuple(value for key, value in self.headers if key == name)


class Endpoint(msgspec.Struct, frozen=True):
    """The address of a registry or a mirror of it. `prefix` is put before every repository.

    `registry` is the name in references. `plain` says that the user allows plain HTTP here (a loopback host may use it
    anyway, but hosts that it names may not).
    """

    registry: str
    host: str
    scheme: Scheme = "https"
    prefix: str = ""
    plain: bool = False
    mirror: bool = False

    def repository(self, repository: str) -> str:
        """Return the repository's name at this endpoint."""
        return f"{self.prefix}/{repository}" if self.prefix else repository

    def url(self, repository: str, path: str, *query: tuple[str, str]) -> Url:
        """Return the URL of `path` (`manifests/latest`) below a repository."""
        target = f"/v2/{quote(self.repository(repository), '/')}/{quote(path, '/:')}"
        return Url(self.scheme, self.host, with_query(target, *query))


def endpoint_of(registry: str, *, plain: bool = False) -> Endpoint:
    """Return the endpoint of a registry by its name in references; docker.io has another host."""
    host = "registry-1.docker.io" if registry == "docker.io" else registry.lower()
    return Endpoint(registry, host, "http" if plain or is_loopback(host) else "https", plain=plain)


def mirror_endpoint(registry: str, location: str, *, plain: bool = False) -> Endpoint:
    """Return the endpoint of a mirror's `[http[s]://]host[:port][/prefix]`; raises ValueError."""
    text = location if "://" in location else f"https://{location}"
    url = split_url(text)
    if "?" in url.target:
        raise ValueError(f"`{redact_url(location)}` is not a mirror (want `[http[s]://]host[:port][/prefix]`)")
    prefix = url.target.strip("/").removeprefix("v2/") if url.target.strip("/") != "v2" else ""
    if "://" not in location:
        loose = plain or is_loopback(url.host)
        return Endpoint(registry, url.host, "http" if loose else "https", prefix, plain, True)
    spoken: Scheme = "http" if url.scheme == "http" else "https"
    return Endpoint(registry, url.host, spoken, prefix, spoken == "http", True)


# --- scopes ----------------------------------------------------------------------------------------------------------


def repository_scope(repository: str, *actions: str) -> str:
    """Return the token scope for actions (`pull`, `push`) on a repository."""
    return f"repository:{repository}:{','.join(actions)}"


def merge_scopes(*scopes: str) -> tuple[str, ...]:
    """Join the scopes of each resource into one; resources stay in the order of their first scope."""
    actions: dict[str, list[str]] = {}
    for scope in " ".join(scopes).split():
        resource, colon, wanted = scope.rpartition(":")
        if not colon:
            resource, wanted = scope, ""
        known = actions.setdefault(resource, [])
        known.extend(action for action in wanted.split(",") if action and action not in known)
    order = {"pull": 0, "push": 1, "delete": 2}
    merged = []
    for resource, known in actions.items():
        known.sort(key=lambda action: (order.get(action, 3), action))
        merged.append(f"{resource}:{','.join(known)}" if known else resource)
    return tuple(merged)


def covers(held: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Say whether a token for the scopes `held` is sufficient for the scopes `wanted` (both merged)."""
    have = {scope.rpartition(":")[0]: scope.rpartition(":")[2].split(",") for scope in held}
    return all(
        set(scope.rpartition(":")[2].split(",")) <= set(have.get(scope.rpartition(":")[0], ())) for scope in wanted
    )


# --- headers ---------------------------------------------------------------------------------------------------------


class Challenge(msgspec.Struct, frozen=True):
    """One challenge of a WWW-Authenticate header: `scheme` and parameter names in lower case."""

    scheme: str
    params: tuple[tuple[str, str], ...] = ()

    def param(self, name: str) -> str:
        """Return a parameter, or ""."""
        return dict(self.params).get(name, "")


def parse_challenges(values: tuple[str, ...]) -> tuple[Challenge, ...]:
    """Read WWW-Authenticate values, each with one challenge or several. Spec: RFC 9110, 11.6.1."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for value in values:
        for item in _split_list(value):
            name, equals, rest = item.partition("=")
            name = name.strip()
            if " " in name or not equals:
                # `Bearer realm="…"` opens a challenge; so does a lone `Basic` or `Negotiate`.
                scheme, _, name = name.partition(" ")
                found.append((scheme.lower(), []))
                name = name.strip()
            if name and equals and found:
                found[-1][1].append((name.lower(), _unquote(rest.strip())))
    return tuple(Challenge(scheme, tuple(params)) for scheme, params in found)


def _split_list(value: str) -> list[str]:
    items, start, quoted, index = [], 0, False, 0
    while index < len(value):
        char = value[index]
        if quoted and char == "\\":
            index += 1
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            items.append(value[start:index].strip())
            start = index + 1
        index += 1
    items.append(value[start:].strip())
    return [item for item in items if item]


def _unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    out, escaped = [], False
    for char in text[1:-1]:
        if char == "\\" and not escaped:
            escaped = True
            continue
        out.append(char)
        escaped = False
    return "".join(out)


def next_page(response: Response) -> Url | None:
    """Return the URL of the next page of a listing (Link, rel=next), on the same host only."""
    for value in response.headers_named("link"):
        for item in _split_list(value):
            target, _, params = item.partition(">")
            relation = params.replace(" ", "").replace('"', "").lower()
            if target.startswith("<") and "rel=next" in relation.split(";"):
                url = join_url(response.url, target[1:])
                return url if url.origin == response.url.origin else None
    return None


def received_bytes(response: Response) -> int:
    """Return how many bytes of an upload the registry has, by its `Range: 0-LAST`; -1 without that header."""
    text = response.header("range").removeprefix("bytes=")
    first, dash, last = text.partition("-")
    end = parse_count(last)
    if not dash or parse_count(first) != 0 or end < 0:
        return -1
    # `0-0` means no bytes in some registries and one byte in the spec: none is the safe interpretation.
    return 0 if end == 0 else end + 1


def content_range_start(response: Response) -> int:
    """Return where the body of a 206 begins, or -1."""
    unit, _, rest = response.header("content-range").partition(" ")
    return parse_count(rest.partition("-")[0].strip()) if unit.lower() == "bytes" else -1


def content_length(response: Response) -> int:
    """Return the announced length of the body; -1 if there is none, or if it is the length of an encoding."""
    return -1 if is_encoded(response) else parse_count(response.header("content-length"))


def is_encoded(response: Response) -> bool:
    """Say whether the body is gzipped only for the transfer. Spec: RFC 9110, 8.4. Mirrors: Go's net/http.Transport."""
    return response.status != 206 and response.header("content-encoding").lower() == "gzip"


def parse_count(text: str) -> int:
    """Return the number of a text of decimal digits; -1 for anything else and for a number above 63 bits."""
    # Headers are Latin-1, where `²` is a digit for str.isdigit; and int() refuses thousands of digits.
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else -1


def told_digest(response: Response) -> str:
    """Return the digest of Docker-Content-Digest, which some registries quote; "" without that header."""
    return response.header(DOCKER_DIGEST).strip('"')


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def retry_after_s(response: Response, now_s: float) -> float | None:
    """Return the seconds that Retry-After asks to wait (seconds or an HTTP date), or None."""
    text = response.header("retry-after").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text.isascii() or len(text) > 40:
        return None
    parts = text.replace("-", " ").split()
    # Sun, 06 Nov 1994 08:49:37 GMT
    if len(parts) != 6 or parts[2] not in _MONTHS or not (parts[1] + parts[3]).isdigit():
        return None
    clock = parts[4].split(":")
    if len(clock) != 3 or not all(part.isdigit() for part in clock):
        return None
    year, month, day = int(parts[3]), _MONTHS.index(parts[2]) + 1, int(parts[1])
    # Days since the epoch in the Gregorian calendar (a year that begins in March makes the leap day the last day).
    year -= month <= 2
    era_year = year % 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = year // 400 * 146097 + era_year * 365 + era_year // 4 - era_year // 100 + day_of_year - 719468
    at = days * 86400 + int(clock[0]) * 3600 + int(clock[1]) * 60 + int(clock[2])
    return max(0.0, at - now_s)


# --- errors ----------------------------------------------------------------------------------------------------------


class _Diagnostic(msgspec.Struct):
    code: str = ""
    message: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Diagnostic] | None = None
    error: str | None = None
    error_description: str | None = None
    message: str | None = None
    details: str | None = None


class Diagnostic(msgspec.Struct, frozen=True):
    """One error of a registry's answer: its code (`MANIFEST_UNKNOWN`) and its text."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code and self.message else self.code or self.message


def parse_errors(body: bytes) -> tuple[Diagnostic, ...]:
    """Read the error body of a registry or token server; return () for anything else."""
    try:
        document = decode_json(body[:MAX_ERROR_BYTES], _Errors)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    if document.errors:
        return tuple(Diagnostic(_clean(item.code), _clean(item.message or "")) for item in document.errors[:5])
    text = document.error_description or document.message or document.details or ""
    if document.error or text:
        return (Diagnostic(_clean(document.error or ""), _clean(text)),)
    return ()


def _clean(text: str) -> str:
    # The text goes to a terminal: remove control characters and limit its length.
    return "".join(char if char.isprintable() else " " for char in text[:300]).strip()


_CODES = {
    400: "registry-invalid", 401: "registry-unauthorized", 403: "registry-forbidden", 404: "registry-not-found",
    413: "registry-too-large", 429: "registry-rate-limited",
}
_REASONS = {
    400: "bad request", 401: "authentication required", 403: "access denied", 404: "not found",
    405: "method not allowed", 407: "the proxy wants credentials", 413: "request too large",
    429: "too many requests", 500: "internal server error",
    502: "bad gateway", 503: "service unavailable", 504: "gateway timeout",
}
TEMPORARY = frozenset((408, 425, 429, 500, 502, 503, 504))


def response_error(
    what: str, response: Response, hints: tuple[AnyHint, ...] = (), retry_after_s: float | None = None
) -> RegistryError:
    """Return the error for an unexpected answer; `what` says what failed."""
    status = response.status
    reason = _REASONS.get(status, "unexpected answer")
    told = "; ".join(str(item) for item in parse_errors(response.body))
    message = f"{what}: {reason} (status {status} from {response.url.host})"
    return RegistryError(
        f"{message}: {told}" if told else message,
        code=_CODES.get(status, "registry-server" if status >= 500 else "registry-answer"),
        hints=hints,
        method=response.method,
        url=redact_url(str(response.url)),
        status=status,
        temporary=status in TEMPORARY,
        retry_after_s=retry_after_s,
    )


def says_too_little(error: RegistryError) -> bool:
    """Say whether to try a GET, too: a refused HEAD has no error body, and some registries refuse only HEAD."""
    refused = 400 <= error.status < 500 and error.status != 401 and not error.temporary
    return error.method == "HEAD" and (refused or error.status in BROKEN_HEAD)
