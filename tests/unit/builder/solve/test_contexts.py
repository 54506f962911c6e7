"""Contexts of a build: where a sub path leads, whose credentials an ADD may use, what may be a Dockerfile."""

from __future__ import annotations

import re
import tarfile
from io import BytesIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.git_packs import BLOB, Repository

from firkin.builder.context.remote import RemoteTools
from firkin.builder.context.views import MemoryView
from firkin.builder.dockerfile.giturl import parse_git_url
from firkin.builder.graph.ops import Git
from firkin.builder.request import KANIKO, BuildRequest
from firkin.builder.solve import contexts
from firkin.builder.solve.contexts import Contexts, _sub_directory
from firkin.errors import ContextError
from firkin.layer.change import Entry, View
from firkin.tasks.cancel import Cancel


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


# What stands where a Dockerfile or ignore file should: entries of a tree, and what is said of it.
WRONG: dict[str, tuple[dict[str, str | bytes | None], str]] = {
    "link out": ({"F": "../../etc/passwd"}, "it is a link to `../../etc/passwd`, which is not in"),
    "absolute link": ({"F": "/etc/passwd"}, "it is a link to `/etc/passwd`, which is not in"),
    "link to itself": ({"F": "F"}, "."),
    "link to a directory": ({"F": "d", "d": None}, "is a directory"),
    "directory": ({"F": None}, "is a directory"),
    "huge": ({"F": bytes((16 << 20) + 1)}, "it is larger than 16 mib"),
}


def tar_of(place: Path, entries: dict[str, str | bytes | None]) -> Path:
    with tarfile.open(place, "w") as tar:
        for name, what in entries.items():
            member = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                member.size = len(what)
                tar.addfile(member, BytesIO(what))
                continue
            member.type = tarfile.DIRTYPE if what is None else tarfile.SYMTYPE
            member.linkname = what or ""
            tar.addfile(member)
    return place


def directory_of(place: Path, entries: dict[str, str | bytes | None]) -> Path:
    place.mkdir()
    for name, what in entries.items():
        if what is None:
            (place / name).mkdir()
        elif isinstance(what, str):
            (place / name).symlink_to(what)
        else:
            (place / name).write_bytes(what)
    return place


def repository_of(place: Path, entries: dict[str, str | bytes | None]) -> View:
    repository = Repository()
    modes = {bytes: 0o100644, str: 0o120000, type(None): 0o040000}
    found = []
    for name, what in sorted(entries.items()):
        data = what if isinstance(what, bytes) else (what or "").encode()
        sha = repository.tree() if what is None else repository.add(BLOB, data)
        found.append((modes[type(what)], name.encode(), sha))
    return repository.open(place, repository.commit(repository.tree(*found)))


@pytest.mark.parametrize("scheme", ["directory", "tar", "standard input", "git"])
@pytest.mark.parametrize("name", ["Dockerfile", "sub.Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_small_file_is_said(
    wrong: str, name: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a context is, what stands for its Dockerfile or ignore file is never taken for an empty one."""
    template, why = WRONG[wrong]
    entries = {path.replace("F", name): what.replace("F", name) if isinstance(what, str) else what
               for path, what in template.items()}  # fmt: skip
    if name.endswith("ignore"):
        entries["Dockerfile"] = b"FROM scratch\n"
    context = "-"
    if scheme == "directory":
        context = str(directory_of(tmp_path / "c", entries))
    elif scheme == "tar":
        context = str(tar_of(tmp_path / "c.tar", entries))
    elif scheme == "standard input":
        data = tar_of(tmp_path / "c.tar", entries).read_bytes()
        monkeypatch.setattr(contexts, "_read_standard_input", lambda: iter((data,)))
    else:
        context = "https://example.com/x.git"
        view = repository_of(tmp_path / "c", entries)
        monkeypatch.setattr(contexts, "open_remote", lambda *_: view)
    dockerfile = name if name == "sub.Dockerfile" else ""
    request = BuildRequest(
        context=context, store_root="", cwd=str(tmp_path), dockerfile=dockerfile, dialect=KANIKO
    )
    numbers = count()
    scratch = SimpleNamespace(scratch_path=lambda what: str(tmp_path / f"{what}{next(numbers)}"), downloads="")
    opened = Contexts(
        request, cast(Any, SimpleNamespace(layout=scratch)), lambda _: None, lambda: 0.0,
        lambda _, __: cast(Any, None), lambda _, __: None, lambda: False,
    )  # fmt: skip
    with pytest.raises(ContextError) as caught:
        opened.read_dockerfile()
    message = caught.value.message
    assert re.search(why, message, re.IGNORECASE), message
    assert name in message
    assert "empty" not in message and "does not exist" not in message


@pytest.mark.parametrize("scheme", ["directory", "tar", "git"])
def test_what_is_linked_inside_is_read(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries: dict[str, str | bytes | None] = {"Dockerfile": "./real", "real": b"FROM scratch\n"}
    context = "https://example.com/x.git"
    if scheme == "git":
        view = repository_of(tmp_path / "c", entries)
        monkeypatch.setattr(contexts, "open_remote", lambda *_: view)
    else:
        context = str((directory_of if scheme == "directory" else tar_of)(tmp_path / "c", entries))
    scratch = SimpleNamespace(scratch_path=lambda what: str(tmp_path / what), downloads="")
    opened = Contexts(
        BuildRequest(context=context, store_root="", cwd=str(tmp_path)),
        cast(Any, SimpleNamespace(layout=scratch)), lambda _: None, lambda: 0.0,
        lambda _, __: cast(Any, None), lambda _, __: None, lambda: False,
    )  # fmt: skip
    assert opened.read_dockerfile().text == "FROM scratch\n"
