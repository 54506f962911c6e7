"""Compression of streams, out and in. Pure. It computes over iterators; `layer`, `registry` and `builder` import it.

Out: a stream is cut into blocks of BLOCK_BYTES that are compressed independently of each other: gzip
as one member (deflate blocks end at a byte, as with `pigz -i`), zstd as one frame a block, as
`pzstd` and zstd:chunked do. The bytes therefore depend on the stream, the format and the level only,
never on the number of threads nor on the sizes of reads.
In: every piece that comes out is bounded, whatever comes in, so that a small file cannot fill memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

from firkin.oci.media import Compression

Buffer = bytes | bytearray | memoryview
BLOCK_BYTES = 1 << 20
Format = Literal["none", "gzip", "zstd", "bzip2", "xz"]

_PIECE_IN = 128 << 10
_PIECE_OUT = 1 << 20
_XZ_MEMORY = 256 << 20
_ZSTD_WINDOW = 128 << 20

_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
MAGIC_BYTES = 6
"""How many bytes `detect_format` needs."""


def detect_format(start: bytes) -> Format:
    """Return the compression that a file's first bytes show; "none" if they show none."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    # A skippable frame may stand before the first one.
    if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:
        return "zstd"
    return "none"


class Encoder:
    """How to write one format: header, then `compress` of each block (any thread, any order), then trailer.

    `update` is fed with every block in order, before `trailer` is asked.
    """

    compression: Compression = "none"
    header: bytes = b""

    def compress(self, block: Buffer) -> Buffer:
        """Return the block compressed, by itself."""
        return block

    def update(self, block: Buffer) -> None:
        """Note the next block for the trailer."""

    def trailer(self) -> bytes:
        """Return what ends the stream."""
        return b""


class _GzipEncoder(Encoder):
    compression: Compression = "gzip"
    # No name, no time, unknown system: nothing that could differ. Spec: RFC 1952, 2.3.
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

    def __init__(self, level: int | None) -> None:
        level = 2 if level is None else level
        if not 0 <= level <= 9:
            raise ValueError(f"a gzip level is 0 to 9, not {level}")
        from isal import isal_zlib

        self._checksum: Any = isal_zlib.crc32
        self._crc = 0
        self._size = 0
        if 1 <= level <= 3:
            fast = isal_zlib.compressobj
            self._make: Callable[[], Any] = lambda: fast(level, isal_zlib.DEFLATED, -15)
        else:
            # ISA-L has no level 0 (stored) and none above 3, which ask for small files at the cost of time.
            import zlib

            self._make = lambda: zlib.compressobj(level, zlib.DEFLATED, -15)

    def compress(self, block: Buffer) -> Buffer:
        deflater = self._make()
        data: bytes = deflater.compress(block)
        return data + bytes(deflater.flush(2))  # Z_SYNC_FLUSH: ends at a byte, is not the last block

    def update(self, block: Buffer) -> None:
        self._crc = self._checksum(block, self._crc)
        self._size += memoryview(block).nbytes

    def trailer(self) -> bytes:
        # An empty last block, then CRC and length.
        return b"\x03\x00" + self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")


class _ZstdEncoder(Encoder):
    compression: Compression = "zstd"

    def __init__(self, level: int | None) -> None:
        level = 3 if level is None else level
        if not 1 <= level <= 22:
            raise ValueError(f"a zstd level is 1 to 22, not {level}")
        import threading

        import zstandard

        self._level = level
        self._kept = threading.local()  # a compressor belongs to one thread
        self._new: Callable[[], Any] = lambda: zstandard.ZstdCompressor(level=level, write_checksum=True)

    def compress(self, block: Buffer) -> Buffer:
        try:
            compressor = self._kept.compressor
        except AttributeError:
            compressor = self._kept.compressor = self._new()
        data: bytes = compressor.compress(block)
        return data


def new_encoder(compression: Compression, level: int | None = None) -> Encoder:
    """Return an encoder; level None is the format's default (gzip 2, zstd 3). Raises ValueError for a bad level."""
    if compression == "gzip":
        return _GzipEncoder(level)
    if compression == "zstd":
        return _ZstdEncoder(level)
    return Encoder()


def compress_bytes(data: bytes, encoder: Encoder) -> bytes:
    """Return a short stream compressed, the same bytes that `stream.write_layer` makes of it."""
    pieces: list[Buffer] = [encoder.header]
    for start in range(0, len(data), BLOCK_BYTES):
        block = memoryview(data)[start : start + BLOCK_BYTES]
        encoder.update(block)
        pieces.append(encoder.compress(block))
    return b"".join((*pieces, encoder.trailer()))


# --- reading -----------------------------------------------------------------------------------------------------


def iter_decompressed(chunks: Iterable[bytes], compression: Format | None = None) -> Iterator[bytes]:
    """Yield the stream decompressed, in pieces of at most 1 MiB; None takes the format from the first bytes.

    Several gzip members, zstd frames, bzip2 or xz streams in a row are one stream. Raises ValueError for
    a damaged or truncated stream.
    """
    source = iter(chunks)
    if compression is None:
        start = b""
        for chunk in source:
            start += chunk
            if len(start) >= MAGIC_BYTES:
                break
        compression = detect_format(start)
        source = _chain(start, source)
    if compression == "none":
        return source
    if compression == "zstd":
        return _iter_zstd(source)
    return _iter_inflated(source, compression)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


class _Inflater(Protocol):
    """What isal, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _inflaters(compression: Format) -> tuple[Callable[[], _Inflater], tuple[type[Exception], ...]]:
    """Return a function that makes an inflater for the next stream, and the errors that it raises."""
    if compression == "gzip":
        from isal import igzip_lib

        error: Any = igzip_lib.error
        return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (error, EOFError)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2Decompressor, (OSError, EOFError)
    import lzma

    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), (lzma.LZMAError, EOFError)


def import_inflaters() -> None:
    """Load the libraries of all formats, for a process that will not find them later."""
    import bz2  # noqa: F401
    import lzma  # noqa: F401

    import zstandard  # noqa: F401
    from isal import igzip_lib  # noqa: F401


def _iter_inflated(source: Iterator[bytes], compression: Format) -> Iterator[bytes]:
    new, failures = _inflaters(compression)
    inflater = new()
    fresh = True  # nothing of the present stream has been seen
    empty = True
    try:
        for chunk in source:
            for at in range(0, len(chunk), _PIECE_IN):
                piece = chunk[at : at + _PIECE_IN]
                while piece or not inflater.needs_input:
                    if fresh and not (piece := piece.lstrip(b"\0")):
                        break  # zeros may pad the end, as on tapes; gzip allows it
                    fresh = empty = False
                    data = inflater.decompress(piece, _PIECE_OUT)
                    piece = b""
                    if data:
                        yield data
                    if inflater.eof:
                        piece = inflater.unused_data
                        inflater = new()
                        fresh = True
    except failures as error:
        raise ValueError(f"the {compression} stream is damaged: {error}") from None
    if empty or not fresh:
        raise ValueError(f"the {compression} stream is cut short")


class _Source:
    """Gives zstandard the `read` that it needs, over an iterator; zstandard accepts short reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        piece = self._chunk[self._at : self._at + size]
        self._at += len(piece)
        return piece


def _iter_zstd(source: Iterator[bytes]) -> Iterator[bytes]:
    # The library does not distinguish a truncated stream from a complete one; the tar reader and the
    # digests do.
    import zstandard

    pull: Any = _Source(source)
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        pull, read_size=_PIECE_IN, read_across_frames=True
    )
    while True:
        try:
            data = reader.read(_PIECE_OUT)
        except zstandard.ZstdError as error:
            raise ValueError(f"the zstd stream is damaged: {error}") from None
        if not data:
            return
        yield data
