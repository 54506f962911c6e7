"""A git server on loopback, made of dulwich: no git program takes part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from support.web import running

TIME = 1_600_000_000
Answer = Callable[[str, str], tuple[str, str, str] | None]
"""Takes path and query; returns status, and a header's name and value, None to go on."""


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server:
    def __init__(self) -> None:
        self.repos: dict[str, MemoryRepo] = {}
        self.authorizations: list[str] = []
        self.asked: list[tuple[str, str, str]] = []  # host, path and authorization of each request
        self.redirects = ""  # where everything is instead
        self.answer: Answer | None = None
        self.plain = False  # files only
        self.peeled: dict[str, str] = {}  # what it says (as plain files) that tags stand for
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
        """Answer as a server of plain files does."""
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
        repo = self.repos.setdefault(f"/{name}", MemoryRepo())
        store = repo.object_store

        def tree_of(prefix: str) -> bytes:
            tree = Tree()
            names = {path[len(prefix) :].partition("/")[0] for path in files if path.startswith(prefix)}
            for item in names:
                if prefix + item in files:
                    mode, data = files[prefix + item]
                    if mode == 0o160000:
                        tree.add(item.encode(), mode, data)  # type: ignore[arg-type]
                        continue
                    blob = Blob.from_string(data)
                    store.add_object(blob)
                    tree.add(item.encode(), mode, blob.id)
                else:
                    tree.add(item.encode(), 0o040000, tree_of(prefix + item + "/"))  # type: ignore[arg-type]
            store.add_object(tree)
            return tree.id

        commit = Commit()
        commit.tree = tree_of("")  # type: ignore[assignment]
        commit.author = commit.committer = b"A <a@b>"
        commit.author_time = commit.commit_time = TIME
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"message"
        commit.parents = list(parents)  # type: ignore[arg-type]
        store.add_object(commit)
        repo.refs[ref] = commit.id  # type: ignore[index]
        repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]
        return commit.id.decode()

    def tag(self, name: str, tag: str, sha: str) -> str:
        repo = self.repos[f"/{name}"]
        found = Tag()
        found.name, found.tagger, found.message = tag.encode(), b"A <a@b>", b"m"
        found.tag_time, found.tag_timezone = TIME, 0
        found.object = Commit, sha.encode()  # type: ignore[assignment]
        repo.object_store.add_object(found)
        repo.refs[b"refs/tags/" + tag.encode()] = found.id  # type: ignore[index]
        return found.id.decode()


def serving() -> Iterator[Server]:
    found = Server()
    with running(found.http):
        yield found
