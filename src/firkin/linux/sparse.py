"""Copies the contents of files between descriptors and keeps holes. Does I/O. Any module above `linux` may import it.

It is also part of the stand-alone program `sandbox/init`, which executes its source among its own globals. So it
imports only `os`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SPARSE_FROM = 64 << 10  # smaller files are not searched for holes
_STEP = 64 << 20
_ENXIO = 6
_NOT_IN_KERNEL = (1, 18, 22, 38, 95)  # EPERM, EXDEV, EINVAL, ENOSYS, EOPNOTSUPP

_range_ok = True


def iter_data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the parts of a file's first `size` bytes that are no holes; the whole range if unknown.

    The descriptor's offset is moved.
    """
    if size < SPARSE_FROM or os.fstat(fd).st_blocks * 512 >= size:
        yield 0, size
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == _ENXIO:
                return  # only a hole is left
            if error.errno != 22:
                raise
            start, end = end, size  # the file system cannot report holes
        if start < size:
            yield start, end


def copy_data(source: int, target: int, size: int) -> int:
    """Copy the first `size` bytes of a file to a new one, in the kernel; return the number of bytes outside of holes.

    Raises OSError; ValueError for a source that has fewer bytes.
    """
    copied = 0
    for start, end in iter_data(source, size):
        at = start
        while at < end:
            done = _copy_some(source, target, at, min(end - at, _STEP))
            if not done:
                raise ValueError("it shrank while it was copied")
            at += done
        copied += end - start
    if copied < size:
        if os.fstat(source).st_size < size:
            raise ValueError("it shrank while it was copied")
        os.ftruncate(target, size)
    return copied


def _copy_some(source: int, target: int, at: int, count: int) -> int:
    global _range_ok
    if _range_ok:
        try:
            return os.copy_file_range(source, target, count, at, at)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
            _range_ok = False
    os.lseek(target, at, os.SEEK_SET)
    return os.sendfile(target, source, at, count)
