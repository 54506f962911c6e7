"""Translates libcurl's failures, with the cause: host, name, proxy or certificate. Does I/O. `transport` loads it.

A name that does not exist in DNS is not tried again. A resolver that has no answer now may have one soon.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, NamedTuple

from firkin.errors import RegistryError
from firkin.hints import AnyHint, Hint
from firkin.registry.curl import pycurl
from firkin.registry.proxy import proxy_variable
from firkin.registry.settings import RegistrySettings
from firkin.registry.url import Url, is_loopback, redact_url, split_host

_HUB_HOSTS = frozenset(("registry-1.docker.io", "auth.docker.io", "index.docker.io"))
_NAME_HINT = "is the registry's name right? An image's name begins with it: HOST[:PORT]/NAME"
# A resolver that took longer has run into its own time-out; it is not asked again for the cause.
_QUICK_ANSWER_S = 5.0


class _Failure(NamedTuple):
    code: str
    temporary: bool
    message: str
    hints: tuple[AnyHint, ...] = ()


def transfer_error(
    method: str, url: Url, number: int, text: str, easy: Any, proxy: str, settings: RegistrySettings
) -> RegistryError:
    """Return the error for a failed transfer; `proxy` is the proxy that it used, or ""."""
    failure = (
        (_of_proxy(url, number, easy, proxy, settings) if proxy else None)
        or _of_connection(url, number, easy)
        or _of_tls(url, number, text)
        or _of_address(url, number, text)
        or _Failure("registry-connection", True, f"the connection to `{url.host}` broke: {text}")
    )
    return RegistryError(
        failure.message, code=failure.code, hints=failure.hints, method=method, url=redact_url(str(url)),
        temporary=failure.temporary,
    )


def _of_proxy(url: Url, number: int, easy: Any, proxy: str, settings: RegistrySettings) -> _Failure | None:
    shown = redact_url(proxy).rstrip("/")
    variable = proxy_variable(url, proxy, dict(settings.environ))
    host = split_host(url.host)[0]
    hints = (f"`{variable}` names this proxy; `NO_PROXY={host}` leaves it out for this host",)
    answered = int(easy.getinfo(pycurl.HTTP_CONNECTCODE))
    if answered == 407:
        why, temporary = "wants credentials (status 407)", False
        hints = (f"`{variable}` names this proxy: `http://USER:PASSWORD@HOST:PORT`", *hints[1:])
    elif answered:
        why, temporary = f"does not connect to it (status {answered})", answered >= 500
    elif number == pycurl.E_COULDNT_RESOLVE_PROXY:
        why, temporary = _resolving(proxy.partition("://")[2].rpartition("@")[2].rstrip("/"), easy)
    elif number == pycurl.E_COULDNT_CONNECT:
        why, temporary = _connecting(easy), True
        if not int(easy.getinfo(pycurl.OS_ERRNO)) and not proxy.startswith(("http", "socks")):
            why, temporary = "has a scheme that is not supported", False
    elif number == pycurl.E_OPERATION_TIMEDOUT:
        why, temporary = "takes too long", True
    else:
        return None
    return _Failure("registry-proxy", temporary, f"`{url.host}` cannot be reached: the proxy `{shown}` {why}", hints)


def _of_connection(url: Url, number: int, easy: Any) -> _Failure | None:
    code, temporary = "registry-unreachable", True
    hub: tuple[AnyHint, ...] = (Hint.of("mirror-hub"),) if url.host in _HUB_HOSTS else ()
    if number == pycurl.E_COULDNT_RESOLVE_HOST:
        why, temporary = _resolving(url.host, easy)
        why, hints = f"its name {why}", hub or (_NAME_HINT,)
    elif number == pycurl.E_COULDNT_CONNECT:
        why, hints = f"it {_connecting(easy)}", hub or (Hint.of("mirror"),)
    elif number == pycurl.E_OPERATION_TIMEDOUT:
        code, why, hints = "registry-timeout", "connecting takes too long", hub
    else:
        return None
    return _Failure(code, temporary, f"`{url.host}` cannot be reached: {why}", hints)


def _connecting(easy: Any) -> str:
    number = int(easy.getinfo(pycurl.OS_ERRNO))
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "lies in a network that cannot be reached from here"
    return "does not answer" if number == errno.ETIMEDOUT else "refuses connections"


def _resolving(host: str, easy: Any) -> tuple[str, bool]:
    """Say why a name has no address, and whether a retry may help. Asks the resolver: libcurl does not say."""
    name = split_host(host)[0]
    if float(easy.getinfo(pycurl.TOTAL_TIME)) < _QUICK_ANSWER_S:
        try:
            socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except UnicodeError:  # a label of the name is empty or too long
            return "does not exist in DNS", False
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
                return "does not exist in DNS", False
        except OSError:
            pass
    return "cannot be resolved at present", True


def _of_address(url: Url, number: int, text: str) -> _Failure | None:
    if number != pycurl.E_URL_MALFORMAT:
        return None
    return _Failure("registry-answer", False, f"`{redact_url(str(url))}` is no address: {text}")


def _of_tls(url: Url, number: int, text: str) -> _Failure | None:
    host = url.host
    if number == pycurl.E_PEER_FAILED_VERIFICATION:
        return _of_certificate(host, text)
    if number in (pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CACERT_BADFILE):
        return _Failure("registry-tls", False, f"TLS with `{host}` cannot start: {text}")
    if number == pycurl.E_SSL_CONNECT_ERROR:
        # A reset in the middle of a handshake gives the same error; only errors that can never succeed are final.
        mismatch = "wrong version number" in text or "packet length too long" in text
        hints = (Hint.of("insecure-registry", host=host),) if mismatch else ()
        if "certificate required" in text or "alert bad certificate" in text:
            hints = (Hint.of("tls-cert", host=host),)
        return _Failure(
            "registry-tls", not (mismatch or "alert" in text), f"no TLS connection to `{host}`: {text}", hints
        )
    if number == pycurl.E_UNSUPPORTED_PROTOCOL and "HTTP/0.9" in text:
        why = "it was asked in plain HTTP and answers otherwise"
        spoken: tuple[AnyHint, ...] = (
            "it seems to speak TLS: leave `http://`, or the option that allows plain HTTP, out",
        )
        if is_loopback(host):
            spoken = (Hint.of("tls-ca-spoken", host=host),)
        return _Failure("registry-tls", False, f"no connection to `{host}`: {why}", spoken)
    return None


def _of_certificate(host: str, text: str) -> _Failure:
    told = text.lower()
    if "has expired" in told or "not yet valid" in told:
        why = "has expired" if "has expired" in told else "is not valid yet"
        hints: tuple[AnyHint, ...] = ("its owner must renew it, unless this machine's clock is wrong",)
    elif "subject name" in told or "does not match" in told:
        why = "is for another name"
        hints = (f"use a name that is in the certificate, or have `{host}` put into it",)
    else:
        why = f"is not trusted: {text}"
        hints = (Hint.of("tls-ca", host=host),)
    return _Failure("registry-tls", False, f"the TLS certificate of `{host}` {why}", hints)
