"""Reads small files that users or contexts name, without ever blocking on one. Does I/O. Any module above `linux` may
import it.

Reading a pipe, socket or device in place of a file could block or go on forever. So files are opened with O_NONBLOCK
and checked before they are read. `/dev/stdin`, `/dev/fd/N` and the like, which the shell's `<(...)` gives, are read
whatever they are: a user who names them provides the content there.
"""

from __future__ import annotations

import errno
import os
import stat

MAX_TEXT_BYTES = 16 << 20
"""The largest size of a Dockerfile, an ignore file or a file of settings."""

_PIECE = 1 << 16
_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/", "/dev/null")
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_descriptor(path: str) -> bool:
    """Say whether a path names an open file of the process (or /dev/null) rather than a file in a directory."""
    return path.startswith(_DESCRIPTORS)


def read_named(path: str, limit_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a file that the user names, following links. Raises OSError, also if it is no file
    (EINVAL) or larger than the limit (EFBIG)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if is_descriptor(path):
            os.set_blocking(fd, True)
        else:
            _check_regular(fd, path)
        return _read_all(fd, path, limit_bytes)
    finally:
        os.close(fd)


def read_beneath(root: str, path: str, limit_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a file in an untrusted directory: links are followed only inside it.

    Raises OSError as `read_named` does.
    """
    from firkin.linux.beneath import Beneath

    with Beneath(root) as beneath:
        fd = beneath.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            shown = f"{root.rstrip('/')}/{path}"
            _check_regular(fd, shown)
            return _read_all(fd, shown, limit_bytes)
        finally:
            os.close(fd)


def open_named(path: str) -> int:
    """Open a file that the user names for reading, following links. Raises OSError, also if it is no file (EINVAL)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_regular(fd, path)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_content(path: str) -> int:
    """Open a file that was just listed, for reading. Raises ValueError if it vanished or became a link; OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"`{path}` vanished while it was copied") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"`{path}` became a link while it was copied") from None
        raise


def open_special(path: str) -> int:
    """Open a pipe or device for writing; raises OSError (ENXIO) for a pipe that nobody reads from."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads from this named pipe", path) from None
        raise
    os.set_blocking(fd, True)
    return fd


def write_beside(path: str, data: bytes) -> None:
    """Write a file beside its place and rename it to there, so that it appears whole. Raises OSError."""
    temporary = f"{path}.firkin-{os.urandom(6).hex()}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _check_regular(fd: int, path: str) -> None:
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a file", path)


def _read_all(fd: int, path: str, limit_bytes: int) -> bytes:
    pieces = []
    left = limit_bytes + 1
    while left and (piece := os.read(fd, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        size = f"{limit_bytes >> 20} MiB" if limit_bytes >= 1 << 20 else f"{limit_bytes >> 10} KiB"
        raise OSError(errno.EFBIG, f"it is larger than {size}", path)
    return b"".join(pieces)
