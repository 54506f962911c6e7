"""A directory as a context: what is seen of it, and what its ignore file hides."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from firkin.builder.context.directory import DirectoryContext, open_directory, read_ignore_file, read_texts
from firkin.builder.context.views import Matcher
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.errors import ContextError

Make = Callable[..., DirectoryContext]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(*files: str, patterns: tuple[str, ...] = ()) -> DirectoryContext:
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(name))
        return DirectoryContext(str(tmp_path), cast(Matcher, IgnoreMatcher(patterns)))

    return _make


def walk(view: DirectoryContext, path: str = "") -> list[str]:
    found = []
    for name in view.iterdir(path):
        below = f"{path}/{name}" if path else name
        entry = view.lstat(below)
        assert entry is not None
        found.append(below)
        if entry.kind == "dir":
            found += walk(view, below)
    return found


@pytest.mark.parametrize(
    ("patterns", "seen"),
    [
        ((), ["a", "d", "d/b.md", "d/sub", "d/sub/c", "e", "e/x"]),
        (("d",), ["a", "e", "e/x"]),
        (("d", "!d/sub/c"), ["a", "d", "d/sub", "d/sub/c", "e", "e/x"]),
        (("d", "!d/nothing"), ["a", "e", "e/x"]),
        (("*", "!d/sub"), ["d", "d/sub", "d/sub/c"]),
        (("**", "!**/*.md"), ["d", "d/b.md"]),
        (("**/c",), ["a", "d", "d/b.md", "d/sub", "e", "e/x"]),
    ],
)
def test_ignore_file(make: Make, patterns: tuple[str, ...], seen: list[str]) -> None:
    view = make("a", "d/b.md", "d/sub/c", "e/x", patterns=patterns)
    assert walk(view) == seen
    fresh = make(patterns=patterns)
    everything = ["a", "d", "d/b.md", "d/sub", "d/sub/c", "e", "e/x"]
    assert [path for path in reversed(everything) if fresh.lstat(path)] == seen[::-1]
    hidden = [path for path in everything if fresh.exclusion_reason(path)]
    assert hidden == [path for path in everything if path not in seen]


def test_entries(make: Make, tmp_path: Path) -> None:
    view = make("f", "g")
    (tmp_path / "f").chmod(0o4711)
    os.utime(tmp_path / "f", ns=(0, 123))
    os.link(tmp_path / "g", tmp_path / "h")
    (tmp_path / "l").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    entry = view.lstat("f")
    assert entry is not None
    assert (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns) == ("file", 0o4711, 0, 0, 1, 123)
    assert view.content("f") == str(tmp_path / "f")
    g, h, link, pipe, sock = (view.lstat(name) for name in ("g", "h", "l", "p", "s"))
    assert g is not None
    assert g.inode is not None
    assert h == g
    assert link is not None
    assert (link.kind, link.target) == ("symlink", "nowhere")
    assert pipe is not None
    assert pipe.kind == "fifo"
    assert sock is not None
    assert (sock.kind, sock.size, view.content("s")) == ("file", 0, b"")


def test_links_are_never_followed(make: Make, tmp_path: Path) -> None:
    view = make("d/f")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "out").symlink_to("/etc")
    assert view.lstat("l/f") is None
    assert view.lstat("out/passwd") is None
    assert view.lstat("d/f/x") is None
    assert view.lstat("nothing") is None


def test_names_in_byte_order(make: Make) -> None:
    assert make("b", "a.txt", "a", "Z", "ä", "\udcff").iterdir("") == ["Z", "a", "a.txt", "b", "ä", "\udcff"]


def test_children_agree_with_lstat(make: Make) -> None:
    view = make("a", "d/b", "z", patterns=("z",))
    assert [(name, entry) for name, entry, _ in view.children("")] == [
        (name, view.lstat(name)) for name in view.iterdir("")
    ]
    assert view.children("")[0][2] == view.file_stat("a")


def test_a_socket_and_a_directory_have_no_stat(make: Make) -> None:
    view = make("d/b")
    assert view.file_stat("d") is None
    assert view.file_stat("nothing") is None


def test_unreadable_directory(make: Make, tmp_path: Path) -> None:
    view = make("d/b")
    (tmp_path / "d").chmod(0)
    try:
        if os.access(tmp_path / "d", os.R_OK):
            pytest.skip("root reads everything")
        with pytest.raises(ContextError, match="cannot read"):
            view.iterdir("d")
    finally:
        (tmp_path / "d").chmod(0o755)


def test_dockerfile_and_its_ignore_file(tmp_path: Path) -> None:
    (tmp_path / "dockerfile").write_text("FROM a")
    (tmp_path / ".dockerignore").write_text("x")
    assert read_texts(str(tmp_path), f"{tmp_path}/Dockerfile")[1:] == (b"FROM a", ".dockerignore", b"x")
    (tmp_path / "Dockerfile").write_text("FROM b")
    (tmp_path / "Dockerfile.dockerignore").write_text("y")
    assert read_texts(str(tmp_path), f"{tmp_path}/Dockerfile")[1:] == (b"FROM b", "Dockerfile.dockerignore", b"y")
    assert read_ignore_file(str(tmp_path)) == (".dockerignore", b"x")
    with pytest.raises(ContextError, match="cannot find the Dockerfile"):
        read_texts(str(tmp_path), f"{tmp_path}/other")


def test_named_context(tmp_path: Path) -> None:
    def matcher(text: bytes, name: str) -> Matcher:
        assert name == ".dockerignore"
        return cast(Matcher, IgnoreMatcher(text.decode().split()))

    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    assert open_directory(str(tmp_path), matcher).iterdir("") == ["a", "b"]
    (tmp_path / ".dockerignore").write_text("a")
    assert open_directory(str(tmp_path), matcher).iterdir("") == [".dockerignore", "b"]
    for wrong in ("a", "nothing"):
        with pytest.raises(ContextError):
            open_directory(f"{tmp_path}/{wrong}", matcher)


def outside(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("password\n")
    root = tmp_path / "context"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "real").write_text("FROM scratch\n")
    return root


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("target", ["{}/secret", "../secret", "nowhere", "up/secret"])
def test_a_text_that_is_a_link_out_of_the_context_is_not_read(name: str, target: str, tmp_path: Path) -> None:
    root = outside(tmp_path)
    (root / "up").symlink_to(tmp_path)
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(target.format(tmp_path))
    with pytest.raises(ContextError, match=f"{name}: it is a link to `.*`, which is not in ") as caught:
        read_texts(str(root), str(root / "Dockerfile"))
    assert "password" not in str(caught.value)


def test_texts_behind_links_inside_the_context(tmp_path: Path) -> None:
    root = outside(tmp_path)
    for name in ("Dockerfile", ".dockerignore"):
        (root / name).symlink_to("sub/real")
    (root / "sub" / "above").symlink_to("../sub/real")
    for name in ("Dockerfile", "sub/above"):
        found = read_texts(str(root), str(root / name))
        assert (found.dockerfile, found.ignore) == (b"FROM scratch\n", b"FROM scratch\n")


def test_a_dockerfile_elsewhere_stays_in_its_directory(tmp_path: Path) -> None:
    root = outside(tmp_path)
    (tmp_path / "plain").write_text("FROM scratch\n")
    assert read_texts(str(root), str(tmp_path / "plain")).dockerfile == b"FROM scratch\n"
    other = tmp_path / "other"
    other.mkdir()
    (other / "Dockerfile").symlink_to("../secret")
    with pytest.raises(ContextError, match="which is not in"):
        read_texts(str(root), str(other / "Dockerfile"))
    (root / "way").symlink_to(other)
    (other / "D").write_text("FROM scratch\n")
    with pytest.raises(ContextError, match="does not exist inside the context"):
        read_texts(str(root), str(root / "way" / "D"))


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
def test_a_text_that_is_a_pipe_is_refused_at_once(name: str, tmp_path: Path) -> None:
    root = outside(tmp_path)
    (root / "Dockerfile").write_text("FROM scratch\n")
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    with pytest.raises(ContextError, match=f"{name}: it is a named pipe, not a file"):
        read_texts(str(root), str(root / "Dockerfile"))


def test_a_dockerfile_of_the_shell(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.write(writable, b"FROM scratch\n")
    os.close(writable)
    try:
        assert read_texts(str(tmp_path), f"/dev/fd/{readable}").dockerfile == b"FROM scratch\n"
    finally:
        os.close(readable)
