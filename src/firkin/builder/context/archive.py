"""Reads archives as members, with their contents in memory or scratch files: for ADD and for tar contexts. Does I/O.

Solve and other contexts import it. An archive is recognised by its content: gzip, bzip2, xz, zstd or
plain, then a tar header. Mirrors: moby/go-archive DecompressStream, buildkit isArchivePath.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from firkin.builder.context.views import Member
from firkin.errors import ContextError
from firkin.layer.change import Content, Entry
from firkin.layer.compress import MAGIC_BYTES, detect_format, iter_decompressed
from firkin.layer.entry import BLOCK, parse_header
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.tar import LimitReached, TarReader
from firkin.layer.tar import Member as TarMember

_PIECE = 1 << 20
_SMALL = 4096
_HELD = 8 << 20

Scratch = Callable[[str], str]
"""Returns a new path whose name begins with the given text; files made there live as long as the build."""


class ArchiveOpener:
    """Opens archives that ADD may unpack; contents go to files below a scratch path, small ones stay in memory."""

    __slots__ = ("_limits", "_scratch")

    def __init__(self, scratch: Scratch, limits: UnpackLimits = UNPACK_LIMITS) -> None:
        self._scratch = scratch
        self._limits = limits

    def __call__(self, content: Content) -> Iterator[Member] | None:
        """Return the members, or None if the content is not an archive (or an empty one).

        The iterator raises ValueError for a damaged archive.
        """
        try:
            if TarReader(iter_decompressed(_chunks(content)), self._limits).next_member() is None:
                return None
        except LimitReached:
            pass  # it is an archive; `read_members` will raise this error again
        except ValueError:
            return None
        return read_members(_chunks(content), self._scratch, self._limits)


def read_members(
    chunks: Iterable[bytes], scratch: Scratch, limits: UnpackLimits = UNPACK_LIMITS
) -> Iterator[Member]:
    """Yield the members of a tar stream of any compression; raises ValueError for a damaged one."""
    reader = TarReader(iter_decompressed(chunks), limits)
    spool = _Spool(scratch)
    while (member := reader.next_member()) is not None:
        entry = _kept(member.entry)
        if member.is_link:
            yield Member(member.name, entry, None, member.link)
        elif entry.kind == "file":
            yield Member(member.name, entry, spool.keep(reader, member))
        else:
            yield Member(member.name, entry)


def is_archive(start: bytes) -> bool:
    """Say whether the first 512 bytes of a stream are those of a tar, or of any compression."""
    if detect_format(start[:MAGIC_BYTES]) != "none":
        return True
    if len(start) < BLOCK or not start[:BLOCK].strip(b"\0"):
        return False
    try:
        parse_header(start[:BLOCK])
    except ValueError:
        return False
    return True


def _kept(entry: Entry) -> Entry:
    """Remove extended attributes that BuildKit's layers do not have."""
    if not entry.xattrs:
        return entry
    import msgspec

    kept = tuple(pair for pair in entry.xattrs if pair[0] == "security.capability")
    return msgspec.structs.replace(entry, xattrs=kept)


class _Spool:
    """Contents of one archive, in memory or in files."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._directory = ""
        self._count = 0
        self._held = 0

    def keep(self, reader: TarReader, member: TarMember) -> Content:
        """Read the content of the current member; return it, or the path of the file that holds it."""
        if member.sparse is None and member.stored <= _SMALL and self._held < _HELD:
            self._held += member.stored
            return b"".join(bytes(piece) for piece in reader.content())
        if not self._directory:
            self._directory = self._scratch("archive")
            os.mkdir(self._directory, 0o700)
        self._count += 1
        path = f"{self._directory}/{self._count}"
        with open(path, "xb", buffering=0) as file:
            if member.sparse is None:
                for piece in reader.content():
                    _write(file.fileno(), piece)
            else:
                _write_sparse(file.fileno(), reader, member.sparse, member.entry.size)
        return path


def _write(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _write_sparse(descriptor: int, reader: TarReader, pieces: tuple[tuple[int, int], ...], size: int) -> None:
    """Write the stored pieces at their offsets; everything else becomes holes."""
    os.ftruncate(descriptor, size)
    places = iter(pieces)
    left = 0
    for stored in reader.content():
        piece = stored
        while piece:
            while not left:
                offset, left = next(places)
                os.lseek(descriptor, offset, os.SEEK_SET)
            part = piece[:left]
            _write(descriptor, part)
            left -= len(part)
            piece = piece[len(part) :]


def _chunks(content: Content) -> Iterator[bytes]:
    return iter((content,)) if isinstance(content, bytes) else file_chunks(content, follow=False)


def file_chunks(path: str, *, follow: bool = True) -> Iterator[bytes]:
    """Yield a file's bytes in pieces; raises ContextError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ContextError(f"cannot read {path}: {why}", code="context-unreadable") from error
    with open(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(_PIECE):
            yield chunk
