"""Names that lower layers link to one file: each has its own in a plain directory, or its changes are told by name."""

import os
from pathlib import Path

import pytest

from firkin.layer.scan import iter_upper_changes
from firkin.linux import syscalls
from firkin.rootfs import links
from firkin.rootfs.directory import DirectoryRootfs
from firkin.rootfs.flat import FlatTree


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    place = tmp_path / "layer"
    (place / "d").mkdir(parents=True)
    (place / "a").write_text("one")
    os.link(place / "a", place / "d/b")
    os.link(place / "a", place / "d/c")
    os.utime(place / "d", ns=(7, 7))
    return place


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is too big to be copied for each of its names."""
    monkeypatch.setattr(links, "_SMALL", 0)


def unpacked(tmp_path: Path, layer: Path) -> tuple[FlatTree, Path]:
    root = tmp_path / "root"
    root.mkdir()
    tree = FlatTree(str(root))
    tree.add(str(layer))
    tree.list()
    return tree, root


def captured(tree: FlatTree, tmp_path: Path, layer: Path) -> list[str]:
    """Return what became of a step: kind, path, content and link."""
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    tree.capture(str(sealed), (str(layer),), ())
    told = []
    for change in iter_upper_changes(str(sealed)):
        path, link = change.path, getattr(change, "link", "")
        content = (sealed / path).read_text() if (sealed / path).is_file() and not link else ""
        told.append(" ".join(filter(None, (type(change).__name__, path, content, link))))
    return told


def test_each_name_is_a_file_of_its_own(tmp_path: Path, layer: Path) -> None:
    tree, root = unpacked(tmp_path, layer)
    assert len({(root / name).stat().st_ino for name in ("a", "d/b", "d/c")}) == 3
    assert (root / "d").stat().st_mtime_ns == 7
    with open(root / "d/b", "a") as file:
        file.write(" more")
    assert (root / "a").read_text() == "one"
    assert captured(tree, tmp_path, layer) == ["Put d", "Put d/b one more"]
    assert not tree.spent


def test_links_of_a_step_are_links_in_its_layer_and_none_afterwards(tmp_path: Path, layer: Path) -> None:
    tree, root = unpacked(tmp_path, layer)
    (root / "x").mkdir()
    (root / "x/p").write_text("p")
    os.link(root / "x/p", root / "x/q")
    os.link(root / "a", root / "x/a")
    os.utime(root / "x", ns=(9, 9))
    assert captured(tree, tmp_path, layer) == ["Put a one", "Put x", "Put x/a a", "Put x/p p", "Put x/q x/p"]
    names = ("a", "x/a", "x/p", "x/q")
    assert len({(root / name).stat().st_ino for name in names}) == 4
    assert (root / "x").stat().st_mtime_ns == 9
    tree.list()
    (tmp_path / "sealed").rename(tmp_path / "first")
    assert captured(tree, tmp_path, tmp_path / "first") == []


@pytest.mark.usefixtures("kept")
def test_a_shared_file_is_changed_by_the_names_that_were_used(tmp_path: Path, layer: Path) -> None:
    tree, root = unpacked(tmp_path, layer)
    assert (root / "a").stat().st_ino == (root / "d/b").stat().st_ino
    with open(root / "d/b", "a") as file:
        file.write(" more")
    (root / "d/c").chmod(0o600)
    assert captured(tree, tmp_path, layer) == ["Put d", "Put d/b one more", "Put d/c one more"]
    # Under its other name it is wrong, so this directory is not to be used again.
    assert tree.spent


@pytest.mark.usefixtures("kept")
def test_a_name_that_goes_is_no_change_of_the_others(tmp_path: Path, layer: Path) -> None:
    tree, root = unpacked(tmp_path, layer)
    (root / "d/b").unlink()
    (root / "a").rename(root / "z")
    assert captured(tree, tmp_path, layer) == ["Remove a", "Put d", "Remove d/b", "Put z one"]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("way", ["refused", "overflow"])
def test_where_names_are_not_told_all_are_changed(
    tmp_path: Path, layer: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "refused":

        def refuse() -> int:
            raise OSError(24, "too many")

        monkeypatch.setattr(syscalls, "inotify_init", refuse)
    else:
        monkeypatch.setattr(syscalls, "IN_Q_OVERFLOW", syscalls.IN_CHANGED)
    tree, root = unpacked(tmp_path, layer)
    (root / "a").write_text("two")
    assert captured(tree, tmp_path, layer) == ["Put a two", "Put d", "Put d/b two", "Put d/c two"]


@pytest.mark.usefixtures("kept")
def test_a_directory_with_a_wrong_name_is_not_used_again(tmp_path: Path, layer: Path) -> None:
    rootfs = DirectoryRootfs()
    lowers: tuple[str, ...] = (str(layer),)
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(2):
        scratch, sealed = tmp_path / f"scratch-{number}", tmp_path / f"sealed-{number}"
        scratch.mkdir()
        sealed.mkdir()
        with rootfs.open(lowers, str(scratch)) as root:
            assert Path(root.mount, "d/b").read_text() == "one"
            Path(root.mount, "a").write_text(f"changed {number}")
            root.seal(str(sealed))
        lowers = (str(sealed), *lowers)
    assert len(os.listdir("/proc/self/fd")) == descriptors
