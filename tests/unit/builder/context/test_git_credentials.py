"""Where tokens for git go when servers, .gitmodules and proxies say that they should go elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from support.git_server import Server

from firkin.builder.context.git import GitTools, open_git
from firkin.builder.graph.ops import Git
from firkin.errors import ContextError
from firkin.registry.settings import RegistrySettings

TOKEN = "sesame-open"
HEADER = "Bearer sesame-open"
FILES = {"f": (0o100644, b"f")}


@pytest.fixture
def tools(tools: GitTools) -> GitTools:
    return tools._replace(secrets={"GIT_AUTH_HEADER": HEADER.encode()})


def strangers(server: Server, *others: Server) -> list[tuple[str, str, str]]:
    """Return the requests with credentials that came to another host than the one they were given for."""
    home = server.url.removeprefix("http://")
    asked = [item for found in (server, *others) for item in found.asked if item[2]]
    return [item for item in asked if item[0] != home]


LOCATIONS = {
    "another port": "http://127.0.0.1:{other}{path}?{query}",
    "another name": "http://localhost:{home}{path}?{query}",
    "upper case": "HTTP://LOCALHOST:{home}{path}?{query}",
    "a dot at the end": "http://127.0.0.1.:{home}{path}?{query}",
    "without a scheme": "//127.0.0.1:{other}{path}?{query}",
    "a login": "http://u:p@127.0.0.1:{other}{path}?{query}",
    "a login like the host": "http://127.0.0.1:{home}@127.0.0.1:{other}{path}?{query}",
    "without the end": "http://127.0.0.1:{other}{path}",
    "a question": "http://127.0.0.1:{other}?@127.0.0.1:{home}{path}",
    "a fragment": "http://127.0.0.1:{other}#@127.0.0.1:{home}{path}",
    "a backslash": "http://127.0.0.1:{other}\\@127.0.0.1:{home}{path}",
    "to https": "https://127.0.0.1:{other}{path}?{query}",
    "no address": "javascript:alert(1)",
    "a file": "file:///etc/passwd",
    "nothing": "http://",
}


@pytest.mark.parametrize("plain", [False, True], ids=["smart", "plain"])
@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
@pytest.mark.parametrize("where", LOCATIONS)
def test_redirects_take_no_credentials_along(
    where: str, status: str, plain: bool, server: Server, other: Server, tools: GitTools
) -> None:
    server.plain = other.plain = plain
    for found in (server, other):
        found.commit("a.git", FILES)
    template, ports = LOCATIONS[where], {"home": server.http.server_port, "other": other.http.server_port}

    def redirect(after: str) -> Callable[[str, str], tuple[str, str, str] | None]:
        seen: set[str] = set()

        def answer(path: str, query: str) -> tuple[str, str, str] | None:
            if after not in path or path in seen:
                return None
            seen.add(path)  # once: the same server answers by its other names
            return status, "Location", template.format(path=path, query=query, **ports)

        return answer

    for after in ("/info/refs", "/objects/" if plain else "/git-upload-pack"):
        server.answer = redirect(after)
        try:
            open_git(Git(server.url + "/a.git"), tools)
        except ContextError as error:
            assert TOKEN not in error.message + str(error.hints)
        assert any(item[2] == HEADER for item in server.asked), "the host itself gets them"
        assert strangers(server, other) == []


@pytest.mark.parametrize("plain", [False, True], ids=["smart", "plain"])
def test_credentials_are_sent_to_their_host(plain: bool, server: Server, tools: GitTools) -> None:
    server.plain = plain
    server.commit("a.git", FILES)
    assert open_git(Git(server.url + "/a.git"), tools).content("f") == b"f"
    assert {item[2] for item in server.asked} == {HEADER}


def test_a_way_back_brings_credentials_to_their_host_only(server: Server, other: Server, tools: GitTools) -> None:
    server.commit("b.git", FILES)
    there = lambda path, query: ("302 x", "Location", f"{server.url}/b.git{path[6:]}?{query}")  # noqa: E731
    server.answer = lambda path, query: (
        ("302 x", "Location", f"{other.url}{path}?{query}") if path.startswith("/a.git") else None
    )
    other.answer = there
    assert open_git(Git(server.url + "/a.git"), tools).content("f") == b"f"
    assert strangers(server, other) == []
    assert {item[2] for item in other.asked} == {""}


def test_a_repository_that_moved_at_its_host_keeps_its_credentials(server: Server, tools: GitTools) -> None:
    """A login in the address, too, which a Location does not repeat."""
    server.commit("b.git", FILES)
    server.answer = lambda path, query: (
        ("301 x", "Location", f"{server.url}/b.git{path[6:]}?{query}") if path.startswith("/a.git") else None
    )
    url = server.url.replace("//", "//user:sesame@") + "/a.git"
    assert open_git(Git(url), tools).content("f") == b"f"
    assert set(server.authorizations) == {"Basic dXNlcjpzZXNhbWU="}


def test_a_login_in_an_address_stays_with_its_host(server: Server, other: Server, tools: GitTools) -> None:
    server.commit("a.git", FILES)
    server.answer = lambda path, query: ("302 x", "Location", f"{other.url}/elsewhere")
    url = server.url.replace("//", "//user:sesame@") + "/a.git"
    with pytest.raises(ContextError) as caught:
        open_git(Git(url), tools)
    assert "sesame" not in caught.value.message
    assert {item[2] for item in other.asked} == {""}


def test_a_challenge_of_another_host_is_not_answered(server: Server, other: Server, tools: GitTools) -> None:
    server.answer = lambda path, query: ("302 x", "Location", f"{other.url}{path}?{query}")
    for challenge in ("Basic realm=x", f'Bearer realm="{other.url}/token"', "Digest realm=x, nonce=y", "Negotiate"):
        other.answer = lambda path, query, told=challenge: ("401 x", "WWW-Authenticate", told)
        with pytest.raises(ContextError, match="401"):
            open_git(Git(server.url + "/a.git"), tools)
    assert {item[2] for item in other.asked} == {""}


SUBMODULES = {
    "another port": "http://127.0.0.1:{other}/inner.git",
    "another name": "http://localhost:{home}/inner.git",
    "a login": "http://x:y@127.0.0.1:{other}/inner.git",
    "a login like the host": "http://127.0.0.1:{home}@127.0.0.1:{other}/inner.git",
    "a question": "http://127.0.0.1:{other}?@127.0.0.1:{home}/inner.git",
    "a fragment": "http://127.0.0.1:{other}#@127.0.0.1:{home}/inner.git",
    "a backslash": "http://127.0.0.1:{other}\\@127.0.0.1:{home}/inner.git",
    "slashes": "..///127.0.0.1:{other}/inner.git",
    "more slashes": "http://127.0.0.1:{home}///127.0.0.1:{other}/inner.git",
    "an address as a path": "../http://127.0.0.1:{other}/inner.git",
    "dots": "../../127.0.0.1:{other}/inner.git",
    "a scheme alone": "http:///127.0.0.1:{other}/inner.git",
    "ssh": "127.0.0.1:{other}/inner.git",
}


@pytest.mark.parametrize("where", SUBMODULES)
def test_submodules_take_no_credentials_along(where: str, server: Server, other: Server, tools: GitTools) -> None:
    """And what a .gitmodules says besides addresses counts for nothing."""
    inner = other.commit("inner.git", {"x": (0o100644, b"inner")})
    server.commit("inner.git", {"x": (0o100644, b"inner")})
    url = SUBMODULES[where].format(home=server.http.server_port, other=other.http.server_port)
    quoted = url.replace("\\", "\\\\")
    modules = (
        f'[url "{other.url}/"]\n\tinsteadOf = {server.url}/\n[http]\n\tproxy = {other.url}\n'
        f'[submodule "m"]\n\tpath = m\n\turl = "{quoted}"\n'
    )
    server.commit("a.git", {".gitmodules": (0o100644, modules.encode()), "m": (0o160000, inner.encode())})
    given = tools._replace(environ={"GIT_TOKEN": TOKEN, "GIT_SSH_COMMAND": "false"})
    for number in range(2):
        if number:
            given = given._replace(secrets={})
        try:
            open_git(Git(server.url + "/a.git"), given)
        except ContextError as error:
            assert TOKEN not in error.message
    assert any(item[2] for item in server.asked)
    assert strangers(server) == []
    own = {"Basic eDp5", ""} if where == "a login" else {"", "Basic " + _basic(f"127.0.0.1:{server.http.server_port}")}
    assert {item[2] for item in other.asked} <= own, "a login that the address itself has"


def _basic(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


def test_packs_are_not_fetched_elsewhere(server: Server, other: Server, tools: GitTools) -> None:
    """A server that answers with packfile-uris, asked for or not."""
    from firkin.builder.context.git_transport import HttpGitClient, Talk
    from firkin.builder.context.https import Web

    client = HttpGitClient(server.url + "/a.git", Web(RegistrySettings(retries=0)), Talk())
    with pytest.raises(Exception, match="fetched elsewhere"):
        client._http_request(other.url + "/secret")
    assert b"packfile-uris" not in client._fetch_capabilities
    assert other.asked == []


def test_a_proxy_of_https_sees_no_credentials(tools: GitTools) -> None:
    """The tunnel is asked for without them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen: list[bytes] = []

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                seen.append(peer.recv(65536))
                peer.sendall(b"HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        settings = RegistrySettings(retries=0, https_proxy=f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(ContextError):
            open_git(Git("https://host.example/a.git"), tools._replace(settings=settings))
        thread.join()
    assert seen[0].startswith(b"CONNECT host.example:443")
    assert b"uthorization" not in seen[0] and TOKEN.encode() not in seen[0]
