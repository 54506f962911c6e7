"""The bytes of a blob on their way: verified chunks of a file, and a reader over chunks for who wants a file. Does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

from firkin.errors import ContextError
from firkin.images.copy.ends import Chunks, Moved
from firkin.layer.background import Background
from firkin.layer.blob import in_pieces
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import finish, new_hasher
from firkin.tasks.cancel import Cancel

_PIECE = 512 << 10
_AHEAD = 6  # pieces that a reader keeps ready
_SMALL = 1 << 20


class FileChunks:
    """A blob in a file; `what` names the file in errors, which are ContextError (`blob-damaged`)."""

    def __init__(self, file: BinaryIO, blob: Descriptor, what: str) -> None:
        self._file = file
        self._blob = blob
        self._what = what

    def __iter__(self) -> Iterator[bytes]:
        wanted = self._blob
        hasher = new_hasher(wanted.digest.partition(":")[0])
        size = 0
        while size < wanted.size:
            chunk = self._file.read(min(_PIECE, wanted.size - size))
            if not chunk:
                raise self._error(f"has {size} bytes instead of {wanted.size}")
            hasher.update(chunk)
            size += len(chunk)
            if size == wanted.size:
                if self._file.read(1):
                    raise self._error(f"has more than {wanted.size} bytes")
                self._check(hasher)
            yield chunk
        if not wanted.size:
            self._check(hasher)

    def _check(self, hasher: object) -> None:
        found = finish(hasher)  # type: ignore[arg-type]
        if found != self._blob.digest:
            raise self._error(f"has digest `{found}`")

    def _error(self, why: str) -> ContextError:
        return ContextError(f"blob {self._blob.digest} in {self._what} is damaged: it {why}", code="copy-damaged")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BlobReader:
    """Reads verified chunks as a file is read. A large blob is read ahead, in a thread.

    The blob is opened at once, so that one that is not there fails here; going back opens it again. `moved` gets the
    count of bytes; `cancel` ends the reading.
    """

    def __init__(self, open: Callable[[], Chunks], size: int, cancel: Cancel, moved: Moved | None = None) -> None:
        self._open = open
        self._size = size
        self._cancel = cancel
        self._moved = moved
        self._chunks: Chunks | None = None
        self._ahead: Background[bytes] | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._at = 0
        self._start()

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        self._cancel.check()
        if self._chunks is None:
            self._start()
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        data = self._rest[:size] if size >= 0 else self._rest
        self._rest = self._rest[len(data) :]
        self._at += len(data)
        if self._moved is not None:
            self._moved(self._at)
        return bytes(data)

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start: what is before it is read, and verified, again."""
        if offset < self._at:
            self.close()
            self._at = 0
        moved, self._moved = self._moved, None
        while self._at < offset and self.read(offset - self._at):
            pass
        self._moved = moved
        return self._at

    def close(self) -> None:
        """Stop reading ahead and release the source."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.__exit__(None, None, None)
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            chunks.close()
        self._pieces, self._rest = iter(()), memoryview(b"")

    def _start(self) -> None:
        self._chunks = self._open()
        if self._size <= _SMALL:
            self._pieces = iter(self._chunks)
            return
        self._ahead = Background(in_pieces(self._chunks, _PIECE), _AHEAD).__enter__()
        self._pieces = iter(self._ahead)
