"""Errors name who is to blame: the name, the host, the proxy, the certificate."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from support.answers import answering
from support.hints import hints_of

from firkin.builder.context.https import Web
from firkin.errors import ContextError, RegistryError
from firkin.oci.reference import parse_reference
from firkin.registry.client import RegistryClient
from firkin.registry.curl import pycurl
from firkin.registry.failures import transfer_error
from firkin.registry.settings import RegistrySettings
from firkin.registry.transport import Transport
from firkin.registry.url import split_url

NOBODY = f"{'x' * 70}.example"  # a label that is too long: no resolver is asked, and none knows it


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(Transport, "sleep", lambda self, seconds: waits.append(seconds))
    return waits


def refused(settings: RegistrySettings, name: str) -> RegistryError:
    with pytest.raises(RegistryError) as caught, RegistryClient(settings) as client:
        client.resolve(parse_reference(name))
    return caught.value


def resolver(number: int) -> Callable[..., Any]:
    def getaddrinfo(*arguments: Any, **more: Any) -> Any:
        raise socket.gaierror(number, "as the test says")

    return getaddrinfo


@pytest.mark.parametrize(("number", "attempts", "told"), [
    (socket.EAI_NONAME, 0, "its name does not exist"), (socket.EAI_NODATA, 0, "its name does not exist"),
    (socket.EAI_AGAIN, 2, "cannot be resolved at present"), (socket.EAI_FAIL, 2, "cannot be resolved at present"),
    (socket.EAI_SYSTEM, 2, "cannot be resolved at present"),
])
def test_a_name_that_does_not_exist_is_not_asked_for_again(
    slept: list[float], monkeypatch: pytest.MonkeyPatch, number: int, attempts: int, told: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(number))
    error = refused(RegistrySettings(), f"{NOBODY}/x:1")
    assert (error.code, len(slept)) == ("registry-unreachable", attempts) and told in error.message
    assert "is the registry's name right?" in hints_of(error)[0]
    slept.clear()
    with pytest.raises(ContextError, match=told):
        Web(RegistrySettings()).open(f"http://{NOBODY}/x")
    assert len(slept) == (attempts and RegistrySettings().retries)


def test_a_slow_resolver_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def getinfo(self, what: int) -> float:
            return 10.0 if what == pycurl.TOTAL_TIME else 0

    monkeypatch.setattr(socket, "getaddrinfo", resolver(socket.EAI_NONAME))
    error = transfer_error(
        "GET", split_url("https://r.example/"), pycurl.E_COULDNT_RESOLVE_HOST, "", Slow(), "", RegistrySettings()
    )
    assert error.temporary and "at present" in error.message


PROXY = "http://user:hush@127.0.0.1:9"


@pytest.mark.parametrize(("environ", "insecure", "variable"), [
    ({"HTTPS_PROXY": PROXY}, (), "HTTPS_PROXY"), ({"https_proxy": PROXY}, (), "https_proxy"),
    ({"ALL_PROXY": PROXY}, (), "ALL_PROXY"), ({"http_proxy": PROXY, "HTTP_PROXY": "http://other"}, ("*",), "http_proxy"),
])
def test_a_proxy_that_is_down_is_named_with_its_variable(
    slept: list[float], environ: dict[str, str], insecure: tuple[str, ...], variable: str
) -> None:
    settings = RegistrySettings(
        http_proxy=PROXY, https_proxy=PROXY, environ=tuple(environ.items()), insecure=insecure
    )
    error = refused(settings, "registry.example.com/x:1")
    assert error.code == "registry-proxy"
    assert "`registry.example.com` cannot be reached: the proxy `http://127.0.0.1:9` refuses connections" in error.message
    assert error.hints == (f"`{variable}` names this proxy; `NO_PROXY=registry.example.com` leaves it out for this host",)
    assert "hush" not in f"{error.message}{error.hints}{error.url}"
    with pytest.raises(ContextError) as caught:
        Web(settings).open("https://files.example.com/x")
    assert caught.value.hints == (f"`{variable if not insecure else 'HTTPS_PROXY'}` names this proxy; "
                                  "`NO_PROXY=files.example.com` leaves it out for this host",)


@pytest.mark.parametrize(("status", "told", "attempts"), [
    (407, "wants credentials", 0), (403, "does not connect to it (status 403)", 0), (503, "(status 503)", 2),
])
def test_a_proxy_that_refuses_is_to_blame(
    slept: list[float], status: int, told: str, attempts: int
) -> None:
    with answering(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status) as proxy:
        settings = RegistrySettings(https_proxy=proxy, environ=(("HTTPS_PROXY", proxy),))
        error = refused(settings, "registry.example.com/x:1")
    assert error.code == "registry-proxy" and told in error.message and f"`http://{proxy}`" in error.message
    assert len(slept) == attempts and "`HTTPS_PROXY` names this proxy" in hints_of(error)[0]


def test_a_proxy_whose_name_or_scheme_is_wrong(slept: list[float]) -> None:
    error = refused(RegistrySettings(https_proxy=f"http://me:hush@{NOBODY}:3128"), "registry.example.com/x:1")
    assert f"the proxy `http://{NOBODY}:3128` does not exist in DNS" in error.message and not slept
    error = refused(RegistrySettings(https_proxy="gopher://127.0.0.1:1"), "registry.example.com/x:1")
    assert "a scheme that is not supported" in error.message and not slept


def test_docker_hub_that_cannot_be_reached_has_ways_around() -> None:
    settings = RegistrySettings(retries=0)
    url = split_url("https://registry-1.docker.io/v2/")

    class Refused:
        def getinfo(self, what: int) -> float:
            return 111 if what == pycurl.OS_ERRNO else 0.0

    error = transfer_error("GET", url, pycurl.E_COULDNT_CONNECT, "", Refused(), "", settings)
    for way in ("--registry-mirror docker.io=URL", "`registry.mirrors` in config.toml", "HTTPS_PROXY"):
        assert way in hints_of(error)[0]


@pytest.mark.parametrize(("text", "told", "way"), [
    ("SSL certificate problem: certificate has expired", "has expired", "clock"),
    ("SSL certificate problem: certificate is not yet valid", "is not valid yet", "clock"),
    ("SSL: no alternative certificate subject name matches target host name 'r.example'", "for another name", "name"),
    ("SSL: certificate subject name 'a' does not match target host name 'b'", "for another name", "name"),
    ("SSL certificate problem: unable to get local issuer certificate", "is not trusted", "--tls-ca r.example=FILE"),
    ("SSL certificate problem: self-signed certificate", "is not trusted", "--tls-ca r.example=FILE"),
])
def test_each_fault_of_a_certificate_has_its_own_way_out(text: str, told: str, way: str) -> None:
    url = split_url("https://r.example/v2/")
    error = transfer_error("GET", url, pycurl.E_PEER_FAILED_VERIFICATION, text, None, "", RegistrySettings())
    assert error.code == "registry-tls" and not error.temporary
    assert told in error.message and "`r.example`" in error.message and way in hints_of(error)[0]


def test_plain_http_where_tls_was_expected_and_the_reverse(slept: list[float]) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as plain:
        error = refused(RegistrySettings(skip_tls_verify=(plain,)), f"{plain}/x:1")  # so it begins with TLS
    assert f"--insecure-registry {plain}" in hints_of(error)[0] and not slept
    with answering(b"\x15\x03\x01\x00\x02\x02\x16") as alert:
        error = refused(RegistrySettings(), f"{alert}/x:1")
    assert error.code == "registry-tls" and "seems to speak TLS" in hints_of(error)[0] and not slept


def test_a_server_that_wants_a_certificate_of_ours_is_understood() -> None:
    url = split_url("https://r.example/v2/")
    text = "TLS connect error: error:0A00045C:SSL routines::tlsv13 alert certificate required"
    error = transfer_error("GET", url, pycurl.E_SSL_CONNECT_ERROR, text, None, "", RegistrySettings())
    assert "`--tls-cert r.example=CERT,KEY`" in hints_of(error)[0]
