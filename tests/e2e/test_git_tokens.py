"""Tokens for git stay with the host that they were given for, whichever front a build comes by."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.git_server import Server, serving

TOKEN = "sesame-open"


@pytest.fixture
def server() -> Iterator[Server]:
    yield from serving()


@pytest.fixture
def other() -> Iterator[Server]:
    yield from serving()


@pytest.mark.root
@pytest.mark.parametrize("front", ["build", "executor"])
@pytest.mark.parametrize("redirected", ["/info/refs", "/git-upload-pack", ""])
def test_both_fronts_keep_tokens_at_home(
    front: str, redirected: str, server: Server, other: Server, tmp_path: Path
) -> None:
    inner = other.commit("inner.git", {"x": (0o100644, b"inner")})
    modules = f'[submodule "m"]\n\tpath = m\n\turl = {other.url}/inner.git\n'
    for found in (server, other):
        found.commit("a.git", {
            "Dockerfile": (0o100644, b"FROM scratch\nCOPY m /\n"), ".gitmodules": (0o100644, modules.encode()),
            "m": (0o160000, inner.encode()),
        })  # fmt: skip
    if redirected:
        server.answer = lambda path, query: (
            ("307 x", "Location", f"{other.url}{path}?{query}") if path.endswith(redirected) else None
        )
    host = server.url.removeprefix("http://")
    base = [sys.executable, "-m", "firkin"]
    words = [
        "build", "--root", f"{tmp_path}/store", "-o", f"type=tar,dest={tmp_path}/out.tar",
        "--secret", "id=GIT_AUTH_TOKEN,env=TOK", f"{server.url}/a.git",
    ] if front == "build" else [
        "executor", "--context", f"git://{host}/a.git", "--no-push", "--git", "recurse-submodules=true",
        "--isolation", "chroot", "--kaniko-dir", f"{tmp_path}/kaniko", "--force",
    ]  # fmt: skip
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "TOK": TOKEN, "GIT_PULL_METHOD": "http", "GIT_TOKEN": TOKEN,
    }  # fmt: skip
    if front == "build":
        del environ["GIT_TOKEN"]
    done = subprocess.run([*base, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert any(item[2] for item in server.asked), done.stderr
    home = server.url.removeprefix("http://")
    assert [item for item in (*server.asked, *other.asked) if item[2] and item[0] != home] == []
    assert TOKEN not in done.stdout + done.stderr
