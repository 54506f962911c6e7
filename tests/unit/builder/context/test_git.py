"""Git repositories over http on loopback, served and made by dulwich: no git program takes part."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.repo import MemoryRepo, Repo
from support.git_commits import COMMIT_TIME
from support.git_server import Server

from firkin.builder.context.git import GitTools, open_git
from firkin.builder.context.git_address import GitCredentials, join_remote, parse_address, submodule_url
from firkin.builder.context.views import MemoryView, SingleFile
from firkin.builder.graph.ops import Git
from firkin.builder.solve.result import Files
from firkin.errors import ContextError
from firkin.layer.change import Entry, View
from firkin.registry.settings import RegistrySettings

FILES = {
    "Dockerfile": (0o100644, b"FROM busybox\n"),
    "bin/run": (0o100755, b"#!/bin/sh\n"),
    "link": (0o120000, b"bin/run"),
    "sub/dir/f": (0o100644, b"f"),
}


def contents(view: View, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name in view.iterdir(path):
        below = f"{path}/{name}" if path else name
        entry = view.lstat(below)
        assert entry is not None
        if entry.kind == "dir":
            found |= contents(view, below)
        else:
            found[below] = entry.target or view.content(below)
    return found


def test_default_branch(server: Server, tools: GitTools) -> None:
    server.commit("a.git", FILES)
    view = open_git(Git(server.url + "/a.git"), tools)
    assert contents(view) == {
        "Dockerfile": b"FROM busybox\n",
        "bin/run": b"#!/bin/sh\n",
        "link": "bin/run",
        "sub/dir/f": b"f",
    }
    modes = {path: entry.mode for path in ("Dockerfile", "bin", "bin/run") if (entry := view.lstat(path))}
    assert modes == {"Dockerfile": 0o644, "bin": 0o755, "bin/run": 0o755}
    entry = view.lstat("Dockerfile")
    assert entry is not None
    assert (entry.uid, entry.gid, entry.size, entry.mtime_ns) == (0, 0, 13, COMMIT_TIME * 10**9)
    assert view.lstat("nothing") is None
    assert view.lstat("Dockerfile/x") is None


def test_refs(server: Server, tools: GitTools) -> None:
    first = server.commit("a.git", {"f": (0o100644, b"1")})
    tag = server.tag("a.git", "v1", first)
    second = server.commit("a.git", {"f": (0o100644, b"2")}, b"refs/heads/dev")
    server.commit("a.git", {"f": (0o100644, b"3")}, b"refs/pull/7/head")
    url = server.url + "/a.git"
    for ref, data in (
        ("", b"1"),
        ("main", b"1"),
        ("v1", b"1"),
        ("refs/tags/v1", b"1"),
        ("dev", b"2"),
        ("refs/heads/dev", b"2"),
        ("pull/7/head", b"3"),
        (first, b"1"),
        (second, b"2"),
    ):
        assert open_git(Git(url, ref), tools).content("f") == data, ref
    for checksum in (first, first[:7], tag):
        assert open_git(Git(url, "v1", checksum=checksum), tools).content("f") == b"1"
    with pytest.raises(ContextError, match="expected checksum to match"):
        open_git(Git(url, "v1", checksum=second), tools)
    with pytest.raises(ContextError, match="does not contain ref mian") as caught:
        open_git(Git(url, "mian"), tools)
    assert caught.value.hints == ("did you mean `main`?",)
    with pytest.raises(ContextError, match="cannot fetch the git repository"):
        open_git(Git(url, "0" * 40), tools)


def test_a_checksum_of_a_tag_is_not_what_the_server_says_of_it(server: Server, tools: GitTools) -> None:
    """The tag that is pinned names the commit, whatever the server's list of refs says."""
    first = server.commit("a.git", {"f": (0o100644, b"1")})
    tag = server.tag("a.git", "v1", first)
    other = server.commit("a.git", {"f": (0o100644, b"evil")}, b"refs/heads/dev")
    server.plain = True
    server.peeled = {"refs/tags/v1": other}
    for checksum in (tag, tag[:8]):
        assert open_git(Git(server.url + "/a.git", "v1", checksum=checksum), tools).content("f") == b"1"
    with pytest.raises(ContextError, match="expected checksum to match"):
        open_git(Git(server.url + "/a.git", "v1", checksum=first), tools).content("f")


def test_a_server_that_talks_without_end(
    server: Server, tools: GitTools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """More refs, or more progress, than anybody has: over http, by git's protocol, over ssh."""
    monkeypatch.setattr("firkin.builder.context.git_transport.MAX_TALK_BYTES", 100_000)
    monkeypatch.setattr("firkin.builder.context.git_remote.MAX_TALK_BYTES", 100_000)
    sha = server.commit("a.git", FILES)
    big = server.commit("big.git", {"f": (0o100644, os.urandom(1 << 20))})
    assert open_git(Git(server.url + "/big.git", big), tools).lstat("f"), "objects are no talk"
    repo = server.repos["/a.git"]
    for number in range(600):
        repo.refs[b"refs/heads/" + b"branch-" * 30 + b"%d" % number] = ObjectID(sha.encode())  # type: ignore[index]
    for plain in (False, True):
        server.plain = plain
        for ref in ("main", sha):
            with pytest.raises(ContextError, match=r"says more than|is larger than"):
                open_git(Git(server.url + "/a.git", ref), tools)
    line = b"%b refs/heads/x\0side-band-64k\n" % sha.encode()
    endless = tmp_path / "endless"
    endless.write_bytes((b"%04x" % (len(line) + 4) + line) * 10_000)
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\nexec cat {endless}\n")
    script.chmod(0o755)
    environ = {"GIT_SSH_COMMAND": str(script), "PATH": os.defpath}
    with pytest.raises(ContextError, match="says more than"):
        open_git(Git("git@example.com:owner/name.git"), tools._replace(environ=environ))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer, suppress(OSError):
                peer.sendall(endless.read_bytes())

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ContextError, match="says more than"):
            open_git(Git(f"git://127.0.0.1:{listening.getsockname()[1]}/x"), tools)
        thread.join()


@pytest.mark.parametrize("said", [b"", b"00", b"0040" + b"x" * 10])
def test_a_server_that_says_nothing_is_not_waited_for(said: bytes, tools: GitTools) -> None:
    """Git's own protocol, where nothing else has a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(said)
                done.wait(60)

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        settings = RegistrySettings(retries=0, timeout_s=0.5)
        with pytest.raises(ContextError, match="cannot fetch the git repository"):
            open_git(Git(f"git://127.0.0.1:{listening.getsockname()[1]}/x"), tools._replace(settings=settings))
        assert time.monotonic() - began < 20
        done.set()
        thread.join()


def test_the_time_of_a_source(server: Server, tools: GitTools) -> None:
    server.commit("a.git", FILES)
    assert Files(open_git(Git(server.url + "/a.git"), tools)).time_s == COMMIT_TIME
    assert Files(open_git(Git(server.url + "/a.git", subdir="sub"), tools)).time_s == COMMIT_TIME
    assert Files(MemoryView({"f": Entry("file")}, {})).time_s is None
    assert MemoryView({"f": Entry("file", mtime_ns=7 * 10**9), "d": Entry("dir")}, {}).newest_s() == 7
    assert Files(SingleFile("f", Entry("file", mtime_ns=9 * 10**9), b"")).time_s == 9


def test_subdir(server: Server, tools: GitTools) -> None:
    server.commit("a.git", FILES)
    assert contents(open_git(Git(server.url + "/a.git", subdir="/sub/dir/"), tools)) == {"f": b"f"}
    for wrong in ("nothing", "Dockerfile", "../x"):
        with pytest.raises(ContextError, match="has no directory"):
            open_git(Git(server.url + "/a.git", subdir=wrong), tools)


def test_git_directory(server: Server, tools: GitTools) -> None:
    sha = server.commit("a.git", FILES)
    url = server.url.replace("//", "//user:secret@") + "/a.git"
    view = open_git(Git(url, keep_git_dir=True), tools)
    head = view.content(".git/HEAD")
    assert isinstance(head, str)
    assert Path(head).read_text().strip() == sha
    config = view.content(".git/config")
    assert isinstance(config, str)
    assert "secret" not in Path(config).read_text()
    assert view.iterdir("")[0] == ".git"
    with pytest.raises(KeyError):
        open_git(Git(url), tools).content(".git/HEAD")


@pytest.mark.parametrize(("depth", "commits"), [(1, 1), (2, 2), (0, 3)])
def test_history(server: Server, tools: GitTools, depth: int, commits: int) -> None:
    parents: list[bytes] = []
    for number in range(3):
        sha = server.commit("deep.git", {"n": (0o100644, b"%d" % number)}, parents=parents)
        parents = [sha.encode()]
    view = open_git(Git(f"{server.url}/deep.git", keep_git_dir=True), tools, depth)
    head = view.content(".git/HEAD")
    assert isinstance(head, str)
    with Repo(str(Path(head).parent.parent)) as repo:
        assert len(list(repo.get_walker())) == commits


def test_submodules(server: Server, tools: GitTools) -> None:
    inner = server.commit("inner.git", {"x": (0o100644, b"inner")})
    modules = b'[submodule "m"]\n\tpath = lib/m\n\turl = ../inner.git\n'
    server.commit("a.git", {".gitmodules": (0o100644, modules), "lib/m": (0o160000, inner.encode())})
    view = open_git(Git(server.url + "/a.git"), tools)
    assert view.content("lib/m/x") == b"inner"
    without = open_git(Git(server.url + "/a.git", submodules=False), tools)
    assert without.iterdir("lib") == ["m"]
    assert without.iterdir("lib/m") == []


def test_credentials(server: Server, tools: GitTools) -> None:
    server.commit("a.git", FILES)
    open_git(Git(server.url + "/a.git"), tools._replace(secrets={"GIT_AUTH_TOKEN": b"tok\n"}))
    assert set(server.authorizations) == {"basic eC1hY2Nlc3MtdG9rZW46dG9r"}


HOME = parse_address("https://host:444/r.git")


@pytest.mark.parametrize(
    ("address", "secrets", "environ", "expected"),
    [
        ("https://host:444/x", {"GIT_AUTH_HEADER": b"bearer x"}, {}, "bearer x"),
        ("https://host:444/x", {"GIT_AUTH_HEADER.other": b"bearer x"}, {}, ""),
        ("https://HOST:444/x", {"GIT_AUTH_TOKEN.host": b"t", "GIT_AUTH_HEADER": b"h"}, {}, "t"),
        ("https://host:444/x", {"GIT_AUTH_TOKEN.host:444": b"t", "GIT_AUTH_TOKEN.host": b"h"}, {}, "t"),
        ("https://host:444/x", {}, {"GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, "basic dTpw"),
        ("https://host:444/x", {}, {"GIT_TOKEN": "t"}, "basic dDo="),
        ("https://other/x", {"GIT_AUTH_HEADER.other": b"bearer x"}, {}, "bearer x"),
        ("https://other:443/x", {"GIT_AUTH_HEADER.other": b"bearer x"}, {}, ""),
        ("http://other/x", {"GIT_AUTH_HEADER.other": b"bearer x"}, {}, ""),
        ("http://host:444/x", {"GIT_AUTH_HEADER.host:444": b"bearer x"}, {}, ""),
        *[
            (address, {"GIT_AUTH_TOKEN": b"t", "GIT_AUTH_HEADER": b"h"}, {"GIT_TOKEN": "t"}, "")
            for address in (
                "https://other/x", "http://host:444/x", "https://host/x", "https://host:445/x", "https://xhost:444/x",
                "https://host.other:444/x", "https://host:444@other/x", "git://host:444/x", "ssh://host:444/x",
            )
        ],
    ],
)  # fmt: skip
def test_credentials_go_where_they_were_given_for(
    address: str, secrets: dict[str, bytes], environ: dict[str, str], expected: str
) -> None:
    if len(expected) == 1:
        expected = "basic " + base64.b64encode(b"x-access-token:" + expected.encode()).decode()
    assert GitCredentials(secrets, environ, HOME.origin).authorization(parse_address(address)) == expected


TOKENS: list[tuple[dict[str, bytes], dict[str, str]]] = [
    ({"GIT_AUTH_TOKEN": b"tok"}, {}),
    ({"GIT_AUTH_HEADER": b"Bearer tok"}, {}),
    ({}, {"GIT_TOKEN": "tok"}),
    ({}, {"GIT_USERNAME": "u", "GIT_PASSWORD": "tok"}),
]


@pytest.mark.parametrize(("secrets", "environ"), TOKENS)
def test_submodules_elsewhere_get_no_credentials(
    server: Server, other: Server, tools: GitTools, secrets: dict[str, bytes], environ: dict[str, str]
) -> None:
    inner = other.commit("inner.git", {"x": (0o100644, b"inner")})
    near = server.commit("near.git", {"x": (0o100644, b"near")})
    modules = (
        f'[submodule "a"]\n\tpath = a\n\turl = {other.url}/inner.git\n[submodule "b"]\n\tpath = b\n\turl = ../near.git\n'
    )
    server.commit(
        "a.git",
        {
            ".gitmodules": (0o100644, modules.encode()),
            "a": (0o160000, inner.encode()),
            "b": (0o160000, near.encode()),
        },
    )
    view = open_git(Git(server.url + "/a.git"), tools._replace(secrets=secrets, environ=environ))
    assert (view.content("a/x"), view.content("b/x")) == (b"inner", b"near")
    assert set(other.authorizations) == {""}
    assert "" not in server.authorizations


def test_a_dockerfile_of_a_repository_names_no_host_for_credentials(
    server: Server, other: Server, tools: GitTools
) -> None:
    """ADD of a repository elsewhere, in a Dockerfile that is itself from a repository."""
    other.commit("a.git", FILES)
    given = tools._replace(secrets={"GIT_AUTH_TOKEN": b"tok"}, home=server.url + "/context.git")
    open_git(Git(other.url + "/a.git"), given)
    assert set(other.authorizations) == {""}
    server.commit("a.git", FILES)
    open_git(Git(server.url + "/a.git"), given)
    assert "" not in server.authorizations


def test_redirects_elsewhere_get_no_credentials(server: Server, other: Server, tools: GitTools) -> None:
    other.commit("a.git", FILES)
    server.redirects = other.url
    view = open_git(Git(server.url + "/a.git"), tools._replace(secrets={"GIT_AUTH_TOKEN": b"tok"}))
    assert view.content("sub/dir/f") == b"f"
    assert set(other.authorizations) == {""}
    assert server.authorizations[0] == "basic eC1hY2Nlc3MtdG9rZW46dG9r"


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc", "/etc/x.git", "ext::sh -c id", "ext::sh -c curl%20x", "fd::3", "ftp://h/x", "x/y.git", "name",
        "ssh://-oProxyCommand=id/x", "-oProxyCommand=id:x", "-oX@h:x", "ssh://-oX@h/x", "h:-x", "ssh://h", "https://h",
        "http://h/a\nHost: evil", "https://h/\r\nX: y", "git://h/x\0y", "https:///x", "https://h:port/x", "https://[/x",
        "../../../evil/x", "../../../../evil/x", "git://h x/y", "", "h::x",
    ],
)  # fmt: skip
def test_submodules_are_at_addresses(address: str) -> None:
    with pytest.raises(ValueError):
        submodule_url("https://h/o/a.git", address)


def test_a_submodule_that_cannot_be_fetched_is_told(server: Server, tools: GitTools) -> None:
    for number, modules in enumerate((
        b'[submodule "m"]\n\tpath = m\n\turl = file:///etc\n', b'[submodule "m"]\n\tpath = m\n', b"[sub", b"\xff\0",
        b'[submodule "m"]\n\tpath = ../../m\n\turl = ../x.git\n', b"#" * (2 << 20),
    )):  # fmt: skip
        name = f"{number}.git"
        server.commit(name, {".gitmodules": (0o100644, modules), "m": (0o160000, b"1" * 40)})
        with pytest.raises(ContextError) as caught:
            open_git(Git(f"{server.url}/{name}"), tools)
        assert caught.value.code == "git-submodule", modules[:20]


@pytest.mark.parametrize("header", [b"[include]", b"[InClUdE]", b'[includeIf "gitdir:/"]', b'[includeIf "onbranch:**"]'])
def test_gitmodules_include_no_file_of_this_machine(
    server: Server, tools: GitTools, tmp_path: Path, header: bytes
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"the secret of this machine\n")
    more = tmp_path / "more"
    more.write_bytes(b'[submodule "m"]\n\tpath = m\n\turl = ../included.git\n')
    for number, named in enumerate((secret, more)):
        modules = header + b"\n\tpath = " + bytes(named) + b"\n"
        server.commit(f"{number}.git", {".gitmodules": (0o100644, modules), "m": (0o160000, b"1" * 40)})
        with pytest.raises(ContextError, match="no url for the submodule at `m`"):
            open_git(Git(f"{server.url}/{number}.git"), tools)


@pytest.mark.parametrize("seconds", [253402300800, -253402300800, 10**19, 10**30])
def test_a_commit_of_a_time_that_no_clock_has(server: Server, tools: GitTools, seconds: int) -> None:
    server.commit("a.git", FILES)
    repo = server.repos["/a.git"]
    commit = repo[repo.head()]
    assert isinstance(commit, Commit)
    commit.commit_time = seconds
    repo.object_store.add_object(commit)
    repo.refs[b"refs/heads/main"] = commit.id  # type: ignore[index]
    view = open_git(Git(server.url + "/a.git"), tools)
    assert view.time_s == 0
    entry = view.lstat("bin/run")
    assert entry is not None and entry.mtime_ns == 0


def test_submodules_end(server: Server, tools: GitTools, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository whose every commit has the one before as its submodule, and one with many."""
    modules = b'[submodule "m"]\n\tpath = m\n\turl = ../a.git\n'
    sha = server.commit("a.git", {"f": (0o100644, b"x")})
    for number in range(12):
        files = {".gitmodules": (0o100644, modules), "m": (0o160000, sha.encode())}
        sha = server.commit("a.git", files, b"refs/heads/%d" % number)
    server.commit("a.git", {".gitmodules": (0o100644, modules), "m": (0o160000, sha.encode())})
    with pytest.raises(ContextError, match="nested too deep"):
        open_git(Git(server.url + "/a.git"), tools)
    monkeypatch.setattr("firkin.builder.context.git._MAX_REPOSITORIES", 5)
    with pytest.raises(ContextError, match="more than 5 submodules"):
        open_git(Git(server.url + "/a.git"), tools)


def test_no_repository(server: Server, tools: GitTools) -> None:
    with pytest.raises(ContextError, match="cannot fetch the git repository") as caught:
        open_git(Git(server.url.replace("//", "//user:secret@") + "/nothing.git"), tools)
    assert "secret" not in caught.value.message
    with pytest.raises(ContextError, match="cannot fetch"):
        open_git(Git("http://127.0.0.1:9/a.git"), tools)


def test_ssh_runs_the_program_of_the_environment(tools: GitTools, tmp_path: Path) -> None:
    script = tmp_path / "ssh"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args\nexit 1\n')
    script.chmod(0o755)
    environ = {"GIT_SSH_COMMAND": str(script), "PATH": os.defpath}
    with pytest.raises(ContextError, match="cannot fetch the git repository"):
        open_git(Git("git@example.com:owner/name.git"), tools._replace(environ=environ))
    arguments = (tmp_path / "args").read_text()
    assert "BatchMode=yes" in arguments
    assert "git@example.com git-upload-pack 'owner/name.git'" in arguments


@pytest.mark.parametrize(
    ("base", "address", "expected"),
    [
        ("https://h/o/a.git", "../b.git", "https://h/o/b.git"),
        ("https://h/o/a.git", "../../x/b.git", "https://h/x/b.git"),
        ("https://h/o/a.git", "./b", "https://h/o/a.git/b"),
        ("git@h:o/a.git", "../b.git", "git@h:o/b.git"),
        ("git@h:a.git", "../b.git", "git@h:b.git"),
        ("https://h/o/a.git", "https://other/b.git", "https://other/b.git"),
    ],
)
def test_relative_submodules(base: str, address: str, expected: str) -> None:
    assert join_remote(base, address) == expected


def plant(server: Server, name: str, *entries: tuple[bytes, int, bytes]) -> None:
    """Make a repository whose root tree has entries that no git would write: name, mode, content (or tree)."""
    repo = server.repos.setdefault(f"/{name}", MemoryRepo())
    inner = Tree()
    blob = Blob.from_string(b"evil")
    inner.add(b"evil", 0o100644, blob.id)
    raw = b""
    for item, mode, data in entries:
        found = Blob.from_string(data) if mode != 0o040000 else inner
        for made in (blob, inner, found):
            repo.object_store.add_object(made)
        raw += b"%o %b\0" % (mode, item) + bytes.fromhex(found.id.decode())
    tree = Tree.from_string(raw)
    commit = Commit()
    commit.tree, commit.author, commit.committer, commit.message = tree.id, b"A <a@b>", b"A <a@b>", b"m"
    commit.author_time = commit.commit_time = COMMIT_TIME
    commit.author_timezone = commit.commit_timezone = 0
    for made in (tree, commit):
        repo.object_store.add_object(made)
    repo.refs[b"refs/heads/main"] = commit.id  # type: ignore[index]
    repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc", b"..\xff/x"])
def test_names_that_lead_elsewhere(server: Server, tools: GitTools, name: bytes) -> None:
    for mode in (0o100644, 0o120000, 0o040000):
        plant(server, f"{mode}.git", (b"Dockerfile", 0o100644, b"FROM scratch\n"), (name, mode, b"x"))
        with pytest.raises(ContextError, match="is no file name"):
            open_git(Git(f"{server.url}/{mode}.git"), tools).iterdir("")


@pytest.mark.parametrize("name", [b".git", b".GIT", b".Git"])
def test_a_git_directory_of_the_tree(server: Server, tools: GitTools, name: bytes) -> None:
    plant(server, "a.git", (name, 0o040000, b""))
    with pytest.raises(ContextError, match="which git refuses as well"):
        open_git(Git(server.url + "/a.git"), tools).iterdir("")


def test_a_link_and_a_directory_of_one_name(server: Server, tools: GitTools) -> None:
    plant(server, "a.git", (b"x", 0o120000, b"/etc"), (b"x", 0o040000, b""))
    with pytest.raises(ContextError, match="`x` is there twice"):
        open_git(Git(server.url + "/a.git"), tools).iterdir("")
    plant(server, "b.git", (b"X", 0o120000, b"/etc"), (b"x", 0o040000, b""))
    assert contents(open_git(Git(server.url + "/b.git"), tools)) == {"X": "/etc", "x/evil": b"evil"}
