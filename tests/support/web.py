"""Loopback servers of what a Dockerfile may fetch: files over http, and git repositories made with dulwich."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dulwich.repo import MemoryRepo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from support.git_commits import commit_files


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """Let a server answer in its own thread, and close it at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class FileServer:
    """Files by path (`/name?query` counts as `/name`), changeable while it runs; other paths are 404."""

    def __init__(self, http: ThreadingHTTPServer, files: dict[str, tuple[dict[str, str], bytes]]) -> None:
        self.files = files
        self.url = f"http://127.0.0.1:{http.server_port}"

    def put(self, path: str, data: bytes, **headers: str) -> str:
        """Serve data and return its URL; `Last_Modified` is the header Last-Modified."""
        self.files[path] = ({name.replace("_", "-"): value for name, value in headers.items()}, data)
        return self.url + path


@contextmanager
def serving_files() -> Iterator[FileServer]:
    """Run a file server."""
    files: dict[str, tuple[dict[str, str], bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers, data = files.get(self.path.partition("?")[0], (None, b"nothing here\n"))
            self.send_response(404 if headers is None else 200)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with running(http):
        yield FileServer(http, files)


class GitServer:
    """Repositories in memory, served over http."""

    def __init__(self, http: WSGIServer, repos: dict[str, MemoryRepo]) -> None:
        self.repos = repos
        self.url = f"http://127.0.0.1:{http.server_port}"

    def commit(self, name: str, files: Mapping[str, tuple[int, bytes]], ref: str = "refs/heads/main") -> str:
        """Make a commit of files (mode and bytes by path) and return its id; the URL is `url` + `/name`."""
        return commit_files(self.repos.setdefault(f"/{name}", MemoryRepo()), files, ref.encode())


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving_git() -> Iterator[GitServer]:
    """Run a git server."""
    repos: dict[str, MemoryRepo] = {}
    chain = make_wsgi_chain(DictBackend(repos))  # type: ignore[arg-type]
    http = make_server("127.0.0.1", 0, chain, handler_class=_Quiet)
    with running(http):
        yield GitServer(http, repos)
