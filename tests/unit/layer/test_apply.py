"""Trees made from changes, the twin of the layer that is written from them."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, Entry, Opaque, Put, Remove
from firkin.layer.scan import iter_upper_changes
from firkin.layer.stream import write_layer
from firkin.layer.view import DirectoryView
from firkin.linux.folders import remove_tree

ME = (os.getuid(), os.getgid())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def entry(kind: str, size: int = 0, mode: int = 0o644, **more: object) -> Entry:
    return Entry(kind, mode, *ME, size, 10**9, **more)  # type: ignore[arg-type]


def shown(root: Path) -> list[str]:
    return [f"{type(change).__name__.lower()} {change.path}" for change in iter_upper_changes(str(root))]


@pytest.mark.parametrize("link_ok", [False, True])
def test_same_as_the_layer(source: Path, root: Path, plain: Callable[[Change], Change], link_ok: bool) -> None:
    changes = list(iter_upper_changes(str(source)))
    applied = apply_changes(changes, str(root), may_link=lambda _: link_ok)
    assert [plain(change) for change in iter_upper_changes(str(root))] == [plain(change) for change in changes]
    assert applied.entries == len(changes)
    assert (applied.linked > 0) == link_ok
    layers = [io.BytesIO(), io.BytesIO()]
    one, two = (write_layer(iter_upper_changes(str(tree)), sink) for tree, sink in zip((source, root), layers))
    assert one == two


def test_removals(root: Path) -> None:
    apply_changes([Put("d", entry("dir", mode=0o755)), Opaque("d"), Put("d/f", entry("file")), Remove("g")], str(root))
    assert shown(root) == ["put d", "opaque d", "put d/f", "remove g"]


def test_flat(root: Path) -> None:
    (root / "d" / "old").mkdir(parents=True)
    (root / "gone").mkdir()
    (root / "gone" / "f").touch()
    (root / "file").touch()
    changes = [
        Put("d", entry("dir", mode=0o755)),
        Opaque("d"),
        Put("d/new", entry("file", 1), b"1"),
        Remove("gone"),
        Put("file", entry("dir", mode=0o700)),
    ]
    apply_changes(changes, str(root), form="flat")
    assert shown(root) == ["put d", "put d/new", "put file"]
    assert (root / "d").stat().st_mtime == 1


def test_what_is_in_the_way_goes(root: Path) -> None:
    (root / "a").symlink_to("/etc")
    (root / "b").mkdir()
    (root / "b" / "x").touch()
    changes = [Put("a", entry("dir", mode=0o755)), Put("a/f", entry("file", 1), b"1"), Put("b", entry("file"))]
    apply_changes(changes, str(root))
    assert shown(root) == ["put a", "put a/f", "put b"]


def test_parents_look_as_below(root: Path, tmp_path: Path) -> None:
    (tmp_path / "below" / "usr").mkdir(parents=True)
    (tmp_path / "below" / "usr").chmod(0o711)
    os.utime(tmp_path / "below" / "usr", ns=(0, 7 * 10**9))
    below = DirectoryView(str(tmp_path / "below"))
    apply_changes([Put("usr/new/f", entry("file"))], str(root), below=below, chown=False)
    status = (root / "usr").stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o711, 7)
    assert (root / "usr" / "new").stat().st_mode & 0o7777 == 0o755


def test_a_parent_that_leads_out(root: Path, tmp_path: Path) -> None:
    (root / "l").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="no directory"):
        apply_changes([Put("l/f", entry("file"))], str(root), form="flat")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("form", ["diff", "flat"])
def test_nothing_leads_out(root: Path, tmp_path: Path, form: str) -> None:
    """Changes that no tree and no archive gives, should one of their readers ever be wrong."""
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "f").write_text("secret")
    before = outside.stat().st_ctime_ns
    link = Put("l", entry("symlink", target=str(outside)))
    attacks: list[list[Change]] = [
        [link, Put("l/new", entry("file", 1), b"1")],
        [link, Put("l/new", entry("dir", mode=0o755))],
        [link, Put("l/d/new", entry("file", 1), b"1")],
        [link, Remove("l/f")],
        [link, Opaque("l")],
        [link, Put("hard", entry("file", 6), None, "l/f")],
        [Put("l", entry("dir", mode=0o755)), Put("l/f", entry("file", 1), b"1"), link, Put("l/f", entry("file", 0))],
        [Put("..", entry("file", 1), b"1")],
        [Put("../outside/f", entry("file", 1), b"1")],
        [Put("a/../../outside/f", entry("file", 1), b"1")],
        [Put("hard", entry("file", 6), None, "../outside/f")],
        [Remove("../outside/f")],
        [Remove("..")],
        [Remove("")],
        [Opaque("../outside")],
        [Put("a//b", entry("file", 1), b"1")],
        [Put("/f", entry("file", 1), b"1")],
    ]
    for changes in attacks:
        with pytest.raises(ValueError, match=r"cannot be made|no directory|leads out"):
            apply_changes(changes, str(root), form=form)  # type: ignore[arg-type]
        assert outside.stat().st_ctime_ns == before
        assert (outside / "f").read_text() == "secret"
        assert (outside / "f").stat().st_nlink == 1
        assert os.path.lexists(root)
        for name in os.listdir(root):
            remove_tree(f"{root}/{name}")


def test_links_only_where_nothing_differs(root: Path, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_text("12345")
    content.chmod(0o644)
    os.utime(content, ns=(10**9, 10**9))
    os.setxattr(content, "user.a", b"1")
    same = entry("file", 5, xattrs=(("user.a", b"1"),))
    others = {
        "mode": msgspec.structs.replace(same, mode=0o600),
        "time": msgspec.structs.replace(same, mtime_ns=2 * 10**9),
        "xattrs": msgspec.structs.replace(same, xattrs=()),
    }
    changes: list[Change] = [Put(name, other, str(content)) for name, other in others.items()]
    changes += [Put("same", same, str(content)), Put("twice", same, str(content))]
    applied = apply_changes(changes, str(root), may_link=lambda _: True)
    assert applied.linked == 1
    assert (root / "same").stat().st_ino == content.stat().st_ino
    for name, other in others.items():
        assert DirectoryView(str(root)).lstat(name) == other
    assert (root / "twice").stat().st_nlink == 1


def test_no_links_to_what_somebody_may_write(root: Path, tmp_path: Path) -> None:
    content = tmp_path / "f"
    content.write_text("1")
    content.chmod(0o644)
    os.utime(content, ns=(10**9, 10**9))
    changes: list[Change] = [Put("f", entry("file", 1), str(content))]
    assert apply_changes(changes, str(root), may_link=lambda path: path != str(content)).linked == 0
    assert apply_changes(changes, str(root), may_link=lambda path: True, form="flat").linked == 0
    assert apply_changes(changes, str(root), may_link=lambda path: path == str(content)).linked == 1


@pytest.mark.parametrize("real", [0, 99, 101, 200_000])
@pytest.mark.parametrize("size", [100, 150_000])
def test_a_file_that_changed_its_size(root: Path, tmp_path: Path, real: int, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(real))
    with pytest.raises(ValueError, match="while it was copied"):
        apply_changes([Put("f", entry("file", size), str(tmp_path / "file"))], str(root))


def test_a_file_that_vanished(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone` vanished while it was copied"):
        apply_changes([Put("f", Entry("file", size=1), str(tmp_path / "gone"))], str(root), chown=False)


def test_bytes_and_sizes(root: Path) -> None:
    apply_changes([Put("f", entry("file", 3), b"abc"), Put("g", entry("file", 3), None, "f")], str(root))
    assert (root / "g").read_bytes() == b"abc"
    with pytest.raises(ValueError, match="should have 3"):
        apply_changes([Put("h", entry("file", 3), b"abcd")], str(root))


@pytest.mark.root
def test_owners_devices_and_capabilities(root: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    changes = [
        Put("f", Entry("file", 0o4755, 5, 6, 1, xattrs=(("security.capability", capability),)), b"x"),
        Put("null", Entry("char", 0o666, 0, 7, major=1, minor=3)),
        Put("l", Entry("symlink", 0o777, 8, 9, target="f")),
    ]
    applied = apply_changes(changes, str(root))
    assert applied.skipped == ()
    view = DirectoryView(str(root))
    assert [view.lstat(change.path) for change in changes] == [change.entry for change in changes]


def test_a_socket_becomes_an_empty_file(root: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        found = DirectoryView(str(tmp_path)).lstat("s")
        assert found is not None
        apply_changes([Put("s", found, str(tmp_path / "s"))], str(root), may_link=lambda _: True)
    assert (root / "s").is_file()
