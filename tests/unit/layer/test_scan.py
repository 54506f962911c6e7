"""Directories read as changes."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from firkin.errors import StepFailed
from firkin.layer.attributes import make_xattr_whiteout
from firkin.layer.change import Change, Put
from firkin.layer.scan import iter_tree_changes, iter_upper_changes, read_entry, scan_tree
from firkin.linux.folders import Folders, remove_tree


def changes(root: Path, **options: object) -> list[Change]:
    return list(iter_upper_changes(str(root), **options))  # type: ignore[arg-type]


def paths(found: list[Change]) -> list[str]:
    return [f"{type(change).__name__.lower()} {change.path}" for change in found]


def test_order_is_by_bytes_with_parents_first(tmp_path: Path) -> None:
    for name in (b"b", b"a/x", b"a/b/c", b"a-b", b"\xc3\xa9", b"\xff", b"\xf0\x9f\x98\x80", b"Z"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    found = [os.fsencode(change.path) for change in changes(tmp_path)]
    assert found == [
        b"Z", b"a", b"a/b", b"a/b/c", b"a/x", b"a-b", b"b", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\xff",
    ]  # fmt: skip


def test_entries(source: Path) -> None:
    found = {change.path: change for change in changes(source)}
    put = found["d/file"]
    assert isinstance(put, Put)
    assert (put.entry.kind, put.entry.mode, put.entry.size) == ("file", 0o644 & ~_umask(), 100)
    assert put.entry.xattrs == (("user.colour", b"blue\0\xff"),)
    assert put.content == str(source / "d/file")
    hard = found["z-hard"]
    assert isinstance(hard, Put)
    assert (hard.link, hard.content) == ("d/file", None)
    assert hard.entry == put.entry
    link = found["d/sub/link"]
    assert isinstance(link, Put)
    assert (link.entry.kind, link.entry.target) == ("symlink", "../file")
    assert found["set"].entry.mode == 0o4751  # type: ignore[union-attr]
    assert found["pipe"].entry.kind == "fifo"  # type: ignore[union-attr]
    assert read_entry(str(source / "d/file")) == put.entry


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_overlay_marks(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    os.setxattr(tmp_path / "new", "user.overlay.opaque", b"y")
    (tmp_path / "new" / "file").touch()
    os.setxattr(tmp_path / "new" / "file", "user.overlay.overlay.opaque", b"mine")
    os.setxattr(tmp_path / "new" / "file", "user.overlay.origin", b"")
    (tmp_path / "old").mkdir()
    with Folders(str(tmp_path)) as folders:
        make_xattr_whiteout(*folders.split("old/gone"))
    (tmp_path / "old" / "here").touch()
    found = changes(tmp_path)
    assert paths(found) == ["put new", "opaque new", "put new/file", "put old", "remove old/gone", "put old/here"]
    assert found[2].entry.xattrs == (("user.overlay.opaque", b"mine"),)  # type: ignore[union-attr]
    assert found[0].entry.xattrs == ()  # type: ignore[union-attr]


@pytest.mark.root
def test_devices(tmp_path: Path) -> None:
    os.mknod(tmp_path / "gone", 0o20000, 0)
    os.mknod(tmp_path / "null", 0o20666, os.makedev(1, 3))
    found = changes(tmp_path)
    assert paths(found) == ["remove gone", "put null"]
    assert (found[1].entry.major, found[1].entry.minor) == (1, 3)  # type: ignore[union-attr]


def test_redirects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", "user.overlay.redirect", b"/elsewhere")
    with pytest.raises(ValueError, match="redirect"):
        changes(tmp_path)


def test_skip_root_owner_and_sockets(source: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
        found = changes(source, skip=frozenset(("d", "deep")), include_root=True, owner_of=lambda *_: (7, 8))
    assert [change.path for change in found] == [
        "", "dangling", "empty", "not-utf8-\udcff", "pipe", "set", "z-hard",
    ]  # fmt: skip
    assert {(change.entry.uid, change.entry.gid) for change in found} == {(7, 8)}  # type: ignore[union-attr]


# --- two listings ---


def differences(root: Path, act: Callable[[], object], **options: frozenset[str]) -> list[str]:
    before = scan_tree(str(root), **options)
    act()
    return paths(list(iter_tree_changes(str(root), before, scan_tree(str(root), **options))))


def test_nothing_changed(source: Path) -> None:
    assert differences(source, lambda: (source / "d/file").read_bytes()) == []


def test_each_kind_of_change(source: Path) -> None:
    def act() -> None:
        (source / "empty").write_text("now with content")
        (source / "new").mkdir()
        (source / "new" / "file").touch()
        (source / "d" / "sub" / "link").unlink()
        (source / "set").chmod(0o644)
        os.setxattr(source / "d" / "sub", "user.x", b"1")
        (source / "dangling").unlink()
        (source / "dangling").symlink_to("elsewhere")

    assert differences(source, act) == [
        "put d/sub", "remove d/sub/link", "put dangling", "put empty", "put new", "put new/file", "put set",
    ]  # fmt: skip


def test_times_before_1970_and_after_2262(source: Path) -> None:
    def act() -> None:
        os.utime(source / "empty", (0, -1000))
        os.utime(source / "d" / "file", (0, 15_000_000_000))

    assert differences(source, act) == ["put d/file", "put empty", "put z-hard"]  # another name of the first


def test_same_size_and_time_is_still_a_change(source: Path) -> None:
    path = source / "d" / "file"

    def act() -> None:
        status = path.stat()
        with path.open("r+b") as file:
            file.write(b"y" * 100)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    # Both names of the file.
    assert differences(source, act) == ["put d/file", "put z-hard"]


def test_a_tree_removed_is_one_change(source: Path) -> None:
    def act() -> None:
        for folder, folders, files in os.walk(source / "deep", topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
        (source / "deep").rmdir()

    assert differences(source, act) == ["remove deep"]


def test_directory_and_file_change_places(source: Path) -> None:
    def act() -> None:
        (source / "d" / "sub" / "link").unlink()
        (source / "d" / "sub").rmdir()
        (source / "d" / "sub").write_text("file")
        (source / "empty").unlink()
        (source / "empty").mkdir()
        (source / "empty" / "f").touch()

    assert differences(source, act) == ["put d", "put d/sub", "put empty", "put empty/f"]


def test_ignored_paths(source: Path) -> None:
    ignored = frozenset(("d", "new"))

    def act() -> None:
        (source / "d" / "file").unlink()
        (source / "new").touch()

    assert differences(source, act, ignore=ignored) == ["put z-hard"]


def test_listing_is_small(tmp_path: Path) -> None:
    import tracemalloc

    for at in range(3000):
        if at % 30 == 0:
            (tmp_path / str(at // 30)).mkdir()
        (tmp_path / str(at // 30) / f"some-file-{at}.txt").touch()
    tracemalloc.start()
    index = scan_tree(str(tmp_path))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(index) == 3100
    assert used / len(index) < 220


@pytest.fixture
def bottomless(tmp_path: Path) -> Path:
    """Return a tree that is deeper than a path can be long."""
    with Folders(str(tmp_path)) as folders:
        path = ""
        for _ in range(1200):
            os.mkdir("0123", dir_fd=folders.open(path))
            path = f"{path}/0123" if path else "0123"
    return tmp_path


def test_a_tree_that_no_path_reaches_the_end_of(bottomless: Path) -> None:
    for scan in (changes, lambda root: scan_tree(str(root))):
        with pytest.raises(StepFailed, match="longer than the 4096 bytes"):
            scan(bottomless)
    remove_tree(str(bottomless / "0123"))
