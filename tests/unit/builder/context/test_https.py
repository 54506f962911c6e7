"""Downloads against a server on loopback: names, times, digests, redirects, credentials, revalidation."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
from support.web import running

from firkin.builder.context.https import Downloads, Web, document_chunks
from firkin.builder.graph.ops import Http
from firkin.errors import ContextError
from firkin.oci.digest import digest_of
from firkin.registry.settings import RegistrySettings


class Server:
    """Answers by table; `seen` holds (path, headers) of every request."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.path, headers))
                status, fields, body = outer.answers.get(self.path, (404, {}, b""))
                if fields.get("ETag") and headers.get("if-none-match") == fields["ETag"]:
                    status, body = 304, b""
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with running(found.http):
        yield found


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[str], str]:
    numbers = count()
    return lambda name: str(tmp_path / f"{name}{next(numbers)}")


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web(RegistrySettings(retries=0))
    yield found
    found.close()


def test_file(server: Server, web: Web, scratch: Callable[[str], str]) -> None:
    server.answers["/a/b.tgz?x=1"] = 200, {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}, b"data" * 100_000
    view = Downloads(web, scratch).file(Http(server.url + "/a/b.tgz?x=1", "b.tgz"))
    assert view.iterdir("") == ["b.tgz"]
    entry, content = view.lstat("b.tgz"), view.content("b.tgz")
    assert entry is not None
    assert (entry.mode, entry.uid, entry.gid, entry.size) == (0o600, 0, 0, 400_000)
    assert entry.mtime_ns == 784111777 * 10**9
    assert isinstance(content, str)
    assert Path(content).read_bytes() == b"data" * 100_000


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
def test_status(server: Server, web: Web, scratch: Callable[[str], str], status: int) -> None:
    server.answers["/x"] = status, {}, b"no"
    with pytest.raises(ContextError, match=f"invalid response status {status}"):
        Downloads(web, scratch).fetch(server.url + "/x")


def test_temporary_failures_are_tried_again(server: Server, scratch: Callable[[str], str]) -> None:
    server.answers["/x"] = 503, {"Retry-After": "0"}, b""
    web = Web(RegistrySettings(retries=2))
    with pytest.raises(ContextError, match="503"):
        Downloads(web, scratch).fetch(server.url + "/x")
    web.close()
    assert len(server.seen) == 3


def test_nobody_listens(web: Web, scratch: Callable[[str], str]) -> None:
    with pytest.raises(ContextError, match=r"cannot fetch http://127\.0\.0\.1:9/x") as caught:
        Downloads(web, scratch).fetch("http://user:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)
    assert caught.value.hints == ()  # those of the transport are about registries


def test_checksum(server: Server, web: Web, scratch: Callable[[str], str]) -> None:
    server.answers["/x"] = 200, {}, b"data"
    assert Downloads(web, scratch).fetch(server.url + "/x", digest_of(b"data")).size == 4
    with pytest.raises(ContextError, match="digest mismatch"):
        Downloads(web, scratch).fetch(server.url + "/x", digest_of(b"other"))


def test_redirects_keep_credentials_at_their_origin(server: Server, web: Web, scratch: Callable[[str], str]) -> None:
    port = server.http.server_port
    server.answers["/one"] = 302, {"Location": "two"}, b""
    server.answers["/two"] = 307, {"Location": f"http://localhost:{port}/three"}, b""
    server.answers["/three"] = 200, {}, b"x"
    address = f"http://user:pa%20ss@127.0.0.1:{port}/one"
    assert Downloads(web, scratch).fetch(address).size == 1
    assert [headers.get("authorization") for _, headers in server.seen] == [
        "Basic dXNlcjpwYSBzcw==",
        "Basic dXNlcjpwYSBzcw==",
        None,
    ]
    server.answers["/loop"] = 302, {"Location": "/loop"}, b""
    with pytest.raises(ContextError, match="redirects"):
        Downloads(web, scratch).fetch(server.url + "/loop")


def test_what_has_not_changed_is_not_sent_again(
    server: Server, web: Web, scratch: Callable[[str], str], tmp_path: Path
) -> None:
    server.answers["/x"] = 200, {"ETag": '"1"'}, b"one"
    kept = str(tmp_path / "kept")
    first = Downloads(web, scratch, kept).fetch(server.url + "/x")
    second = Downloads(web, scratch, kept).fetch(server.url + "/x")
    assert server.seen[1][1]["if-none-match"] == '"1"'
    assert Path(second.path).read_bytes() == b"one"
    assert second.digest == first.digest
    Downloads(web, scratch, kept).fetch(server.url + "/x", first.digest)
    assert len(server.seen) == 2
    server.answers["/x"] = 200, {"ETag": '"2"'}, b"two"
    assert Path(Downloads(web, scratch, kept).fetch(server.url + "/x").path).read_bytes() == b"two"
    assert Path(second.path).read_bytes() == b"one"
    server.answers["/x"] = 404, {}, b""
    with pytest.raises(ContextError, match="404"):
        Downloads(web, scratch, kept).fetch(server.url + "/x")


def test_what_is_kept_may_vanish_or_be_damaged(
    server: Server, web: Web, scratch: Callable[[str], str], tmp_path: Path
) -> None:
    server.answers["/x"] = 200, {"ETag": '"1"'}, b"one"
    kept = tmp_path / "kept"
    first = Downloads(web, scratch, str(kept)).fetch(server.url + "/x")
    (content,) = (place for place in kept.iterdir() if place.suffix != ".json")
    content.unlink()
    again = Downloads(web, scratch, str(kept)).fetch(server.url + "/x")
    assert Path(again.path).read_bytes() == b"one" and "if-none-match" not in server.seen[1][1]
    Path(again.path).unlink()
    content.unlink()
    content.write_bytes(b"other!")
    third = Downloads(web, scratch, str(kept)).fetch(server.url + "/x", first.digest)
    assert Path(third.path).read_bytes() == content.read_bytes() == b"one"
    (note,) = kept.glob("*.json")
    note.write_bytes(b"{")
    assert Path(Downloads(web, scratch, str(kept)).fetch(server.url + "/x").path).read_bytes() == b"one"


def test_a_place_that_takes_nothing_keeps_nothing(
    server: Server, web: Web, scratch: Callable[[str], str], tmp_path: Path
) -> None:
    server.answers["/x"] = 200, {"ETag": '"1"'}, b"one"
    (tmp_path / "file").touch()
    found = Downloads(web, scratch, str(tmp_path / "file")).fetch(server.url + "/x")
    assert Path(found.path).read_bytes() == b"one"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
def test_the_encoding_of_the_way_is_no_part_of_the_content(
    server: Server, web: Web, scratch: Callable[[str], str], tmp_path: Path, encoding: str
) -> None:
    data = b"content" * 1000
    server.answers["/x"] = 200, {"Content-Encoding": encoding, "ETag": '"1"'}, gzip.compress(data)
    for _ in range(2):  # the second is unchanged
        found = Downloads(web, scratch, str(tmp_path / "kept")).fetch(server.url + "/x", digest_of(data))
        assert Path(found.path).read_bytes() == data and found.size == len(data)
    assert [headers["accept-encoding"] for _, headers in server.seen] == ["gzip"]
    server.answers["/Dockerfile"] = 200, {"Content-Encoding": encoding}, gzip.compress(b"FROM scratch\n")
    assert b"".join(document_chunks(web, server.url + "/Dockerfile")) == b"FROM scratch\n"


@pytest.mark.parametrize("fields", [
    {"Content-Type": "application/gzip"}, {"Content-Encoding": "x-gzip"}, {"Content-Encoding": "identity"},
    {"Content-Encoding": "br"}, {"Content-Encoding": "deflate"}, {"Content-Encoding": "zstd"},
    {"Content-Encoding": "gzip, gzip"},
])
def test_other_encodings_stay_as_they_are(
    server: Server, web: Web, scratch: Callable[[str], str], fields: dict[str, str]
) -> None:
    data = gzip.compress(b"an archive that is one")
    server.answers["/x.tar.gz"] = 200, fields, data
    assert Path(Downloads(web, scratch).fetch(server.url + "/x.tar.gz").path).read_bytes() == data


@pytest.mark.parametrize(
    "body",
    [b"not gzip at all", gzip.compress(b"x" * 5000)[:-9], gzip.compress(b"x") + b"rest"],
    ids=["no gzip", "cut short", "with a rest"],
)
def test_an_encoding_that_is_none_is_an_error(
    server: Server, web: Web, scratch: Callable[[str], str], body: bytes
) -> None:
    server.answers["/x"] = 200, {"Content-Encoding": "gzip"}, body
    with pytest.raises(ContextError, match=r"cannot fetch .*/x: .*Content-Encoding"):
        Downloads(web, scratch).fetch(server.url + "/x")


def test_nothing_is_nothing_in_any_encoding(server: Server, web: Web, scratch: Callable[[str], str]) -> None:
    server.answers["/x"] = 200, {"Content-Encoding": "gzip"}, b""
    assert Downloads(web, scratch).fetch(server.url + "/x").size == 0


def test_a_bomb_ends_at_the_limit(
    server: Server, web: Web, scratch: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firkin.builder.context.https._MAX_BYTES", 4 << 20)
    server.answers["/x"] = 200, {"Content-Encoding": "gzip"}, gzip.compress(b"\0" * (64 << 20), 1)
    with pytest.raises(ContextError, match="is larger than"):
        Downloads(web, scratch).fetch(server.url + "/x")


def test_document(server: Server, web: Web) -> None:
    server.answers["/Dockerfile"] = 200, {}, b"FROM scratch\n"
    assert b"".join(document_chunks(web, server.url + "/Dockerfile")) == b"FROM scratch\n"
    with pytest.raises(ContextError, match="not an http or https URL"):
        web.open("ftp://x/y")
