"""Copies keep holes, and bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firkin.linux import sparse

SIZE = 3 << 20


def make(path: Path, size: int, *places: int) -> None:
    """Make a file of `size` bytes with data at `places` and holes elsewhere."""
    with open(path, "wb") as file:
        file.truncate(size)
        for at in places:
            os.pwrite(file.fileno(), b"data"[: size - at], at)


def copy(source: Path, target: Path, size: int) -> int:
    source_fd, target_fd = os.open(source, os.O_RDONLY), os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        return sparse.copy_data(source_fd, target_fd, size)
    finally:
        os.close(source_fd)
        os.close(target_fd)


@pytest.mark.parametrize("in_kernel", [True, False], ids=["copy_file_range", "sendfile"])
@pytest.mark.parametrize("places", [(), (0,), (SIZE - 2,), (1 << 20,), (0, 2 << 20, SIZE - 4)])
def test_holes_stay_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...], in_kernel: bool):
    monkeypatch.setattr(sparse, "_range_ok", in_kernel)
    make(tmp_path / "a", SIZE, *places)
    if os.lstat(tmp_path / "a").st_blocks * 512 > SIZE // 2:
        pytest.skip("this file system has no holes")
    copied = copy(tmp_path / "a", tmp_path / "b", SIZE)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert copied < SIZE and os.lstat(tmp_path / "b").st_blocks * 512 <= copied + 4096


def test_a_file_without_holes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(SIZE))
    assert copy(tmp_path / "a", tmp_path / "b", SIZE) == SIZE
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("places", [(), tuple(range(0, SIZE - 4096, 4096))])
def test_a_file_that_shrank(tmp_path: Path, places: tuple[int, ...]) -> None:
    make(tmp_path / "a", SIZE - 4096, *places)
    with pytest.raises(ValueError, match="shrank"):
        copy(tmp_path / "a", tmp_path / "b", SIZE)
