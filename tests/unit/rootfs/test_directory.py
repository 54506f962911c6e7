"""Roots that are plain directories: what is unpacked, what is kept, what has changed."""

import os
from pathlib import Path

import pytest

from firkin.layer.scan import iter_upper_changes
from firkin.rootfs.directory import DirectoryRoot, DirectoryRootfs
from firkin.rootfs.flat import FlatTree
from firkin.rootfs.inplace import InplaceRootfs

WHITEOUT = "user.overlay.whiteout"


class Store:
    """Places for trees and scratch space."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.number = 0

    def tree(self, **files: str) -> str:
        path = self.fresh("tree")
        for name, text in files.items():
            target = Path(path) / name.replace("__", "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return path

    def fresh(self, kind: str) -> str:
        self.number += 1
        path = self.place / f"{kind}-{self.number}"
        path.mkdir()
        return str(path)

    def lives(self) -> list[Path]:
        return sorted(self.place.glob("root-*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def told(tree: str) -> list[str]:
    return [f"{type(change).__name__} {change.path}" for change in iter_upper_changes(tree)]


def test_a_step_changes_its_own_copy(store: Store) -> None:
    base = store.tree(a="one", b="two", dir__c="three")
    rootfs = DirectoryRootfs()
    with rootfs.open((base,), store.fresh("scratch")) as root:
        place = Path(root.mount)
        (place / "a").write_text("changed")
        (place / "b").unlink()
        (place / "new").symlink_to("a")
        tree = store.fresh("sealed")
        root.seal(tree)
    assert told(tree) == ["Put a", "Remove b", "Put new"]
    assert (Path(base) / "a").read_text() == "one"


def test_the_next_step_goes_on_in_the_same_directory(store: Store) -> None:
    base = store.tree(a="one")
    rootfs = DirectoryRootfs()
    first, second, third = (store.fresh("sealed") for _ in range(3))
    with rootfs.open((base,), store.fresh("scratch")) as root:
        (Path(root.mount) / "b").write_text("two")
        root.seal(first)
        live = root.mount
    # The store gives trees their names afterwards.
    named = first + "-named"
    os.rename(first, named)
    copied = store.tree(c="three")
    with rootfs.open((copied, named, base), store.fresh("scratch")) as root:
        assert root.mount == live
        assert sorted(os.listdir(root.mount)) == ["a", "b", "c"]
        root.seal(second)
    assert told(second) == []
    with rootfs.open((named, base), store.fresh("scratch")) as root:
        assert root.mount != live
        assert sorted(os.listdir(root.mount)) == ["a", "b"]
        root.seal(third)


def test_a_step_that_failed_leaves_nothing(store: Store) -> None:
    rootfs = DirectoryRootfs()
    scratch = store.fresh("scratch")
    with pytest.raises(RuntimeError), rootfs.open((store.tree(a="x"),), scratch):
        raise RuntimeError
    assert store.lives() == []
    assert not os.path.exists(scratch)


def test_directories_that_nobody_goes_on_with_are_given_up(store: Store) -> None:
    base = store.tree(a="x")
    rootfs = DirectoryRootfs()
    for _ in range(7):
        with rootfs.open((base,), store.fresh("scratch")) as root:
            root.seal(store.fresh("sealed"))
    assert len(store.lives()) == 4


def test_what_was_covered_for_a_while_is_no_change(store: Store) -> None:
    base = store.tree(etc__hosts="image", etc__other="image")
    with DirectoryRootfs().open((base,), store.fresh("scratch")) as root:
        assert isinstance(root, DirectoryRoot)
        for name in ("hosts", "other"):
            path = f"{root.mount}/etc/{name}"
            times = os.stat(f"{root.mount}/etc")
            os.rename(path, root.scratch + "/aside")
            os.rename(root.scratch + "/aside", path)
            os.utime(f"{root.mount}/etc", ns=(times.st_atime_ns, times.st_mtime_ns))
        tree = store.fresh("sealed")
        root.seal(tree, ("etc/hosts",))
    # Of the other one the ctime says that something may have been done to it.
    assert told(tree) == ["Put etc", "Put etc/other"]


def test_ignored_paths_survive_whatever_the_layers_say(store: Store) -> None:
    place = Path(store.tree(keep__mine="mine", var__run__secrets__token="token", old="old"))
    flat = FlatTree(str(place), frozenset({"keep", "var/run/secrets"}))
    flat.clear()
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == [
        "keep/mine",
        "var/run/secrets/token",
    ]
    layer = Path(store.tree(keep__theirs="theirs", usr__file="x"))
    (layer / "var").mkdir()
    (layer / "var/run").symlink_to("/run")
    flat.add(str(layer))
    assert (place / "keep/mine").read_text() == "mine"
    assert not (place / "keep/theirs").exists()
    assert (place / "var/run/secrets/token").read_text() == "token"
    assert (place / "usr/file").read_text() == "x"
    # The link could not be made; that it is missing is not the next step's doing.
    flat.list()
    tree = store.fresh("sealed")
    flat.capture(tree, (str(layer),), ())
    assert told(tree) == []


def test_in_place_everything_is_put_back(store: Store) -> None:
    root = Path(store.tree(own__program="p", bin__sh="shell", cred="token"))
    context = root / "ctx"
    context.mkdir()
    (context / "f").write_text("context")
    rootfs = InplaceRootfs(str(root / "own"), (str(context),), (str(root / "cred"),), (str(context),), root=str(root))
    one, other = store.tree(bin__sh="theirs", one="1"), store.tree(two="2")
    for lowers, expected in (((one,), {"bin", "one"}), ((other,), {"two"}), ((other, one), {"bin", "one", "two"})):
        with rootfs.open(lowers, store.fresh("scratch")) as step:
            names = set(os.listdir(root)) - {"own", "ctx", "etc", "dev", "proc", "sys"}
            assert names == expected
            (root / "made").write_text("x")
            tree = store.fresh("sealed")
            step.seal(tree)
            assert "Put made" in told(tree)
    rootfs.close()
    assert sorted(os.listdir(root)) == ["bin", "cred", "ctx", "own"]
    assert (root / "bin/sh").read_text() == "shell"
    assert (root / "cred").read_text() == "token"
    assert sorted(os.listdir(root / "own")) == [".inplace.lock", "program"]
