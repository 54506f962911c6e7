"""A git server on loopback, made with dulwich: the tests need no git program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.objects import Commit, ObjectID, Tag
from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from support.git_commits import COMMIT_TIME, commit_files
from support.web import running

Answer = Callable[[str, str], tuple[str, str, str] | None]
"""Takes path and query; returns status, and a header's name and value, or None to go on."""


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server:
    def __init__(self) -> None:
        self.repos: dict[str, MemoryRepo] = {}
        self.authorizations: list[str] = []
        self.asked: list[tuple[str, str, str]] = []  # host, path and authorization of each request
        self.redirects = ""  # a server to which all requests are redirected
        self.answer: Answer | None = None
        self.plain = False  # serve plain files only
        self.peeled: dict[str, str] = {}  # the commits that tags stand for, in the plain files
        inner = make_wsgi_chain(DictBackend(self.repos))

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            path, authorization = environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION", "")
            self.authorizations.append(authorization)
            self.asked.append((environ.get("HTTP_HOST", ""), path, authorization))
            answer = self.answer(path, environ["QUERY_STRING"]) if self.answer is not None else None
            if answer is not None:
                start_response(answer[0], [(answer[1], answer[2])])
                return []
            if self.redirects:
                place = f"{self.redirects}{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
                start_response("307 Temporary Redirect", [("Location", place)])
                return []
            if self.plain:
                return self._file(path, start_response)
            return inner(environ, start_response)

        self.http: WSGIServer = make_server("127.0.0.1", 0, application, handler_class=Quiet)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def _file(self, path: str, start_response: Any) -> Any:
        """Answer like a server of plain files."""
        name, _, file = path.partition(".git/")
        repo = self.repos[f"{name}.git"]
        data = b""
        if file == "info/refs":
            data = b"".join(b"%b\t%b\n" % (sha, ref) for ref, sha in repo.get_refs().items() if ref != b"HEAD")
            data += b"".join(f"{sha}\t{ref}^{{}}\n".encode() for ref, sha in self.peeled.items())
        elif file == "HEAD":
            data = b"ref: refs/heads/main\n"
        elif file.startswith("objects/") and len(file) == 49:
            data = repo.object_store[ObjectID(file[8:].replace("/", "").encode())].as_legacy_object()
        start_response("200 OK" if data else "404 Not Found", [("Content-Type", "application/octet-stream")])
        return [data]

    def commit(
        self,
        name: str,
        files: Mapping[str, tuple[int, bytes]],
        ref: bytes = b"refs/heads/main",
        parents: Sequence[bytes] = (),
    ) -> str:
        return commit_files(self.repos.setdefault(f"/{name}", MemoryRepo()), files, ref, parents)

    def tag(self, name: str, tag: str, sha: str) -> str:
        repo = self.repos[f"/{name}"]
        found = Tag()
        found.name, found.tagger, found.message = tag.encode(), b"A <a@b>", b"m"
        found.tag_time, found.tag_timezone = COMMIT_TIME, 0
        found.object = Commit, sha.encode()  # type: ignore[assignment]
        repo.object_store.add_object(found)
        repo.refs[b"refs/tags/" + tag.encode()] = found.id  # type: ignore[index]
        return found.id.decode()


def serving() -> Iterator[Server]:
    found = Server()
    with running(found.http):
        yield found
