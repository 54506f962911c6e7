"""Takes the files of an image archive into a store's scratch space, each read once. Does I/O.

An archive on a pipe can be read only once, and the documents that say what its files are may come last. So each file
is written to scratch space as it comes. Meanwhile its digest is computed, and that of its content if it is compressed.
A file gets its place among the blobs only when `load.py` has verified everything; what is left in scratch space
vanishes with the process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

from firkin.images.archive_names import MOST_FILES, ArchiveNames
from firkin.layer.background import Background
from firkin.layer.blob import measure_tar
from firkin.layer.compress import MAGIC_BYTES, Format, detect_format, iter_decompressed
from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import Member, TarReader, clean_name, too_many_bytes
from firkin.linux.beneath import Beneath
from firkin.oci.codec import MAX_DOCUMENT_BYTES
from firkin.oci.digest import Digest, finish, new_hasher
from firkin.store.blobs import BlobWriter
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel

_CHUNK = 1 << 20
_SMALL = 1 << 18

Meter = Callable[[str, int], Callable[[int], None]]
"""Takes a file's name and size; returns a function that takes how many of its bytes were read so far."""


class Part(NamedTuple):
    """A file of an archive, in scratch space.

    `diff_id` is the digest of its content when decompressed; "" with `failure` if it cannot be decompressed.
    `unpacked` is what that content unpacks to as the tar of a layer; None if it is no tar.
    """

    name: str
    digest: Digest
    size: int
    form: Format
    diff_id: str
    failure: ValueError | None
    unpacked: int | None
    writer: BlobWriter

    def read(self) -> bytes:
        """Return the bytes of a document; raises ValueError if it is too large for one."""
        if self.size > MAX_DOCUMENT_BYTES:
            raise ValueError(f"`{self.name}` has {self.size} bytes, too many for a document")
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes."""
        with self.writer.reopen() as file:
            while chunk := file.read(_CHUNK):
                yield chunk


class _Content(NamedTuple):
    form: Format
    diff_id: str = ""
    failure: ValueError | None = None
    unpacked: int | None = None


class Parts(Protocol):
    """The files of an archive."""

    def find(self, name: str) -> Part | None:
        """Return a file by its name, links followed; None if there is none. Raises ValueError for a name that leads
        out of the archive."""

    def close(self) -> None:
        """Drop every file that was not committed."""


class Intake:
    """Writes files to scratch space, one after the other."""

    def __init__(self, store: Store, limits: UnpackLimits, cancel: Cancel, meter: Meter) -> None:
        self.limits = limits
        self._store = store
        self._cancel = cancel
        self._meter = meter
        self._writers: list[BlobWriter] = []

    def new_blob(self) -> BlobWriter:
        """Start a blob that is dropped in the end unless it is committed. Raises StoreError."""
        writer = self._store.blobs.new()
        self._writers.append(writer)
        return writer

    def take(self, name: str, size: int, pieces: Iterable[bytes]) -> Part:
        """Take one file in; raises what the iterator raises, and StoreError."""
        writer = self.new_blob()
        moved = self._meter(name, size)
        raw = new_hasher()

        def written() -> Iterator[bytes]:
            for piece in _torn(pieces):
                self._cancel.check()
                writer.write(piece)
                moved(writer.size)
                yield piece

        def hashed(chunks: Iterable[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                raw.update(chunk)
                yield chunk

        try:
            content = self._read(size, written(), hashed)
        except _Torn as torn:
            raise torn.cause from torn.cause.__cause__
        writer.end()
        digest = finish(raw)
        diff_id = digest if content.form == "none" else content.diff_id
        return Part(name, digest, writer.size, content.form, diff_id, content.failure, content.unpacked, writer)

    def _read(
        self, size: int, written: Iterator[bytes], hashed: Callable[[Iterable[bytes]], Iterator[bytes]]
    ) -> _Content:
        if size <= _SMALL:
            return self._content(hashed(written))
        with Background(written, depth=4) as ahead:
            start, chunks = begin(ahead)
            if detect_format(start) == "none":
                return self._content(hashed(chunks))
            with Background(hashed(chunks), depth=4) as raw:
                return self._content(iter(raw), background=True)

    def _content(self, chunks: Iterator[bytes], *, background: bool = False) -> _Content:
        """Read to the end: compression, digest and size of the content, or why it cannot be decompressed."""
        start, chunks = begin(chunks)
        form = detect_format(start)
        if form == "none":
            return _Content(form, unpacked=self._measure(chunks))
        inflated = limited(iter_decompressed(chunks, form), self.limits, "a layer")
        if background:
            with Background(inflated, depth=2) as ready:
                content = self._inflated(form, ready)
        else:
            content = self._inflated(form, inflated)
        for _ in chunks:
            pass
        return content

    def _inflated(self, form: Format, pieces: Iterable[bytes]) -> _Content:
        hasher = new_hasher()
        failed: list[ValueError] = []

        def hashed() -> Iterator[bytes]:
            try:
                for piece in pieces:
                    hasher.update(piece)
                    yield piece
            except ValueError as error:
                failed.append(error)

        unpacked = self._measure(hashed())
        return _Content(form, failure=failed[0]) if failed else _Content(form, finish(hasher), None, unpacked)

    def _measure(self, chunks: Iterator[bytes]) -> int | None:
        """Read to the end; return what it unpacks to as the tar of a layer, None if it is no tar."""
        try:
            return measure_tar(chunks, self.limits)
        except ValueError:
            for _ in chunks:
                pass
            return None

    def close(self) -> None:
        """Drop every file that was not committed."""
        for writer in self._writers:
            writer.abort()


class _Torn(Exception):
    """The archive itself ended or failed: unlike a file in it that cannot be decompressed, this ends everything."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _torn(pieces: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except Exception as error:
        raise _Torn(error) from error


def limited(pieces: Iterable[bytes], limits: UnpackLimits, what: str) -> Iterator[bytes]:
    """Pass bytes on up to the limit of size; raises LimitReached beyond it. `what` has these bytes."""
    done, most = 0, limits.size_bytes
    for piece in pieces:
        done += len(piece)
        if most and done > most:
            raise too_many_bytes(limits, what)
        yield piece


def begin(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, and all chunks again."""
    source = iter(chunks)
    start = b""
    for chunk in source:
        start += chunk
        if len(start) >= MAGIC_BYTES:
            break

    def again() -> Iterator[bytes]:
        if start:
            yield start
        yield from source

    return start, again()


class TarParts:
    """The files of a tar, compressed or not, that comes as an iterator and is read at once.

    Raises ValueError for a damaged archive, for names and links that lead out of it, and for a name with two contents.
    """

    def __init__(self, intake: Intake, chunks: Iterable[bytes]) -> None:
        self._intake = intake
        self._names = ArchiveNames[Part](lambda one, two: one.digest == two.digest)
        entries = min(intake.limits.entries or MOST_FILES, MOST_FILES)
        limits = UnpackLimits(intake.limits.size_bytes, entries)
        try:
            with Background(iter_decompressed(chunks), depth=4) as ahead:
                reader = TarReader(ahead, limits)
                while (member := reader.next_member()) is not None:
                    self._names.add(member, partial(self._take, reader, member))
                reader.drain()
        except BaseException:
            intake.close()
            raise

    def _take(self, reader: TarReader, member: Member, name: str) -> Part:
        return self._intake.take(name, member.stored, map(bytes, reader.content()))

    def find(self, name: str) -> Part | None:
        """Return a file by its name, links followed; None if there is none. Raises ValueError."""
        return self._names.find(name)

    def close(self) -> None:
        """Drop every file that was not committed."""
        self._intake.close()


class DirectoryParts:
    """The files of a directory, an unpacked archive or a layout; each is taken in when it is asked for.

    Somebody else may have made the directory: no name and no link in it leads out of it.
    """

    def __init__(self, intake: Intake, path: str) -> None:
        self._intake = intake
        self._root = Beneath(path)
        self._known: dict[str, Part | None] = {}

    def find(self, name: str) -> Part | None:
        """Return a file by its name; None if there is none. Raises ValueError for a name that leads out, OSError."""
        name = clean_name(name, strict=True)
        if name not in self._known:
            self._known[name] = self._take(name)
        return self._known[name]

    def _take(self, name: str) -> Part | None:
        try:
            fd = self._root.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(fd, "rb", buffering=0) as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                return None
            if self._intake.limits.size_bytes and facts.st_size > self._intake.limits.size_bytes:
                raise too_many_bytes(self._intake.limits, "a file of an archive")
            return self._intake.take(name, facts.st_size, iter(lambda: file.read(_CHUNK), b""))

    def close(self) -> None:
        """Drop every file that was not committed."""
        self._root.__exit__()
        self._intake.close()
