"""Paths beneath a root: the kernel's walk and the one written here must agree."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firkin.linux import beneath
from firkin.linux.beneath import Beneath


@pytest.fixture(params=["kernel", "own"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beneath]:
    monkeypatch.setattr(beneath, "_kernel_walk", request.param == "kernel")
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "root"
    (inside / "etc").mkdir(parents=True)
    (inside / "etc" / "passwd").write_text("inside")
    (inside / "dir").mkdir()
    for name, target in {
        "up": "../../secret",
        "absolute": "/etc/passwd",
        "host": str(tmp_path / "secret"),
        "loop": "loop",
        "etclink": "/etc",
        "dangling": "/nowhere/at/all",
        "dir/back": "../etc",
    }.items():
        (inside / name).symlink_to(target)
    with Beneath(str(inside)) as opened:
        yield opened
    assert (tmp_path / "secret").read_text() == "outside"


@pytest.mark.parametrize(
    "path",
    [
        "etc/passwd",
        "/etc/passwd",
        "absolute",
        "etclink/passwd",
        "dir/back/passwd",
        "../../etc/passwd",
        "dir/../etc/passwd",
    ],
)
def test_reads_inside(root: Beneath, path: str) -> None:
    assert root.read(path, 100) == b"inside"


@pytest.mark.parametrize("path", ["up", "host", "../secret", "dangling", "dir/nothing", "etc/passwd/x"])
def test_never_reads_outside(root: Beneath, path: str) -> None:
    assert root.read(path, 100) == b""


def test_loops_end(root: Beneath) -> None:
    with pytest.raises(OSError, match="symbolic"):
        root.open("loop", os.O_RDONLY)


def test_lstat_does_not_follow(root: Beneath) -> None:
    assert root.exists("dangling")
    assert not root.exists("nothing")
    assert root.lstat("etclink").st_mode & 0o170000 == 0o120000
    assert root.lstat("etclink/").st_mode & 0o170000 == 0o040000


def test_creates_inside(root: Beneath, tmp_path: Path) -> None:
    parent, name = root.open_parent("etclink/new/deep/file", create=0o755)
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=parent))
    os.close(parent)
    assert (tmp_path / "root/etc/new/deep/file").exists()


@pytest.mark.parametrize("path", ["host", "up", "dangling", "absolute"])
def test_does_not_write_through_a_link(root: Beneath, path: str) -> None:
    with pytest.raises(OSError):
        root.open(path, os.O_CREAT | os.O_WRONLY)


def test_does_not_make_what_a_dangling_link_names(root: Beneath, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        os.close(root.make_directories("dangling/below"))
    assert not (tmp_path / "root/nowhere").exists()


@pytest.mark.parametrize("path", ["", "/", "..", "dir/.."])
def test_a_parent_needs_a_name(root: Beneath, path: str) -> None:
    with pytest.raises(OSError, match="not a name"):
        root.open_parent(path)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("etclink/passwd", "etc/passwd"),
        ("dangling", "nowhere/at/all"),
        ("dangling/../x", "nowhere/at/x"),
        ("../../a/../b", "b"),
        ("", ""),
        ("dir/back/new/../passwd", "etc/passwd"),
    ],
)
def test_real_path(root: Beneath, path: str, real: str) -> None:
    assert root.real_path(path) == real


@pytest.mark.parametrize("failures", [3, 10**6])
def test_a_rename_elsewhere_does_not_fail_the_walk(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel answers EAGAIN to a `..` while anything is renamed or mounted."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    (tmp_path / "d" / "l").symlink_to("../f")
    left = [failures]
    real = beneath.syscalls.openat2

    def unlucky(*arguments: Any, **named: Any) -> int:
        if left[0]:
            left[0] -= 1
            raise BlockingIOError(errno.EAGAIN, "again")
        return real(*arguments, **named)

    monkeypatch.setattr(beneath, "_kernel_walk", True)
    monkeypatch.setattr(beneath.syscalls, "openat2", unlucky)
    with Beneath(str(tmp_path)) as opened:
        assert opened.read("d/l", 9) == b"x"
    assert beneath._kernel_walk
