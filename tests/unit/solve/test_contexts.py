"""Contexts of a build: where a sub path leads, and whose credentials an ADD may use."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from firkin.context.remote import RemoteTools
from firkin.context.views import MemoryView
from firkin.dockerfile.giturl import parse_git_url
from firkin.graph.ops import Git
from firkin.layer.change import Entry, View
from firkin.request import BuildRequest
from firkin.solve import contexts
from firkin.solve.cancel import Cancel
from firkin.solve.contexts import Contexts, _sub_directory


def test_a_sub_path_stays_in_the_context(tmp_path: Path) -> None:
    root = tmp_path / "context"
    (root / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (root / "in").symlink_to("real")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to("../elsewhere")
    place = str(root)
    assert _sub_directory(place, "") == _sub_directory(place, ".") == _sub_directory(place, "/") == place
    for text in ("real", "/real", "in", "real/../in/"):
        assert Path(_sub_directory(place, text)).resolve() == root / "real", text
    for text in ("out", "up", "up/."):
        assert not Path(_sub_directory(place, text)).exists(), text
    assert _sub_directory(place, "../elsewhere") == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("context", "home"),
    [
        ("https://example.com/context.git#main", "https://example.com/context.git"),
        ("https://example.com/context.tar", ""),
        ("directory", ""),
    ],
)
def test_credentials_belong_to_the_repository_of_the_context(
    context: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(op: Git, tools: RemoteTools) -> View:
        asked.append(tools.git_home)
        return MemoryView({}, {})

    def open_remote(location: str, tools: RemoteTools, *_: object) -> View:
        asked.append(tools.git_home)  # what the user names is asked with its own credentials
        return MemoryView({"Dockerfile": Entry("file", size=1)}, {"Dockerfile": b"\n"})

    monkeypatch.setattr(contexts, "fetch_source", fetch)
    monkeypatch.setattr(contexts, "open_remote", open_remote)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "Dockerfile").write_text("\n")

    def parse(text: str, known: bool) -> Git | None:
        found = parse_git_url(text, known)
        return Git(found.remote, found.ref) if found is not None else None

    request = BuildRequest(
        context=context, store_root="", cwd=str(tmp_path), build_contexts=(("n", "https://n/n.git"),)
    )
    store = SimpleNamespace(layout=SimpleNamespace(scratch_path=lambda name: str(tmp_path / name), downloads=""))
    opened = Contexts(
        request, cast(Any, store), lambda _: None, lambda: 0.0, lambda _, __: cast(Any, None), parse, lambda: False
    )
    opened.read_dockerfile()
    opened.fetch(Git("https://other.example/x.git"), "", Cancel())
    opened.image("n", cast(Any, None))
    assert asked[-2:] == [home, ""]
