"""URLs: splitting, resolving Locations, redaction, host patterns, proxies."""

import pytest

from firkin.registry.proxy import choose_proxy
from firkin.registry.url import (
    host_matches,
    is_loopback,
    join_url,
    quote,
    redact_url,
    split_url,
    with_query,
)

BASE = split_url("https://registry.example.com/v2/team/app/blobs/uploads/")


@pytest.mark.parametrize(("location", "expected"), [
    ("https://other.example.com/x?y=1", "https://other.example.com/x?y=1"),
    ("//other.example.com/x", "https://other.example.com/x"),
    ("/v2/team/app/blobs/uploads/1?_state=a/b", "https://registry.example.com/v2/team/app/blobs/uploads/1?_state=a/b"),
    ("uuid?x=1", "https://registry.example.com/v2/team/app/blobs/uploads/uuid?x=1"),
    ("?x=1", "https://registry.example.com/v2/team/app/blobs/uploads/?x=1"),
    ("../other", "https://registry.example.com/v2/team/app/blobs/other"),
    ("/a/../../b/.", "https://registry.example.com/b/"),
    ("?next=https://evil.example.com/", "https://registry.example.com/v2/team/app/blobs/uploads/?next=https://evil.example.com/"),
])
def test_locations_are_resolved_as_rfc_3986_says(location: str, expected: str) -> None:
    assert str(join_url(BASE, location)) == expected


@pytest.mark.parametrize("text", [
    "ftp://a/b", "file:///etc/passwd", "a/b", "https://", "https:///x", "http://a b/", "http://a:x/",
    "https://a/\r\nX: y", "http://a\\b/",
])
def test_what_is_no_http_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        split_url(text)


def test_user_information_and_fragment_are_dropped() -> None:
    assert str(split_url("https://me:pw@Host.example.com:444/x#part")) == "https://host.example.com:444/x"


def test_default_ports_make_the_same_origin() -> None:
    assert split_url("https://a/x").origin == split_url("https://a:443/y").origin
    assert split_url("https://a/x").origin != split_url("http://a/x").origin
    assert split_url("https://a/x").origin != split_url("https://a:444/x").origin


def test_secrets_do_not_show_in_redacted_urls() -> None:
    text = "https://me:pw@host/v2/x?_state=abc&digest=sha256:1&X-Amz-Signature=def&sig=&flag"
    assert redact_url(text) == "https://host/v2/x?_state=…&digest=sha256:1&X-Amz-Signature=…&sig=…&flag"


@pytest.mark.parametrize(("host", "expected"), [
    ("localhost", True), ("localhost:5000", True), ("registry.localhost:1", True), ("127.0.0.1:5000", True),
    ("127.1.2.3", True), ("[::1]:5000", True), ("127.example.com", False), ("example.com", False), ("128.0.0.1", False),
    ("localhost.example.com", False), ("[::2]", False),
])
def test_loopback_is_known_by_its_spelling(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_patterns_without_port_mean_every_port() -> None:
    assert host_matches("a.example", "a.example:5000")
    assert host_matches("a.example:443", "a.example")
    assert not host_matches("a.example:80", "a.example")
    assert not host_matches("a.example:5000", "a.example:5001")
    assert host_matches("*", "anything:1")
    assert not host_matches("a.example", "b.a.example")


def test_query_is_appended_to_what_a_location_already_has() -> None:
    assert with_query("/x", ("digest", "sha256:ab")) == "/x?digest=sha256:ab"
    assert with_query("/x?_state=1", ("digest", "a&b")) == "/x?_state=1&digest=a%26b"
    assert quote("a/ü", "/") == "a/%C3%BC"


@pytest.mark.parametrize(("url", "no_proxy", "proxied"), [
    ("http://a.example/", "", True),
    ("http://a.example/", "*", False),
    ("http://a.example/", "a.example", False),
    ("http://b.a.example/", "a.example", False),
    ("http://ba.example/", "a.example", True),
    ("http://a.example/", ".a.example", True),
    ("http://b.a.example/", "*.a.example", False),
    ("http://b.a.example/", " x , .a.example ", False),
    ("http://a.example:8080/", "a.example:80", True),
    ("http://a.example/", "a.example:80", False),
    ("https://a.example/", "a.example:443", False),
    ("http://10.1.2.3/", "10.0.0.0/8", False),
    ("http://11.1.2.3/", "10.0.0.0/8", True),
    ("http://10.1.2.3/", "10.1.2.3", False),
    ("http://[fd00::1]/", "fd00::/8", False),
    ("http://[fd00::1]:80/", "[fd00::1]:80", False),
    ("http://a.example/", "10.0.0.0/8", True),
    ("http://a.example/", "10.0.0.0/99,", True),
    ("http://localhost:1/", "", False),
    ("http://127.0.0.1/", "", False),
])
def test_no_proxy_means_what_it_means_in_go(url: str, no_proxy: str, proxied: bool) -> None:
    chosen = choose_proxy(split_url(url), "proxy:3128", "https://secure:1", no_proxy)
    assert bool(chosen) is proxied
    if proxied:
        assert chosen == "http://proxy:3128"


def test_https_has_its_own_proxy() -> None:
    assert choose_proxy(split_url("https://a/"), "http://p", "socks5h://q:1080", "") == "socks5h://q:1080"
    assert choose_proxy(split_url("https://a/"), "http://p", "", "") == ""


@pytest.mark.parametrize(("text", "url"), [
    ("http://host/ä b".replace(" ", ""), "http://host/%C3%A4b"), ("http://h/x?q=é", "http://h/x?q=%C3%A9"),
    ("http://BÜCHER.example/x", "http://xn--bcher-kva.example/x"), ("http://h/\udcff", "http://h/%FF"),
    ("http://ä:secret@h/x", "http://h/x"),
])
def test_what_is_no_ascii_is_written_so(text: str, url: str) -> None:
    assert str(split_url(text)) == url and str(split_url(text)).isascii()


@pytest.mark.parametrize("text", [
    "http://h:65536/", "http://h:99999999/", "http://%41/", "http://ä..b/", "http://" + "ä" * 80 + "/",
    "http://\udcff/",
])
def test_hosts_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host"):
        split_url(text)


def test_a_location_has_the_bytes_of_its_header() -> None:
    base = split_url("http://h/a/b")
    assert str(join_url(base, "/\xc3\xa4?x=\xff")) == "http://h/%C3%A4?x=%FF"
    for location in ("http://\xff\xfe/", "//\xff/", "http://h:99999999/"):
        with pytest.raises(ValueError, match="host"):
            join_url(base, location)
