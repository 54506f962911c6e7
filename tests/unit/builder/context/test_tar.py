"""Archives as trees, from files and from standard input."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firkin.builder.context.stdin import open_stream
from firkin.builder.context.tar import open_tar, tar_view
from firkin.builder.context.views import Member, MemoryView
from firkin.errors import ContextError
from firkin.hints import Hint
from firkin.layer.change import Entry
from firkin.layer.limits import UnpackLimits


def file(path: str, data: str = "x") -> Member:
    return Member(path, Entry(kind="file", size=len(data)), data.encode())


def link(path: str, target: str) -> Member:
    return Member(path, Entry(kind="file"), None, target)


def directory(path: str, mode: int = 0o700) -> Member:
    return Member(path, Entry(kind="dir", mode=mode))


def contents(view: MemoryView, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name in view.iterdir(path):
        below = f"{path}/{name}" if path else name
        entry = view.lstat(below)
        assert entry is not None
        if entry.kind == "dir":
            found[below] = entry.mode
            found |= contents(view, below)
        else:
            found[below] = view.content(below)
    return found


def test_names_are_cleaned_and_the_last_one_wins() -> None:
    view = tar_view([file("./a"), file("../b"), file("/c/d"), directory("c"), file("a", "new")], "it")
    assert contents(view) == {"a": b"new", "b": b"x", "c": 0o700, "c/d": b"x"}


def test_another_kind_replaces_all_beneath() -> None:
    view = tar_view([file("d/f"), file("d"), directory("e"), file("e"), directory("e")], "it")
    assert contents(view) == {"d": b"x", "e": 0o700}


def test_hard_links_share() -> None:
    view = tar_view([file("d/a", "data"), link("b", "./d/a")], "it")
    assert view.content("b") == b"data"
    first, second = view.lstat("d/a"), view.lstat("b")
    assert first is not None
    assert first.inode is not None
    assert first == second


@pytest.mark.parametrize(
    "members",
    [
        [link("b", "nothing")],
        [Member("l", Entry(kind="symlink", target="/etc")), file("l/f")],
        [file("f"), file("f/g")],
    ],
    ids=["link to nothing", "below a link", "below a file"],
)
def test_nonsense_is_refused(members: list[Member]) -> None:
    with pytest.raises(ContextError, match="it: "):
        tar_view(members, "it")


def make(tmp_path: Path) -> bytes:
    out = io.BytesIO()
    (tmp_path / "f").write_text("hello")
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(tmp_path / "f", "Dockerfile")
    return out.getvalue()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [3, 511, 100_000])
def test_stream_of_an_archive(tmp_path: Path, compressed: bool, size: int) -> None:
    data = make(tmp_path)
    view = open_stream(pieces(gzip.compress(data) if compressed else data, size), lambda name: str(tmp_path / name))
    assert not isinstance(view, bytes)
    assert view.content("Dockerfile") == b"hello"


def test_stream_of_a_dockerfile(tmp_path: Path) -> None:
    text = b"FROM busybox\nRUN true\n" * 100
    assert open_stream(pieces(text, 100), lambda name: str(tmp_path / name)) == text
    with pytest.raises(ContextError, match="is empty"):
        open_stream([], lambda name: str(tmp_path / name))


def test_file(tmp_path: Path) -> None:
    (tmp_path / "c.tar").write_bytes(make(tmp_path))
    assert open_tar(str(tmp_path / "c.tar"), lambda name: str(tmp_path / name)).iterdir("") == ["Dockerfile"]
    (tmp_path / "bad.tar").write_bytes(make(tmp_path)[:600])
    with pytest.raises(ContextError, match="not a readable archive"):
        open_tar(str(tmp_path / "bad.tar"), lambda name: str(tmp_path / name))
    with pytest.raises(ContextError, match="no such file"):
        open_tar(str(tmp_path / "nothing.tar"), lambda name: str(tmp_path / name))


def test_a_context_that_unpacks_to_too_much(tmp_path: Path) -> None:
    data = make(tmp_path)
    (tmp_path / "c.tar").write_bytes(data)
    limits = UnpackLimits(size_bytes=4)
    for opened in (
        lambda: open_tar(str(tmp_path / "c.tar"), lambda name: str(tmp_path / name), limits),
        lambda: open_stream([gzip.compress(data)], lambda name: str(tmp_path / name), limits=limits),
    ):
        with pytest.raises(ContextError, match="more than the 4 bytes") as caught:
            opened()
        assert caught.value.hints[0] == Hint.of("unpack-size")
