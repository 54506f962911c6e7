"""Views show what overlayfs would show, whatever they are made from."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Entry, Opaque, Put, Remove, View
from firkin.layer.index import IndexWriter, LayerIndex, open_index
from firkin.layer.view import DirectoryView, MergedView, StackView

ME = (os.getuid(), os.getgid())


def _dir(path: str, mode: int = 0o755) -> Put:
    return Put(path, Entry("dir", mode, *ME, 0, 10**9))


def _file(path: str, content: bytes) -> Put:
    return Put(path, Entry("file", 0o644, *ME, len(content), 10**9), content)


def _link(path: str, target: str) -> Put:
    return Put(path, Entry("symlink", 0o777, *ME, 0, 10**9, target))


LAYERS: list[list[Change]] = [
    [
        _dir(""),
        _dir("etc"),
        _file("etc/a", b"0"),
        _file("etc/b", b"0"),
        _dir("opt"),
        _dir("opt/x"),
        _file("opt/x/deep", b"0"),
        _file("opt/y", b"0"),
        _dir("var"),
        _file("var/f", b"0"),
        _dir("was-dir"),
        _file("was-dir/f", b"0"),
        _file("was-file", b"0"),
        _link("lib", "etc"),
    ],
    [
        _dir(""),
        _dir("etc", 0o700),
        Remove("etc/a"),
        _file("etc/c", b"1"),
        _dir("opt"),
        Opaque("opt"),
        _file("opt/z", b"1"),
        Remove("var"),
        _file("was-dir", b"1"),
        _dir("was-file"),
        _file("was-file/f", b"1"),
        _dir("lib"),
        _file("lib/g", b"1"),
    ],
    [
        _dir(""),
        _dir("etc", 0o750),
        _file("etc/a", b"2"),
        _dir("opt"),
        _dir("opt/x"),
        _file("opt/x/new", b"2"),
        _dir("var"),
        _file("var/g", b"2"),
        _file("h1", b"hard"),
        Put("h2", Entry("file", 0o644, *ME, 4, 10**9), None, "h1"),
    ],
]
SHOWN = {
    "etc": "dir 750", "etc/a": "2", "etc/b": "0", "etc/c": "1", "h1": "hard", "h2": "hard", "lib": "dir 755",
    "lib/g": "1", "opt": "dir 755", "opt/x": "dir 755", "opt/x/new": "2", "opt/z": "1", "var": "dir 755",
    "var/g": "2", "was-dir": "1", "was-file": "dir 755", "was-file/f": "1",
}  # fmt: skip


@pytest.fixture
def trees(tmp_path: Path) -> list[str]:
    found = []
    for number, changes in enumerate(LAYERS):
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        apply_changes(changes, str(tree))
        found.append(str(tree))
    return found


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[list[LayerIndex]]:
    found = []
    for number, changes in enumerate(LAYERS):
        writer = IndexWriter()
        for change in changes:
            writer.add(change)
        with (tmp_path / f"index{number}").open("wb") as file:
            writer.write(file)
        found.append(open_index(str(tmp_path / f"index{number}")))
    yield found
    for index in found:
        index.close()


def walk(view: View, path: str = "", *, contents: bool = True) -> dict[str, str]:
    found = {}
    for name in view.iterdir(path):
        inner = f"{path}/{name}" if path else name
        entry = view.lstat(inner)
        assert entry is not None
        if entry.kind == "dir":
            found[inner] = f"dir {entry.mode:o}"
            found.update(walk(view, inner, contents=contents))
        elif entry.kind == "file" and contents:
            content = view.content(inner)
            assert isinstance(content, str)
            found[inner] = Path(content).read_text()
        else:
            found[inner] = entry.kind
    return found


def test_stack_of_trees(trees: list[str]) -> None:
    view = StackView(trees)
    assert walk(view) == SHOWN
    assert view.lstat("h1").inode == view.lstat("h2").inode is not None  # type: ignore[union-attr]
    for missing in ("nothing", "var/f", "opt/y", "opt/x/deep", "was-dir/f", "etc/a/x", "lib/a"):
        assert view.lstat(missing) is None
    assert view.iterdir("etc/a") == view.iterdir("nothing") == []
    assert view.lstat("").kind == "dir"  # type: ignore[union-attr]
    with pytest.raises(FileNotFoundError):
        view.content("var/f")


def test_stack_of_indexes(indexes: list[LayerIndex], trees: list[str]) -> None:
    view, real = MergedView(indexes), StackView(trees)
    shown = walk(view, contents=False)
    assert shown == walk(real, contents=False)
    for path in ["", *shown]:
        mine, other = view.lstat(path), real.lstat(path)
        assert mine is not None
        assert other is not None
        assert msgspec.structs.replace(mine, inode=None) == msgspec.structs.replace(other, inode=None)
    assert view.lstat("h1").inode == view.lstat("h2").inode is not None  # type: ignore[union-attr]
    with pytest.raises(FileNotFoundError):
        view.content("etc/b")


@pytest.mark.root
def test_overlayfs_agrees(trees: list[str], tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    lower = ":".join(reversed(trees))
    mounted = f"""
        mount -t overlay overlay -o ro,userxattr,lowerdir={lower} {tmp_path}/merged
        cp -a {tmp_path}/merged {tmp_path}/copy
    """
    subprocess.run(["unshare", "-m", "sh", "-ec", mounted], check=True)
    copy = DirectoryView(str(tmp_path / "copy"))
    view = StackView(trees)
    assert walk(copy) == walk(view) == SHOWN
    for path in SHOWN:
        assert msgspec.structs.replace(copy.lstat(path), inode=None) == msgspec.structs.replace(
            view.lstat(path), inode=None
        )


def test_owners_from_an_index(tmp_path: Path) -> None:
    wanted: list[Change] = [
        Put("d", Entry("dir", 0o711, 5, 6, mtime_ns=10**9)),
        Put("d/f", Entry("file", 0o4755, 7, 8, 1, 10**9), b"x"),
        Put("null", Entry("char", 0o666, major=1, minor=3)),
    ]
    (tmp_path / "tree").mkdir()
    apply_changes(wanted, str(tmp_path / "tree"), chown=False)
    writer = IndexWriter()
    for change in wanted:
        writer.add(change)
    with (tmp_path / "index").open("wb") as file:
        writer.write(file)
    with open_index(str(tmp_path / "index")) as index:
        view = StackView([str(tmp_path / "tree")], [index])
        assert view.iterdir("") == ["d", "null"]
        for change in wanted:
            assert isinstance(change, Put)
            assert view.lstat(change.path) == change.entry


def test_directory(source: Path) -> None:
    view = DirectoryView(str(source))
    assert view.iterdir("d") == ["file", "sub", "é" * 60]
    assert view.iterdir("")[-1] == "z-hard"
    assert view.lstat("d/sub/link").target == "../file"  # type: ignore[union-attr]
    assert view.lstat("d/file").xattrs == (("user.colour", b"blue\0\xff"),)  # type: ignore[union-attr]
    assert view.lstat("d/file").inode == view.lstat("z-hard").inode is not None  # type: ignore[union-attr]
    assert view.content("d/file") == str(source / "d" / "file")
    (source / "to-d").symlink_to("d")
    for missing in ("nothing", "to-d/file", "empty/x", "nothing/x"):
        assert view.lstat(missing) is None
    assert view.iterdir("to-d") == view.iterdir("empty") == []
    owned = DirectoryView(str(source), owner_of=lambda path, uid, gid: (len(path), 9))
    assert (owned.lstat("set").uid, owned.lstat("set").gid) == (3, 9)  # type: ignore[union-attr]
