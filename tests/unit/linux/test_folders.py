"""Directories are reached one component at a time, and trees go whatever is in them."""

import os
import stat
from pathlib import Path

import pytest

from firkin.linux.folders import Folders, iter_statuses, remove_tree


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_directories_are_found_and_held(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = open_files()
    with Folders(str(tmp_path)) as folders:
        for path in ("", "a", "a/b", "a"):
            assert os.fstat(folders.open(path)).st_ino == (tmp_path / path).stat().st_ino
        at, name = folders.split("a/b/new")
        assert (os.fstat(at).st_ino, name) == ((tmp_path / "a" / "b").stat().st_ino, "new")
        assert folders.split("top")[1] == "top"
        fd = folders.readable("a")
        assert os.listdir(fd) == ["b"]
        os.close(fd)
    assert open_files() == before


@pytest.mark.parametrize("path", ["l", "l/x", "a/up", "f", "a/..", "..", ".", "a/.", "a//b", "/a", "a/../b"])
def test_what_is_no_directory_of_the_root(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "x").mkdir(parents=True)
    (root / "l").symlink_to(tmp_path / "outside")
    (root / "a" / "up").symlink_to("../..")
    (root / "f").touch()
    before = open_files()
    with Folders(str(root)) as folders:
        with pytest.raises(NotADirectoryError):
            folders.open(path)
        with pytest.raises(NotADirectoryError):
            folders.split(f"{path}/name")
        with pytest.raises(NotADirectoryError):
            os.close(folders.readable(path))
        with pytest.raises(FileNotFoundError):
            folders.open("nothing/here")
    assert open_files() == before


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    with Folders(str(tmp_path)) as folders:
        with pytest.raises(NotADirectoryError):
            folders.split(name)
        with pytest.raises(NotADirectoryError):
            folders.split(f"a/{name}")


def test_a_directory_that_was_replaced_is_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    with Folders(str(root)) as folders:
        folders.open("a/b")
        remove_tree(str(root / "a"))
        folders.forget("a")
        (root / "a").symlink_to("..")
        with pytest.raises(NotADirectoryError):
            folders.open("a/b")


def test_few_descriptors_whatever_the_depth_and_number(tmp_path: Path) -> None:
    before = open_files()
    with Folders(str(tmp_path)) as folders:
        path = ""
        for _ in range(1500):
            os.mkdir("0123", dir_fd=folders.open(path))
            path = f"{path}/0123" if path else "0123"
        assert open_files() < before + 100
        for number in range(200):
            os.mkdir(f"d{number}", dir_fd=folders.open(""))
            folders.open(f"d{number}")
        first, second = folders.open("d0"), folders.open(path)  # far below, and all on the way forgotten
        assert os.fstat(first).st_ino == (tmp_path / "d0").stat().st_ino
        os.mkdir("last", dir_fd=second)
        assert open_files() < before + 100
    assert open_files() == before
    remove_tree(str(tmp_path / "0123"))
    assert sorted(os.listdir(tmp_path)) == sorted(f"d{number}" for number in range(200))
    assert open_files() == before


def test_removal_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").touch()
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "l").symlink_to(tmp_path / "outside")
    (tree / "sub").chmod(0)
    remove_tree(str(tree))
    remove_tree(str(tree))
    (tmp_path / "l").symlink_to("outside")
    remove_tree(str(tmp_path / "l"))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["f"]


def test_removal_relative_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "f").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in ("a", "f", "nothing"):
            remove_tree(name, dir_fd=fd)
    finally:
        os.close(fd)
    assert os.listdir(tmp_path) == []


def test_statuses_of_a_whole_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "f").write_bytes(bytes(10))
    (tree / "l").symlink_to(tmp_path)
    with Folders(str(tree)) as folders:
        path = "d"
        for _ in range(1200):
            os.mkdir("0123", dir_fd=folders.open(path))
            path += "/0123"
    found = list(iter_statuses(str(tree)))
    assert len(found) == 4 + 1200
    assert [status.st_size for status in found if stat.S_ISREG(status.st_mode)] == [10]
    (tree / "d").chmod(0)
    assert next(iter_statuses(str(tree))).st_ino == tree.stat().st_ino
    assert len(list(iter_statuses(str(tree)))) in (3, 4 + 1200)  # what cannot be listed is passed over
    assert (tree / "d").stat().st_mode & 0o777 == 0
    with pytest.raises(FileNotFoundError):
        list(iter_statuses(str(tmp_path / "nothing")))
    remove_tree(str(tree))
