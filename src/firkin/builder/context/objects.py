"""One object of an object store as a stream: options, bytes, errors. Does I/O.

Only context/{s3,gs,azure}.py and builder/context/remote.py import it. `obstore` (extra `object-store`) is imported
when an object is opened. Mirrors: kaniko pkg/buildcontext.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from firkin.builder.context.archive import Scratch
from firkin.builder.context.stdin import open_stream
from firkin.errors import Cancelled, ContextError, UsageError
from firkin.layer.change import View
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.linux.files import read_named
from firkin.registry.proxy import choose_proxy
from firkin.registry.settings import RegistrySettings
from firkin.registry.trust import TrustStore
from firkin.registry.url import host_matches, split_url

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

_PIECE = 1 << 20
_CONNECT_S = 10.0
_GIVE_UP_S = 90.0
_ABSENT = ("NoSuchBucket", "ContainerNotFound")
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "metadata.goog")


class ObjectTools(NamedTuple):
    """Settings for access to an object store. `environ` holds credentials: AWS_*, GOOGLE_*, AZURE_*, HOME."""

    settings: RegistrySettings
    environ: Mapping[str, str]
    cancelled: Callable[[], bool] | None = None


class Place(NamedTuple):
    """An object: a function that opens its bucket, its key, names for messages, and hints for a refusal.

    `open` takes the client's options and those for retries.
    """

    open: Callable[[ClientConfig, RetryConfig], S3Store | GCSStore | AzureStore]
    key: str
    bucket: str
    shown: str
    endpoint: str
    hints: tuple[str, ...]


def split_address(location: str, example: str) -> tuple[str, str]:
    """Return bucket and key of `scheme://bucket/key`; raises UsageError."""
    bucket, _, key = location.partition("://")[2].partition("/")
    key = key.strip("/")
    if not bucket or not key:
        raise UsageError(f"`{location}` names no object", code="context-address", hints=(f"e.g. `{example}`",))
    return bucket, key


def open_object(
    place: Place, tools: ObjectTools, scratch: Scratch, limits: UnpackLimits = UNPACK_LIMITS
) -> View:
    """Return the tree of an archive in an object store. Raises ContextError, UsageError without `obstore`."""
    found = open_stream(_chunks(place, tools), scratch, place.shown, limits)
    if isinstance(found, bytes):
        raise ContextError(
            f"{place.shown} is not an archive",
            code="context-archive",
            hints=("a context in an object store is a tar, plain or compressed by gzip, bzip2, xz or zstd",),
        )
    return found


def _chunks(place: Place, tools: ObjectTools) -> Iterator[bytes]:
    try:
        import obstore
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise UsageError(
            f"{place.shown} needs a library that is not installed",
            code="object-store-missing",
            hints=("pip install 'firkin[object-store]'",),
        ) from error
    try:
        store = place.open(client_options(place.endpoint, tools), _retry_options(tools.settings))
        for chunk in obstore.get(store, place.key).stream(min_chunk_size=_PIECE):
            if tools.cancelled is not None and tools.cancelled():
                raise Cancelled("the build was cancelled")
            yield bytes(chunk)
    except (BaseError, OSError, ValueError) as error:
        raise _failure(place, str(error)) from None  # the cause's text may have URLs with signatures


def client_options(endpoint: str, tools: ObjectTools) -> ClientConfig:
    """Return the client's options for an endpoint: the same proxies, certificates and time limits as for registries.

    Raises UsageError.
    """
    settings = tools.settings
    options: ClientConfig = {
        "connect_timeout": f"{min(_CONNECT_S, settings.timeout_s):.0f}s",
        "read_timeout": f"{settings.timeout_s:.0f}s",
        "timeout": "1 day",  # the whole transfer
        "user_agent": "firkin",
    }
    try:
        url = split_url(endpoint)
    except ValueError as error:
        raise UsageError(f"the object store's address is wrong: {error}", code="context-address") from error
    proxy = choose_proxy(url, settings.http_proxy, settings.https_proxy, settings.no_proxy)
    if proxy:
        options["proxy_url"] = proxy
    if url.scheme == "http":
        options["allow_http"] = True
        return options
    trust = TrustStore(settings).of(url.host)
    if settings.skip_tls_verify_pull or any(host_matches(x, url.host) for x in settings.skip_tls_verify):
        options["allow_invalid_certificates"] = True
    elif trust.ca_pem:
        options["root_certificate"] = trust.ca_pem
    elif trust.ca_file:
        options["root_certificate"] = read_named(trust.ca_file)
    return options


def _retry_options(settings: RegistrySettings) -> RetryConfig:
    from datetime import timedelta

    return {"max_retries": settings.retries, "retry_timeout": timedelta(seconds=_GIVE_UP_S)}


def _failure(place: Place, text: str) -> ContextError:
    """Turn the library's message (debugging output, the answer's XML) into a one-line error with hints."""
    code, message = _element(text, "Code"), _element(text, "Message")
    status = _status(text)
    if code in _ABSENT:
        return ContextError(f"{place.shown}: there is no bucket `{place.bucket}`", code="object-missing")
    if status == "404":
        return ContextError(f"{place.shown} does not exist", code="object-missing")
    if any(name in text for name in _NO_CREDENTIALS):
        return ContextError(
            f"cannot read {place.shown}: no credentials were given, and this machine has none of its own",
            code="object-refused",
            hints=place.hints,
        )
    if status in ("401", "403"):
        why = f": {code}: {message}" if code else f" (status {status})"
        return ContextError(f"access to {place.shown} was refused{why}", code="object-refused", hints=place.hints)
    if status:
        why = f"{code}: {message}" if code else f"status {status}"
        hints = ("AWS_REGION must be the bucket's own region",) if code == "PermanentRedirect" else ()
        return ContextError(f"cannot read {place.shown}: {why}", code="object-failed", hints=hints)
    first = text.partition("\n")[0].strip()
    if "Error performing" in first:
        why = first.rpartition(" - ")[2]
        return ContextError(f"cannot reach {place.endpoint} for {place.shown}: {why}", code="object-failed")
    return ContextError(f"cannot read {place.shown}: {first.partition('error: ')[2] or first}", code="object-failed")


def _element(text: str, name: str) -> str:
    """Return the first line of the text of an XML element in the answer."""
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0].strip().partition("\n")[0].strip()


def _status(text: str) -> str:
    mark = "non-2xx status code: "
    return text.partition(mark)[2][:3] if mark in text else ""
