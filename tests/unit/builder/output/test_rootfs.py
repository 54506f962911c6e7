"""Walking a merged tree for the tar and local outputs."""

import os
import socket
from pathlib import Path

import pytest

from firkin.builder.output.rootfs import _Files, _for_user, _walk_all, iter_view
from firkin.errors import UsageError
from firkin.layer.apply import apply_changes
from firkin.layer.change import Entry, Put
from firkin.layer.view import DirectoryView


def tree(root: Path) -> DirectoryView:
    (root / "b" / "deep").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "b" / "deep" / "file").write_text("content")
    os.link(root / "a", root / "b" / "again")
    (root / "c").symlink_to("a")
    return DirectoryView(str(root))


def test_parents_come_first_and_links_are_kept(tmp_path: Path) -> None:
    puts = list(iter_view(tree(tmp_path)))
    assert [put.path for put in puts] == ["a", "b", "c", "b/again", "b/deep", "b/deep/file"]
    by_path = {put.path: put for put in puts}
    assert by_path["b/again"].link == "a" and by_path["b/again"].content is None
    assert by_path["c"].entry.target == "a" and by_path["c"].content is None
    assert by_path["b/deep/file"].content == str(tmp_path / "b/deep/file")


def test_sockets_are_left_out_as_in_layers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    (tmp_path / "empty").touch()
    assert [put.path for put in iter_view(DirectoryView(str(tmp_path)))] == ["empty"]


def test_several_platforms_get_a_directory_each(tmp_path: Path) -> None:
    puts = list(iter_view(tree(tmp_path), "linux_amd64"))
    assert puts[0].path == "linux_amd64" and puts[0].entry.kind == "dir"
    assert all(put.path.startswith("linux_amd64/") for put in puts[1:])
    assert next(put.link for put in puts if put.link) == "linux_amd64/a"


def test_platforms_in_one_place_share_directories_only(tmp_path: Path) -> None:
    (tmp_path / "one/d").mkdir(parents=True)
    (tmp_path / "two/d").mkdir(parents=True)
    (tmp_path / "one/d/amd64").touch()
    (tmp_path / "two/d/arm64").touch()
    views = [_Files("", DirectoryView(str(tmp_path / name)), None) for name in ("one", "two")]
    assert [put.path for put in _walk_all(views)] == ["d", "d/amd64", "d/arm64"]
    (tmp_path / "two/d/amd64").touch()
    views[1] = _Files("", DirectoryView(str(tmp_path / "two")), None)
    with pytest.raises(UsageError, match="two platforms have a file `/d/amd64`"):
        list(_walk_all(views))


def test_a_local_output_replaces_what_is_in_its_way_and_follows_no_link(tmp_path: Path) -> None:
    source, target, outside = tmp_path / "source", tmp_path / "target", tmp_path / "outside"
    view = tree(source)
    outside.mkdir()
    (outside / "kept").write_text("kept")
    target.mkdir()
    (target / "a").symlink_to(outside / "kept")
    (target / "b").symlink_to(outside)
    (target / "mine").write_text("mine")
    apply_changes(_for_user(iter_view(view)), str(target), form="flat", chown=False)
    assert (target / "b" / "deep" / "file").read_text() == "content" and (target / "a").read_text() == "a"
    assert (target / "a").samefile(target / "b" / "again") and not (target / "b").is_symlink()
    assert (outside / "kept").read_text() == "kept" and os.listdir(outside) == ["kept"]
    assert (target / "mine").read_text() == "mine"


def test_devices_are_left_out_of_what_a_user_gets() -> None:
    puts = [Put("null", Entry("char", major=1, minor=3)), Put("f", Entry("file", uid=7, gid=8, size=0), b"")]
    (kept,) = _for_user(puts)
    assert isinstance(kept, Put) and kept.path == "f" and (kept.entry.uid, kept.entry.gid) == (0, 0)
