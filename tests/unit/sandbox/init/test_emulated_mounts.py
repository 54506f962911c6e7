"""What is put in place for a command without mounts comes out again, whatever the command did with the paths."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firkin.sandbox.operations import Amend, Lend, OpenRoot, ShowEmpty, ShowFile
from firkin.sandbox.spawn import emulated_codes


class Status:
    """Takes what would go to the worker."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def tell(self, *fields: object) -> None:
        self.told.append(fields)


class Step:
    """A root, a place outside of it, and the stand-alone program between them."""

    def __init__(self, place: Path) -> None:
        self.root, self.outside, self.scratch = (place / name for name in ("root", "outside", "scratch"))
        self.home = place / "store/fs"
        for folder in (self.root, self.outside, self.home):
            folder.mkdir(parents=True)
        (self.outside / "victim").write_text("precious")
        (self.outside / "sub").mkdir()
        self.names: dict[str, Any] = {"__name__": "program"}
        for code in emulated_codes():
            exec(code, self.names)
        self.status = Status()
        self.mounts = self.names["EmulatedMounts"](self.status)
        self.perform(OpenRoot(str(self.root), str(self.scratch)))

    def perform(self, *operations: tuple[object, ...]) -> None:
        # The program has classes of its own for them.
        self.mounts.perform([self.names[type(each).__name__](*each) for each in operations])

    def undo(self) -> None:
        self.mounts.undo()
        assert [fields for fields in self.status.told if fields[0] == "setup"] == []

    def tree(self, top: Path) -> dict[str, object]:
        """Return path → link text, content or None for a directory."""
        found: dict[str, object] = {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if path.is_symlink():
                found[name] = os.readlink(path)
            else:
                found[name] = path.read_text() if path.is_file() else None
        return found

    def outside_is_whole(self) -> bool:
        return self.tree(self.outside) == {"victim": "precious", "sub": None}


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


SECRET = ShowFile("/d/victim", b"hush", 0o400, os.geteuid(), os.getegid())


def test_what_was_covered_comes_back(step: Step) -> None:
    (step.root / "d").mkdir()
    (step.root / "d/victim").write_text("image")
    os.utime(step.root / "d", ns=(5, 5))
    step.perform(SECRET, ShowEmpty("/new/place", 0o700))
    assert (step.root / "d/victim").read_text() == "hush"
    assert ("cover", "/d/victim") in step.status.told
    step.undo()
    assert step.tree(step.root) == {"d": None, "d/victim": "image"}
    assert (step.root / "d").stat().st_mtime_ns == 5


def test_a_parent_exchanged_for_a_link(step: Step) -> None:
    (step.root / "d").mkdir()
    (step.root / "d/victim").write_text("image")
    step.perform(SECRET)
    (step.root / "d").rename(step.root / "e")
    (step.root / "d").symlink_to(step.outside)
    step.undo()
    assert step.outside_is_whole()
    assert step.tree(step.root) == {"d": str(step.outside), "e": None, "e/victim": "image"}


def test_a_parent_that_was_made_and_exchanged(step: Step) -> None:
    step.perform(ShowEmpty("/sub/x", 0o755))
    (step.root / "sub").rename(step.root / "moved")
    (step.root / "sub").symlink_to(step.outside / "sub")
    step.undo()
    assert step.outside_is_whole()
    # The command moved it, so it is the command's.
    assert step.tree(step.root) == {"moved": None, "sub": str(step.outside / "sub")}


def test_a_parent_that_is_gone(step: Step) -> None:
    (step.root / "d").mkdir()
    (step.root / "d/victim").write_text("image")
    step.perform(SECRET)
    (step.root / "d/victim").unlink()
    (step.root / "d").rmdir()
    step.undo()
    assert step.tree(step.root) == {}


def test_a_cache_whose_parent_was_moved_is_kept(step: Step) -> None:
    (step.root / "c").mkdir()
    step.perform(Lend("/c/dotdocker", str(step.home)))
    assert not step.home.exists()
    (step.root / "c/dotdocker/mine").write_text("m")
    (step.root / "c").rename(step.root / "c2")
    (step.root / "c").symlink_to(step.outside)
    (step.outside / "dotdocker").mkdir()
    (step.outside / "dotdocker/config.json").write_text("credentials")
    step.undo()
    assert step.tree(step.home) == {"mine": "m"}
    assert (step.outside / "dotdocker/config.json").read_text() == "credentials"
    assert step.tree(step.root) == {"c": str(step.outside), "c2": None}


def _link(step: Step, target: Path) -> None:
    target.rename(step.root / "elsewhere")
    target.symlink_to(step.outside)


def _other_directory(step: Step, target: Path) -> None:
    target.rmdir()
    target.mkdir()
    (target / "forged").write_text("f")


def _file(step: Step, target: Path) -> None:
    target.rmdir()
    target.write_text("f")


def _fifo(step: Step, target: Path) -> None:
    target.rmdir()
    os.mkfifo(target)


def _nothing(step: Step, target: Path) -> None:
    target.rmdir()


@pytest.mark.parametrize("exchange", [_link, _other_directory, _file, _fifo, _nothing])
def test_only_the_directory_that_was_handed_out_is_kept(step: Step, exchange: Callable[[Step, Path], None]) -> None:
    (step.root / "c").mkdir()
    (step.root / "c/image").write_text("i")
    step.perform(Lend("/c", str(step.home)))
    exchange(step, step.root / "c")
    step.undo()
    assert not os.path.lexists(step.home)
    assert step.outside_is_whole()
    assert step.tree(step.root / "c") == {"image": "i"}


def test_a_store_that_has_a_link_for_a_cache(step: Step) -> None:
    step.home.rmdir()
    step.home.symlink_to(step.outside)
    with pytest.raises(step.names["Failed"]):
        step.perform(Lend("/c", str(step.home)))
    step.undo()
    assert step.outside_is_whole() and step.tree(step.root) == {}


@pytest.mark.parametrize("text", ["../../outside", "/../outside", "../outside/../outside"])
def test_links_of_the_image_lead_nowhere_else(step: Step, text: str) -> None:
    (step.root / "d").symlink_to(text)
    step.perform(SECRET, ShowEmpty("/d/dir", 0o700))
    assert step.tree(step.root) == {"d": text, "outside": None, "outside/victim": "hush", "outside/dir": None}
    step.undo()
    assert step.outside_is_whole()
    assert step.tree(step.root) == {"d": text}


def test_a_place_within_a_cache(step: Step) -> None:
    step.perform(Lend("/c", str(step.home)), ShowEmpty("/c/made/x", 0o755))
    (step.root / "c/kept").write_text("k")
    step.undo()
    assert step.tree(step.home) == {"kept": "k"}
    assert step.tree(step.root) == {}


def test_a_file_that_was_amended_and_moved(step: Step) -> None:
    (step.root / "etc").mkdir()
    (step.root / "etc/hosts").write_text("one\n")
    step.perform(Amend("/etc/hosts", b"two\n", True), Amend("/etc/new", b"n\n", False))
    assert (step.root / "etc/hosts").read_text() == "one\ntwo\n"
    (step.outside / "hosts").write_text("of the host")
    (step.root / "etc").rename(step.root / "etc2")
    (step.root / "etc").symlink_to(step.outside)
    step.undo()
    assert (step.outside / "hosts").read_text() == "of the host"
    assert step.tree(step.root) == {"etc": str(step.outside), "etc2": None, "etc2/hosts": "one\n"}


def test_a_link_is_not_written_through(step: Step) -> None:
    (step.root / "hosts").symlink_to(step.outside / "victim")
    step.perform(Amend("/hosts", b"x", True))
    step.undo()
    assert step.outside_is_whole()


def test_what_is_thrown_away_may_be_deeper_than_a_path_is_long(step: Step) -> None:
    step.perform(ShowEmpty("/deep", 0o755))
    fd = os.open(step.root / "deep", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("0", dir_fd=fd)
        os.mkdir("1", dir_fd=fd)
        os.symlink(step.outside, "link", dir_fd=fd)
        below = os.open("0", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    step.undo()
    assert step.outside_is_whole()
    assert step.tree(step.root) == {}


def test_the_root_cannot_be_covered(step: Step) -> None:
    (step.root / "top").symlink_to("a/../..")
    (step.root / "a").mkdir()
    with pytest.raises(step.names["Failed"]):
        step.perform(ShowEmpty("/top", 0o755))


def test_links_without_end(step: Step) -> None:
    (step.root / "a").symlink_to("b")
    (step.root / "b").symlink_to("a")
    with pytest.raises(step.names["Failed"]) as failed:
        step.perform(ShowEmpty("/a/x", 0o755))
    assert failed.value.number == 40


def test_copies_are_true(step: Step) -> None:
    source = step.root / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_text("1")
    os.link(source / "one", source / "sub/again")
    (source / "link").symlink_to("/nowhere")
    os.mkfifo(source / "fifo", 0o640)
    with open(source / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    os.utime(source / "sub", ns=(7, 7))
    top = os.open(step.root, os.O_RDONLY)
    step.names["Copy"](top).make((top, "tree"), (top, "copy"), "copy", 0)
    os.close(top)
    made = step.root / "copy"
    assert sorted(os.listdir(made)) == sorted(os.listdir(source))
    assert (made / "one").stat().st_ino == (made / "sub/again").stat().st_ino
    assert (made / "sub").stat().st_mtime_ns == 7
    assert (made / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (made / "sparse").stat().st_blocks * 512 < 1 << 20
