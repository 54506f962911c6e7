"""Names that somebody else chose: each is checked before a step sees it, and again by those who write."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firkin.builder.context.directory import DirectoryContext
from firkin.builder.context.ignored import IgnoredView
from firkin.builder.context.oci_layout import parse_layout_name
from firkin.builder.context.views import MemoryView, SingleFile, check_names
from firkin.builder.copy.content import FileDigests, tree_digest
from firkin.builder.dockerfile.ignore import IgnoreMatcher
from firkin.builder.solve.result import Files
from firkin.errors import ContextError
from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Content, Entry, Opaque, Put, Remove, is_beneath
from firkin.layer.stream import write_layer
from firkin.layer.view import DirectoryView, StackView
from firkin.linux.folders import remove_tree

FILE = Entry("file", size=1)
DIRECTORY = Entry("dir", 0o755)
NO_NAMES = ("", ".", "..", "/", "a/b", "../a", "a\0b", "\0")


class Hostile:
    """A source that gives whatever names it likes, in one directory."""

    def __init__(self, *names: str, entry: Entry = FILE) -> None:
        self.names = names
        self.entry = entry

    def lstat(self, path: str) -> Entry | None:
        return self.entry if path else DIRECTORY

    def iterdir(self, path: str) -> list[str]:
        return list(self.names)

    def content(self, path: str) -> Content:
        return b"x"


class HostileAtOnce(Hostile):
    def children(self, path: str) -> list[tuple[str, Entry, None]]:
        return [(name, self.entry, None) for name in self.names]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("source", [Hostile, HostileAtOnce])
def test_no_source_gives_a_step_what_is_no_name(source: Callable[..., Hostile], name: str) -> None:
    view = Files(source("fine", name)).view()
    with pytest.raises(ContextError, match="is no file name"):
        view.iterdir("d")
    with pytest.raises(ContextError, match="is no file name"):
        view.children("d")  # type: ignore[attr-defined]


def test_no_name_is_there_twice() -> None:
    with pytest.raises(ContextError, match="`a` in `d` is there twice"):
        Files(Hostile("a", "b", "a")).view().iterdir("d")
    check_names(["a", "A", "ä", "...", "..a", ".git", "a b", "\n", "\udcff"], "")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../etc/cron.d/x", "a\0"])
def test_a_download_is_called_by_a_name(name: str) -> None:
    with pytest.raises(ContextError, match="is no file name"):
        Files(SingleFile(name, FILE, b"x"))


def test_names_and_paths_that_fit_nowhere() -> None:
    check_names(["ä" * 127], "")
    with pytest.raises(ContextError, match="has 256 bytes; 255 are the most"):
        check_names(["ä" * 128], "")
    deep = "/".join(["d"] * 2048)
    assert Files(Hostile("d")).view().lstat(deep) is not None
    with pytest.raises(ContextError, match="has 4097 bytes; 4095 are the most"):
        Files(Hostile("d")).view().lstat(deep + "/d")


@pytest.mark.parametrize("target", ["", "a\0b", "a" * 4096])
def test_texts_that_no_link_has(target: str) -> None:
    for source in (Hostile, HostileAtOnce):
        view = Files(source("l", entry=Entry("symlink", 0o777, target=target))).view()
        with pytest.raises(ContextError, match=r"the link `.*l` has a text that no link can have"):
            view.lstat("l")
        with pytest.raises(ContextError, match=r"the link `.*l` has a text that no link can have"):
            view.children("")  # type: ignore[attr-defined]


def test_what_is_well_named_passes_unchanged() -> None:
    inner = MemoryView({"d/f": FILE, "l": Entry("symlink", 0o777, target="../../outside")}, {"d/f": b"x"})
    view = Files(inner).view()
    assert view.iterdir("") == ["d", "l"]
    assert view.iterdir("d") == ["f"]
    assert view.content("d/f") == b"x"
    assert view.lstat("l") == inner.lstat("l")
    assert view.lstat("nothing") is None


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("", True), ("a", True), ("a/b", True), (".a", True), ("a/.b", True), ("...", True), ("a..", True),
        ("a/..b", True), (".wh.x", True), ("/", False), ("/a", False), ("a/", False), ("a//b", False), (".", False),
        ("..", False), ("a/..", False), ("a/.", False), ("../a", False), ("./a", False), ("a/../b", False),
        ("a/./b", False), ("a\0", False), (".a\0", False),
    ],
)  # fmt: skip
def test_paths_of_changes(path: str, good: bool) -> None:
    assert is_beneath(path) is good


@pytest.mark.parametrize(
    "change",
    [
        Put("x/../../evil", FILE, b"x"),
        Put("/etc/evil", FILE, b"x"),
        Put("d/..", DIRECTORY),
        Put("f", FILE, None, "../../etc/shadow"),
        Remove("../evil"),
        Opaque("x/../.."),
    ],
)
def test_who_writes_refuses_what_leads_out(change: Change, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(ValueError, match="leads out of the root"):
        write_layer([change], io.BytesIO())
    with pytest.raises(ValueError, match="leads out of the root"):
        apply_changes([change], str(tmp_path / "root"), chown=False)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:" + "a" * 63 + "/", "../x:" + "a" * 64, "sha256:", ":"])
def test_a_digest_is_no_path(digest: str) -> None:
    with pytest.raises(ContextError, match="is not a digest"):
        parse_layout_name(f"layout@{digest}", "/")


def test_deep_trees_take_no_deep_recursion() -> None:
    """2,000 levels are what PATH_MAX allows; Python's stack has 1,000."""
    deep = "/".join(["d"] * 1990)
    view = Files(MemoryView({deep + "/f": FILE}, {deep + "/f": b"x"})).view()
    assert len(tree_digest(view, "", FileDigests(None, 0))) == 64
    for patterns, found in ((("**",), None), (("**", "!**/f"), FILE)):
        ignored = IgnoredView(MemoryView({deep + "/f": FILE}, {deep + "/f": b"x"}), IgnoreMatcher(patterns), "")
        assert ignored.lstat(deep + "/f") == found
        assert (ignored.lstat("d") is None) is (found is None)


def test_deep_directories_take_no_deep_recursion(tmp_path: Path) -> None:
    depth = (4000 - len(str(tmp_path))) // 2
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    deep = "/".join(["d"] * depth)
    assert DirectoryContext(str(tmp_path)).lstat(deep + "/f") is not None
    assert DirectoryView(str(tmp_path)).lstat(deep + "/f") is not None
    assert StackView([str(tmp_path)]).lstat(deep + "/f") is not None
    for patterns, there in ((("**",), False), (("**", "!**/f"), True)):
        assert (DirectoryContext(str(tmp_path), IgnoreMatcher(patterns)).iterdir("") == ["d"]) is there
        assert (DirectoryContext(str(tmp_path), IgnoreMatcher(patterns)).lstat(deep + "/f") is not None) is there
    remove_tree(str(tmp_path / "d"))
