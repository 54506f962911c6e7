"""Small files are read whole; what could be waited for without end is refused at once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from firkin.linux.files import open_special, read_beneath, read_named

Reader = Callable[[Path], bytes]


def beneath(path: Path) -> bytes:
    return read_beneath(str(path.parent), path.name, 10)


def named(path: Path) -> bytes:
    return read_named(str(path), 10)


BOTH = pytest.mark.parametrize("read", [beneath, named])


@BOTH
def test_files(read: Reader, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    (tmp_path / "l").symlink_to("f")
    assert read(tmp_path / "f") == read(tmp_path / "l") == b"0123456789"
    (tmp_path / "f").write_bytes(b"01234567890")
    with pytest.raises(OSError, match="it is larger than") as caught:
        read(tmp_path / "f")
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


@BOTH
def test_pipes_and_sockets_are_not_waited_for(read: Reader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a named pipe, not a file"):
        read(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(OSError):
            read(tmp_path / "s")


def test_devices_are_no_files() -> None:
    with pytest.raises(OSError, match="it is a device, not a file"):
        read_named("/dev/zero")
    assert read_named("/dev/null") == b""


def test_descriptors_of_the_shell_are_read_to_their_end() -> None:
    readable, writable = os.pipe()
    try:
        os.write(writable, b"from a pipe")
        os.close(writable)
        assert read_named(f"/dev/fd/{readable}") == b"from a pipe"
    finally:
        os.close(readable)


@pytest.mark.parametrize("target", ["/{}/secret", "../secret", "../../../../../../../../{}/secret", "up/secret"])
def test_no_link_leads_out_of_a_directory(target: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "up").symlink_to("..")
    (root / "l").symlink_to(target.format(str(tmp_path).lstrip("/")))
    with pytest.raises(OSError):
        read_beneath(str(root), "l")


def test_pipes_are_written_to_when_somebody_reads(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="nobody reads from this named pipe"):
        open_special(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = open_special(pipe)
    assert os.get_blocking(writer)
    os.write(writer, b"x")
    assert os.read(reader, 9) == b"x"
    os.close(writer)
    os.close(reader)
