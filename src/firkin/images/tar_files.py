"""The files of a tar in any order: where each of them is, noted in one pass over its headers. Does I/O.

A compressed tar is inflated once, into a file without a name in scratch space: to find a member in it otherwise means
to inflate all that is before it, each time.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

from firkin.images.archive_names import MOST_FILES, ArchiveNames
from firkin.images.intake import limited
from firkin.layer.compress import MAGIC_BYTES, detect_format, iter_decompressed
from firkin.layer.entry import padding
from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import TarReader, too_many_entries
from firkin.linux.files import open_named

_CHUNK = 1 << 20
_HEADER = 4096


class _Span(NamedTuple):
    offset: int
    size: int


class TarFiles:
    """The files of a tar. Its readers are independent, and stay usable when it is closed.

    `scratch` returns a directory for a compressed tar; `check` is called often, and may raise. Raises ValueError for a
    damaged archive, for names and links that lead out of it, and for a name with two contents; OSError.
    """

    def __init__(
        self, path: str, scratch: Callable[[], str], limits: UnpackLimits, check: Callable[[], None]
    ) -> None:
        self._limits = limits
        self._check = check
        self._fd = open_named(path)
        try:
            if detect_format(os.pread(self._fd, MAGIC_BYTES, 0)) != "none":
                packed, self._fd = self._fd, self._inflated(scratch())
                os.close(packed)
            self._names = ArchiveNames(self._is_same)
            self._list()
        except BaseException:
            self.close()
            raise

    def open(self, name: str) -> BinaryIO | None:
        """Open a file from its start; return None if it does not exist. Raises ValueError for a name that leads out."""
        span = self._names.find(name)
        return None if span is None else cast(BinaryIO, io.BufferedReader(_Reader(os.dup(self._fd), span), _CHUNK))

    def close(self) -> None:
        """Close the tar; what was inflated vanishes with its last reader."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _inflated(self, directory: str) -> int:
        """Return the descriptor of a file with the tar inflated."""
        from tempfile import TemporaryFile

        with TemporaryFile(dir=directory, buffering=0) as file:
            pieces = iter_decompressed(self._pieces(0, _CHUNK))
            for piece in limited(pieces, self._limits, "an archive"):
                self._check()
                left = memoryview(piece)
                while left:
                    left = left[file.write(left) :]
            return os.dup(file.fileno())

    def _list(self) -> None:
        """Note every member. A reader for each: so the contents between the headers are passed over."""
        at, count, end = 0, 0, os.fstat(self._fd).st_size
        while True:
            reader = TarReader(self._pieces(at, _HEADER), self._limits)
            member = reader.next_member()
            if member is None:
                return
            count += 1
            if count > MOST_FILES:
                raise too_many_entries(UnpackLimits(entries=MOST_FILES), "an archive")
            span = _Span(at + reader.offset, member.stored)
            at = span.offset + span.size + padding(span.size)
            if at > end:
                raise ValueError("the archive ends in the middle of a file")
            self._names.add(member, lambda name, span=span: span)  # type: ignore[misc]

    def _pieces(self, offset: int, size: int) -> Iterator[bytes]:
        while piece := os.pread(self._fd, size, offset):
            self._check()
            yield piece
            offset += len(piece)

    def _is_same(self, one: _Span, two: _Span) -> bool:
        if one == two:
            return True
        if one.size != two.size:
            return False
        for at in range(0, one.size, _CHUNK):
            self._check()
            size = min(_CHUNK, one.size - at)
            if os.pread(self._fd, size, one.offset + at) != os.pread(self._fd, size, two.offset + at):
                return False
        return True


class _Reader(io.RawIOBase):
    """A part of a file, with a descriptor of its own; where others are in the file does not matter to it."""

    def __init__(self, fd: int, span: _Span) -> None:
        self._fd = fd
        self._span = span
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._span.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        left = max(0, self._span.size - self._at)
        count = os.preadv(self._fd, [memoryview(buffer)[:left]], self._span.offset + self._at) if left else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
