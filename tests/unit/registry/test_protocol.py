"""Values of the distribution protocol: endpoints, scopes, headers, error bodies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.registry.protocol import (
    Challenge,
    Response,
    content_range_start,
    covers,
    endpoint_of,
    merge_scopes,
    mirror_endpoint,
    next_page,
    parse_challenges,
    parse_errors,
    received_bytes,
    response_error,
    retry_after_s,
)
from firkin.registry.url import split_url

URL = split_url("https://registry.example.com/v2/a/tags/list")


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Response:
    return Response("GET", URL, status, tuple((k.replace("_", "-"), v) for k, v in headers.items()), body)


def test_docker_hub_answers_elsewhere() -> None:
    assert str(endpoint_of("docker.io").url("library/busybox", "manifests/latest")) == (
        "https://registry-1.docker.io/v2/library/busybox/manifests/latest"
    )


def test_loopback_and_what_the_user_allows_is_plain() -> None:
    assert endpoint_of("localhost:5000").scheme == "http"
    assert endpoint_of("registry.example.com").scheme == "https"
    assert endpoint_of("registry.example.com", plain=True).scheme == "http"


@pytest.mark.parametrize(("location", "expected"), [
    ("http://127.0.0.1:5000", "http://127.0.0.1:5000/v2/library/x/tags/list"),
    ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/library/x/tags/list"),
    ("mirror.example.com", "https://mirror.example.com/v2/library/x/tags/list"),
    ("https://mirror.example.com/cache/hub/", "https://mirror.example.com/v2/cache/hub/library/x/tags/list"),
    ("http://mirror.example.com", "http://mirror.example.com/v2/library/x/tags/list"),
])
def test_a_mirror_has_scheme_port_and_prefix(location: str, expected: str) -> None:
    assert str(mirror_endpoint("docker.io", location).url("library/x", "tags/list")) == expected


@pytest.mark.parametrize("location", ["ftp://x", "https://x/?token=1", ""])
def test_what_is_no_mirror_is_refused(location: str) -> None:
    with pytest.raises(ValueError):
        mirror_endpoint("docker.io", location)


def test_scopes_of_one_resource_are_merged() -> None:
    assert merge_scopes("repository:a:push,pull", "", "repository:b:pull repository:a:pull") == (
        "repository:a:pull,push", "repository:b:pull",
    )
    assert merge_scopes("repository:host:5000/a:pull") == ("repository:host:5000/a:pull",)


def test_a_token_covers_what_it_holds() -> None:
    held = ("repository:a:pull,push", "repository:b:pull")
    assert covers(held, ("repository:a:pull",))
    assert covers(held, ())
    assert not covers(held, ("repository:b:push",))
    assert not covers(held, ("repository:c:pull",))


@pytest.mark.parametrize(("values", "expected"), [
    (('Bearer realm="https://auth/token",scope="repository:a:pull,push"',),
     (Challenge("bearer", (("realm", "https://auth/token"), ("scope", "repository:a:pull,push"))),)),
    (('Basic realm="a \\"b\\", c"',), (Challenge("basic", (("realm", 'a "b", c'),)),)),
    (("Negotiate", "basic Realm=x"), (Challenge("negotiate"), Challenge("basic", (("realm", "x"),)))),
    (('Negotiate, Bearer realm="r" , service=s, Basic realm="b"',),
     (Challenge("negotiate"), Challenge("bearer", (("realm", "r"), ("service", "s"))),
      Challenge("basic", (("realm", "b"),)))),
    (("",), ()),
])
def test_challenges_are_read_in_all_their_forms(values: tuple[str, ...], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(values) == expected


@given(st.lists(st.text(), max_size=3))
def test_no_challenge_breaks_the_parser(values: list[str]) -> None:
    for challenge in parse_challenges(tuple(values)):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize(("text", "expected"), [
    ("0-0", 0), ("0-9", 10), ("bytes=0-9", 10), ("5-9", -1), ("", -1), ("0-x", -1),
])
def test_the_range_of_an_upload_says_how_much_is_there(text: str, expected: int) -> None:
    assert received_bytes(answer(range=text)) == expected


def test_content_range_says_where_a_body_begins() -> None:
    assert content_range_start(answer(content_range="bytes 7-9/10")) == 7
    assert content_range_start(answer(content_range="lines 7-9/10")) == -1
    assert content_range_start(answer()) == -1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s(answer(retry_after="7"), 0) == 7
    assert retry_after_s(answer(retry_after="Sun, 06 Nov 1994 08:49:37 GMT"), 784111777 - 12) == 12
    assert retry_after_s(answer(retry_after="Thu, 29 Feb 2024 00:00:00 GMT"), 1709164800) == 0
    assert retry_after_s(answer(retry_after="soon"), 0) is None
    assert retry_after_s(answer(), 0) is None


def test_the_next_page_is_on_the_same_host() -> None:
    page = next_page(answer(link='</v2/a/tags/list?last=x&n=5>; rel="next"'))
    assert str(page) == "https://registry.example.com/v2/a/tags/list?last=x&n=5"
    assert next_page(answer(link='<https://evil.example.com/v2/>; rel="next"')) is None
    assert next_page(answer(link='</x>; rel="prev"')) is None


def test_error_bodies_are_read_and_cleaned() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"no\\u001b[31m access","detail":{"x":1}}]}'
    assert str(parse_errors(body)[0]) == "DENIED: no [31m access"
    assert str(parse_errors(b'{"error":"invalid_grant","error_description":"bad"}')[0]) == "invalid_grant: bad"
    assert str(parse_errors(b'{"details":"incorrect username or password"}')[0]) == "incorrect username or password"
    for junk in (b"", b"<html>", b"[]", b"\xff", b'{"errors":"x"}'):
        assert parse_errors(junk) == ()


@pytest.mark.parametrize(("status", "code", "temporary"), [
    (401, "registry-unauthorized", False), (403, "registry-forbidden", False), (404, "registry-not-found", False),
    (429, "registry-rate-limited", True), (503, "registry-server", True), (500, "registry-server", True),
    (418, "registry-answer", False),
])
def test_a_status_becomes_an_error_with_a_code(status: int, code: str, temporary: bool) -> None:
    error = response_error("cannot pull `x`", answer(status, b'{"errors":[{"code":"DENIED"}]}'))
    assert (error.code, error.temporary, error.status, error.exit_code) == (code, temporary, status, 4)
    assert error.message.startswith("cannot pull `x`: ") and "DENIED" in error.message
