"""Repositories that the git program made, named by sha1 and sha256, from git's own server and from plain files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.web import running

from firkin.builder.context.git import GitTools, open_git
from firkin.builder.graph.ops import Git
from firkin.errors import ContextError
from firkin.layer.change import View

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to make repositories with")

WHEN = "2023-05-05T05:05:05Z"
WHEN_S = 1683263105


class Places:
    """Repositories in a directory: `/smart/NAME` by git's server, `/plain/NAME` as files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_DATE": WHEN,
            "GIT_COMMITTER_DATE": WHEN, "GIT_CONFIG_COUNT": "4", "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": "n", "GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "a@b",
            "GIT_CONFIG_KEY_2": "init.defaultBranch", "GIT_CONFIG_VALUE_2": "trunk",
            "GIT_CONFIG_KEY_3": "safe.directory", "GIT_CONFIG_VALUE_3": "*",
        }  # fmt: skip
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def git(self, where: Path, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=where, env=self.environ, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def make(self, form: str, packed: bool) -> Path:
        place = self.root / form
        place.mkdir()
        self.git(place, "init", "-q", f"--object-format={form}")
        for number in range(3):
            (place / "d" / "e").mkdir(parents=True, exist_ok=True)
            (place / "d" / "e" / "n").write_text(str(number))
            (place / "big").write_text("line\n" * 1000 * (number + 1))
            (place / "run").write_text("#!/bin/sh\n")
            (place / "run").chmod(0o755)
            if not number:
                (place / "l").symlink_to("run")
            self.git(place, "add", "-A")
            self.git(place, "commit", "-qm", str(number))
            if number == 1:
                self.git(place, "tag", "-a", "v1", "-m", "one")
                if packed:
                    self.git(place, "gc", "-q")
        self.git(place, "update-server-info")
        return place

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        places = self
        backend = subprocess.run(["git", "--exec-path"], capture_output=True, check=True).stdout.decode().strip()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                _, kind, rest = path.split("/", 2)
                if kind == "plain":
                    file = places.root / rest
                    self.send_response(200 if file.is_file() else 404)
                    self.end_headers()
                    self.wfile.write(file.read_bytes() if file.is_file() else b"")
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                environ = {
                    **places.environ, "GIT_PROJECT_ROOT": str(places.root), "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": f"/{rest}", "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                }  # fmt: skip
                done = subprocess.run([f"{backend}/git-http-backend"], input=body, env=environ, stdout=subprocess.PIPE)
                head, _, answer = done.stdout.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self.send_response(int(fields.pop("Status", "200").split()[0]))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET

        return Handler


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    (tmp_path / "served").mkdir()
    found = Places(tmp_path / "served")
    with running(found.http):
        yield found


def everything(view: View, path: str = "") -> dict[str, tuple[str, int, int, bytes]]:
    found = {}
    for name in view.iterdir(path):
        below = f"{path}/{name}" if path else name
        entry = view.lstat(below)
        assert entry is not None
        data = b""
        if entry.kind == "file":
            content = view.content(below)
            data = content if isinstance(content, bytes) else Path(content).read_bytes()
        found[below] = (entry.kind, entry.mode, entry.mtime_ns, data)
        if entry.kind == "dir":
            found |= everything(view, below)
    return found


FORMS = pytest.mark.parametrize("form", ["sha1", "sha256"])
SERVERS = pytest.mark.parametrize("server", ["smart", "plain"])
PACKED = pytest.mark.parametrize("packed", [True, False], ids=["packed", "loose"])


@FORMS
@SERVERS
@PACKED
def test_refs_and_commits(places: Places, tools: GitTools, form: str, server: str, packed: bool) -> None:
    place = places.make(form, packed)
    url = f"{places.url}/{server}/{form}/.git"
    head, before = places.git(place, "rev-parse", "HEAD"), places.git(place, "rev-parse", "HEAD~1")
    for ref, number in (("", b"2"), ("trunk", b"2"), ("v1", b"1"), (head, b"2"), (before, b"1")):
        assert open_git(Git(url, ref), tools).content("d/e/n") == number, ref
    assert open_git(Git(url, "", checksum=head[:8]), tools).content("d/e/n") == b"2"
    assert open_git(Git(url, "v1", checksum=before[:12]), tools).content("d/e/n") == b"1"
    with pytest.raises(ContextError, match=f"expected checksum to match 00000000, got {head}"):
        open_git(Git(url, "", checksum="00000000"), tools)
    with pytest.raises(ContextError, match="is no hexadecimal commit hash"):
        open_git(Git(url, "", checksum="trunk"), tools)
    with pytest.raises(ContextError, match="cannot fetch the git repository"):
        open_git(Git(url, "1" * len(head)), tools)


@FORMS
@SERVERS
def test_what_is_kept_is_a_repository(places: Places, tools: GitTools, form: str, server: str) -> None:
    places.make(form, packed=True)
    for ref, commits, count_ in (("", 1, 1), ("v1", 1, 1), ("trunk", 2, 2), ("trunk", 0, 3)):
        view = open_git(Git(f"{places.url}/{server}/{form}/.git", ref, keep_git_dir=True), tools, commits)
        head = view.content(".git/HEAD")
        assert isinstance(head, str)
        control = Path(head).parent
        copy = Path(tools.scratch("copy"))
        shutil.copytree(control, copy / ".git")
        places.git(copy, "checkout", "-q", "--", ".")
        assert places.git(copy, "status", "--porcelain") == ""
        assert places.git(copy, "fsck", "--full", "--strict") == ""
        assert len(places.git(copy, "log", "--oneline").splitlines()) == count_
        assert places.git(copy, "remote", "get-url", "origin") == f"{places.url}/{server}/{form}/.git"
        assert (copy / "d" / "e" / "n").read_bytes() == view.content("d/e/n")
        if ref == "v1":
            assert places.git(copy, "describe") == "v1"


@FORMS
def test_what_is_kept_is_the_same_each_time(places: Places, tools: GitTools, form: str) -> None:
    place = places.make(form, packed=True)
    op = Git(f"{places.url}/smart/{form}/.git", "trunk", keep_git_dir=True)
    first = everything(open_git(op, tools, 2))
    assert {mtime for _, _, mtime, _ in first.values()} == {WHEN_S * 10**9}
    places.git(place, "repack", "-adfq", "--window=1")
    old = os.umask(0o077)
    try:
        assert everything(open_git(op, tools, 2)) == first
    finally:
        os.umask(old)
    plain = everything(open_git(Git(f"{places.url}/plain/{form}/.git", "trunk", keep_git_dir=True), tools, 2))
    assert plain.keys() == first.keys()
    assert [path for path in first if plain[path] != first[path]] == [".git/config"]


@FORMS
def test_objects_have_the_ids_they_are_asked_by(places: Places, tools: GitTools, form: str) -> None:
    place = places.make(form, packed=False)
    url = f"{places.url}/plain/{form}/.git"
    names = [places.git(place, "rev-parse", f"HEAD:{path}") for path in ("big", "run")]
    big, run = (place / ".git" / "objects" / name[:2] / name[2:] for name in names)
    big.chmod(0o644)
    big.write_bytes(run.read_bytes())
    with pytest.raises(ContextError, match=f"object {names[0]} is damaged"):
        open_git(Git(url), tools)
    big.write_bytes(b"nothing that inflates")
    with pytest.raises(ContextError, match="cannot fetch the git repository"):
        open_git(Git(url), tools)
    big.unlink()
    with pytest.raises(ContextError, match=f"the server has no object {names[0]}"):
        open_git(Git(url), tools)


@FORMS
def test_objects_inflate_to_no_more_than_they_state(places: Places, tools: GitTools, form: str) -> None:
    place = places.make(form, packed=False)
    name = places.git(place, "rev-parse", "HEAD:big")
    big = place / ".git" / "objects" / name[:2] / name[2:]
    big.chmod(0o644)
    for raw, why in (
        (b"blob 3\0abc" + bytes(64 << 20), "damaged"), (b"blob 99999999999\0abc", "damaged"),
        (b"blob -3\0abc", "damaged"), (b"blob " + b"9" * 64 + b"\0abc", "more than"), (b"", "damaged"),
    ):  # fmt: skip
        big.write_bytes(zlib.compress(raw))
        tracemalloc.start()
        try:
            with pytest.raises(ContextError, match=f"object {name} is damaged" if why == "damaged" else why):
                open_git(Git(f"{places.url}/plain/{form}/.git"), tools)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()


def test_packs_have_plain_names(places: Places, tools: GitTools) -> None:
    place = places.make("sha1", packed=True)
    packs = place / ".git" / "objects" / "info" / "packs"
    packs.write_text("P pack-../../../secret.pack\nP ../x.pack\nP pack-\n" + packs.read_text())
    assert open_git(Git(f"{places.url}/plain/sha1/.git"), tools).content("d/e/n") == b"2"


def test_files_are_those_of_a_checkout(places: Places, tools: GitTools) -> None:
    """Attributes of several directories, over contents of every kind: each file as `git clone` writes it."""
    place = places.root / "attributes"
    (place / "d" / "e").mkdir(parents=True)
    places.git(place, "init", "-q")
    (place / ".gitattributes").write_text(
        "[attr]windows eol=crlf\n*.auto text=auto eol=crlf\n*.bat windows\n*.id ident\n*.u16 working-tree-encoding=UTF-16LE\n"
        "*.jpg binary\n*.txt text\n*.gone export-ignore\n*.lfs filter=lfs diff=lfs merge=lfs -text\n/top.* eol=crlf ident\n"
    )
    (place / "d" / ".gitattributes").write_text("*.txt eol=crlf\n/e/*.bat -text\n")
    (place / "d" / "e" / ".gitattributes").write_text("*.id !ident eol=crlf\n")
    contents = {
        "lf": b"a\nb\n", "mixed": b"a\r\nb\nc\r", "nul": b"a\0\n", "id": b"$Id$\n$Id: old $\n$Id: x y $\n", "empty": b"",
        "strange": bytes(range(1, 32)) * 4 + b"\n", "end": "é\n".encode(),
    }  # fmt: skip
    for directory in ("", "d", "d/e"):
        for suffix in ("auto", "bat", "id", "jpg", "txt", "gone", "lfs", "plain"):
            for name, data in contents.items():
                blob = subprocess.run(
                    ["git", "hash-object", "-w", "--stdin"], cwd=place, env=places.environ, input=data,
                    capture_output=True, check=True,
                ).stdout.decode().strip()  # fmt: skip
                path = f"{directory}/{name}.{suffix}".lstrip("/")
                places.git(place, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    for name in ("x.u16", "top.file"):
        (place / name).write_bytes("é$Id$\n".encode("utf-16-le") if name == "x.u16" else b"$Id$\n")
    places.git(place, "add", ".gitattributes", "d/.gitattributes", "d/e/.gitattributes", "x.u16", "top.file")
    places.git(place, "commit", "-qm", "1")
    places.git(places.root, "clone", "-q", "attributes", "clone")
    view = open_git(Git(f"{places.url}/smart/attributes/.git"), tools)
    found = {path: data for path, (kind, _, _, data) in everything(view).items() if kind == "file"}
    clone = places.root / "clone"
    wanted = {
        str(path.relative_to(clone)): path.read_bytes()
        for path in clone.rglob("*")
        if path.is_file() and ".git/" not in f"{path.relative_to(clone)}"
    }
    assert found.keys() == wanted.keys()
    assert [path for path in found if found[path] != wanted[path]] == []
    for path, data in found.items():
        entry = view.lstat(path)
        assert entry is not None
        assert entry.size == len(data), path
