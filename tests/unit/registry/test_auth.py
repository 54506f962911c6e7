"""The token flow, driven by hand: nothing is sent anywhere."""

import base64

import pytest

from firkin.errors import RegistryError
from firkin.hints import Hint
from firkin.registry.auth import Credentials, Token, choose_challenge, refusal, token_flow
from firkin.registry.protocol import Challenge, Request, Response
from firkin.registry.url import split_url

REGISTRY = split_url("https://registry.example.com/v2/")
CHALLENGE = Challenge("bearer", (
    ("realm", "https://auth.example.com/token?x=1"), ("service", "reg"), ("scope", "repository:a:pull"),
))
USER = Credentials("me", "pw", source="~/.docker/config.json (auths)")


def run(flow: object, *answers: tuple[int, bytes]) -> tuple[list[Request], Token]:
    requests, answers_left = [], list(answers)
    try:
        request = next(flow)  # type: ignore[call-overload]
        while True:
            requests.append(request)
            status, body = answers_left.pop(0)
            request = flow.send(Response(request.method, request.url, status, (), body))  # type: ignore[attr-defined]
    except StopIteration as end:
        return requests, end.value


def test_a_user_gets_a_token_by_get_with_basic() -> None:
    flow = token_flow(CHALLENGE, REGISTRY, USER, ("repository:a:pull,push", "repository:b:pull"), 100.0)
    requests, token = run(flow, (200, b'{"token":"T","expires_in":300}'))
    assert str(requests[0].url) == (
        "https://auth.example.com/token?x=1&account=me&service=reg&scope=repository:a:pull%2Cpush&scope=repository:b:pull"
    )
    assert requests[0].headers == (("Authorization", "Basic " + base64.b64encode(b"me:pw").decode()),)
    assert token == Token("T", ("repository:a:pull,push", "repository:b:pull"), 390.0)
    assert token.fresh(389) and not token.fresh(390)
    assert "pw" not in repr(requests[0]) and "T" not in repr(token).replace("Token", "")


def test_nobody_gets_an_anonymous_token() -> None:
    requests, token = run(token_flow(CHALLENGE, REGISTRY, None, (), 0.0), (200, b'{"access_token":"T"}'))
    assert requests[0].headers == () and "account" not in requests[0].url.target
    assert token.expires_s == 50.0  # of the 60 seconds that hold where none are stated
    _, token = run(token_flow(CHALLENGE, REGISTRY, None, (), 0.0), (200, b'{"token":"T","expires_in":"300"}'))
    assert token.expires_s == 290.0


def test_an_identity_token_is_refreshed_by_post() -> None:
    credentials = Credentials("<token>", identity_token="R&1")
    requests, token = run(token_flow(CHALLENGE, REGISTRY, credentials, (), 0.0), (200, b'{"access_token":"T"}'))
    assert requests[0].method == "POST" and requests[0].headers[0][0] == "Content-Type"
    assert requests[0].body == (
        b"grant_type=refresh_token&service=reg&client_id=firkin&refresh_token=R%261&scope=repository%3Aa%3Apull"
    )
    assert token.value == "T"


def test_a_login_asks_for_an_identity_token() -> None:
    flow = token_flow(CHALLENGE, REGISTRY, USER, (), 0.0, lasting=True)
    requests, token = run(flow, (200, b'{"token":"T","refresh_token":"R"}'))
    assert requests[0].url.target.endswith("offline_token=true&client_id=firkin")
    assert (token.value, token.refresh) == ("T", "R") and "R" not in repr(token)
    requests, token = run(token_flow(CHALLENGE, REGISTRY, USER, (), 0.0), (200, b'{"token":"T"}'))
    assert "offline" not in requests[0].url.target and token.refresh == ""


def test_servers_without_post_get_the_identity_token_as_a_password() -> None:
    credentials = Credentials("me", identity_token="R")
    requests, _ = run(
        token_flow(CHALLENGE, REGISTRY, credentials, (), 0.0), (404, b""), (200, b'{"token":"T"}')
    )
    assert [request.method for request in requests] == ["POST", "GET"]
    assert requests[1].headers == (("Authorization", "Basic " + base64.b64encode(b"me:R").decode()),)


def test_a_registry_token_is_used_as_it_is() -> None:
    requests, token = run(token_flow(CHALLENGE, REGISTRY, Credentials(registry_token="RT"), (), 0.0))
    assert requests == [] and token.value == "RT"


@pytest.mark.parametrize(("registry", "realm", "plain", "allowed"), [
    ("https://registry.example.com/", "https://other.example.com/token", False, True),
    ("https://registry.example.com/", "http://registry.example.com/token", False, False),
    ("https://registry.example.com/", "http://registry.example.com/token", True, False),
    ("http://registry.example.com/", "http://auth.example.com/token", True, True),
    ("http://127.0.0.1:5000/", "http://localhost:5001/token", False, True),
    ("https://127.0.0.1:5000/", "http://127.0.0.1:5001/token", False, True),
    ("http://127.0.0.1:5000/", "http://auth.example.com/token", False, False),
    ("https://registry.example.com/", "http://127.0.0.1/token", False, False),
    ("https://registry.example.com/", "file:///etc/passwd", False, False),
    ("https://registry.example.com/", "/token", False, False),
])
def test_credentials_go_to_trustworthy_realms_only(registry: str, realm: str, plain: bool, allowed: bool) -> None:
    challenge = Challenge("bearer", (("realm", realm),))
    flow = token_flow(challenge, split_url(registry), USER, (), 0.0, plain=plain)
    if allowed:
        assert str(next(flow).url).startswith(realm)
    else:
        with pytest.raises(RegistryError) as caught:
            next(flow)
        assert caught.value.code == "registry-realm"


def test_a_refusal_names_the_source_but_not_the_secret() -> None:
    with pytest.raises(RegistryError) as caught:
        run(token_flow(CHALLENGE, REGISTRY, USER, (), 0.0), (401, b'{"details":"incorrect username or password"}'))
    assert caught.value.status == 401
    assert caught.value.hints == (
        "credentials for `registry.example.com` come from ~/.docker/config.json (auths) (user `me`)",
    )
    assert "pw" not in str(caught.value) + str(caught.value.hints) + repr(USER)


@pytest.mark.parametrize(("answer", "lifetime_s"), [
    (b'{"Token":"T","Expires_In":300}', 290), (b'{"token":null,"access_token":"T","expires_in":null}', 50),
    (b'{"token":"T","expires_in":"300"}', 290), (b'{"token":"T","expires_in":"soon"}', 50),
    (b'{"token":"T","expires_in":-1}', 50), (b'{"token":"T","expires_in":3600.5,"issued_at":[1]}', 3590.5),
    (b'{"token":"T","expires_in":99999999999999999999999999}', 86390), (b'{"token":"T","expires_in":{}}', 50),
])
def test_answers_of_token_servers_differ(answer: bytes, lifetime_s: float) -> None:
    _, token = run(token_flow(CHALLENGE, REGISTRY, None, (), 0.0), (200, answer))
    assert (token.value, token.expires_s) == ("T", lifetime_s)


def test_a_server_that_takes_forms_only_gets_one() -> None:
    flow = token_flow(CHALLENGE, REGISTRY, USER, (), 0.0)
    requests, _ = run(flow, (405, b""), (401, b""), (200, b'{"token":"T"}'))
    assert [request.method for request in requests] == ["GET", "POST", "POST"]
    assert b"grant_type=password&service=reg" in requests[1].body and b"username=me&password=pw" in requests[1].body
    assert [name for name, _ in requests[1].headers] == ["Content-Type"]
    assert requests[2].headers[1] == ("Authorization", "Basic " + base64.b64encode(b"me:pw").decode())
    with pytest.raises(RegistryError):  # a wrong password is not tried again in other ways
        run(token_flow(CHALLENGE, REGISTRY, USER, (), 0.0), (401, b""))


@pytest.mark.parametrize("body", [b"[" * 50_000, b'{"token":"T"' + b',"a":' + b'{"a":' * 50_000, b"", b"{}", b'{"token":""}', b'{"token":"a\\nb"}', b"[1]", b"\xff"])
def test_a_server_without_a_token_is_an_error(body: bytes) -> None:
    with pytest.raises(RegistryError):
        run(token_flow(CHALLENGE, REGISTRY, None, (), 0.0), (200, body))


def test_bearer_comes_before_basic() -> None:
    basic, bearer = Challenge("basic", (("realm", "x"),)), Challenge("bearer", (("realm", "https://x"),))
    assert choose_challenge((basic, bearer)) == bearer
    assert choose_challenge((Challenge("negotiate"), basic)) == basic
    assert choose_challenge((Challenge("bearer"), basic)) == basic
    assert choose_challenge((Challenge("negotiate"),)) is None


def test_401_and_403_are_told_apart() -> None:
    url = split_url("https://ghcr.io/v2/a/b/manifests/1")
    first = refusal("cannot push", Response("PUT", url, 401), "ghcr.io", USER)
    second = refusal("cannot push", Response("PUT", url, 403), "ghcr.io", USER)
    assert (first.code, second.code) == ("registry-unauthorized", "registry-forbidden")
    assert first.hints[0] != second.hints[0] and first.hints[1] == second.hints[1]
    none = refusal("cannot push", Response("PUT", url, 401), "ghcr.io", None, ("helper missing",))
    assert none.hints[0] == Hint.of("login", host="ghcr.io") and none.hints[1] == "helper missing"
