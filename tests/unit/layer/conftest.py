"""A source tree with one of everything that an ordinary user can make."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from firkin.layer.change import Change, Put


def make_tree(root: Path) -> Path:
    """Make files, links, modes, times and attributes; return the root."""
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"x" * 100)
    os.link(root / "d" / "file", root / "z-hard")
    (root / "d" / "sub" / "link").symlink_to("../file")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(root / "pipe", 0o640)
    (root / "empty").touch()
    (root / "d" / ("é" * 60)).write_bytes(b"y" * 2_000_000)
    os.mkdir(os.fsencode(root) + b"/not-utf8-\xff")
    (root / "deep" / "/".join(["p" * 40] * 6)).mkdir(parents=True)
    (root / "deep" / "/".join(["p" * 40] * 6) / ("n" * 200)).write_text("deep")
    os.setxattr(root / "d" / "file", "user.colour", b"blue\0\xff")
    (root / "set").write_text("set")
    (root / "set").chmod(0o4751)
    (root / "d").chmod(0o1777)
    for at, (folder, folders, files) in enumerate(os.walk(root)):
        for name in folders + files:
            os.utime(os.path.join(folder, name), ns=(0, (1_600_000_000 + at) * 10**9), follow_symlinks=False)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a tree of `make_tree`."""
    (tmp_path / "source").mkdir()
    return make_tree(tmp_path / "source")


@pytest.fixture
def plain() -> Callable[[Change], Change]:
    """Return a function that takes from a change what a layer does not keep: places and inode numbers."""

    def strip(change: Change) -> Change:
        if not isinstance(change, Put):
            return change
        entry = msgspec.structs.replace(change.entry, inode=None, size=0 if change.link else change.entry.size)
        return Put(change.path, entry, None, change.link)

    return strip
