"""Reads a layer's blob in one pass: verify, tee, inflate, verify, unpack or index. Does I/O. `content` uses it.

A result counts only once the digest and size of the blob and the digest of its tar match the image, so
that everything stored under the name of a layer really holds that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from firkin.layer.background import Background
from firkin.layer.change import Change
from firkin.layer.compress import Buffer, iter_decompressed
from firkin.layer.index import IndexWriter, index_tar
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits
from firkin.layer.stream import LayerDigests, Sink, write_tar
from firkin.layer.tar import TarReader
from firkin.layer.unpack import Unpacked, unpack_layer
from firkin.oci.descriptor import Descriptor
from firkin.oci.digest import DiffID, finish, new_hasher
from firkin.oci.media import Compression

PIECE = 256 << 10
T = TypeVar("T")


class BlobSink(Protocol):
    """Takes the blob as it comes in. Called from one other thread."""

    def write(self, data: Buffer, /) -> object: ...


def unpack_blob(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    root: str,
    blob_sink: BlobSink | None = None,
    *,
    chown: bool = True,
    observe: Callable[[Change], None] | None = None,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> tuple[Unpacked, DiffID]:
    """Unpack a layer blob while it comes in; return the result and the blob's diff_id.

    Digest and size are verified against `descriptor`, the tar against `diff_id` (None: not known).
    One thread pulls `chunks` and writes `blob_sink`; inflating and the tar's digest have a thread each;
    the caller's thread unpacks.
    Raises ValueError for a mismatch, besides all that `unpack_layer` raises; the tree must then be
    removed.
    """

    def unpack(tar: Iterable[bytes]) -> Unpacked:
        return unpack_layer(tar, root, chown=chown, strict=True, observe=observe, limits=limits)

    verified = verified_blob(chunks, descriptor, blob_sink)
    return read_tar(verified, descriptor, diff_id, unpack)


def index_blob(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    writer: IndexWriter,
    limits: UnpackLimits = UNPACK_LIMITS,
    blob_sink: BlobSink | None = None,
) -> DiffID:
    """Note every member of a layer blob in `writer`, without unpacking; return its diff_id.

    Verifies as `unpack_blob` does, and writes `blob_sink` as well. Raises ValueError; the notes and what was written
    must then be discarded.
    """
    verified = verified_blob(chunks, descriptor, blob_sink)
    return read_tar(verified, descriptor, diff_id, lambda tar: index_tar(tar, writer, limits))[1]


def measure_blob(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    blob_sink: BlobSink | None = None,
    limits: UnpackLimits = UNPACK_LIMITS,
) -> tuple[int, DiffID]:
    """Read a layer blob to its end without unpacking it; return the bytes that it unpacks to, and its diff_id.

    Verifies and writes `blob_sink` as `unpack_blob` does: so a layer that is only to be kept is checked, measured and
    kept in one pass. The size is `TarReader.unpacked_bytes`. Raises ValueError.
    """
    verified = verified_blob(chunks, descriptor, blob_sink)
    return read_tar(verified, descriptor, diff_id, lambda tar: measure_tar(tar, limits))


def measure_tar(tar: Iterable[bytes], limits: UnpackLimits = UNPACK_LIMITS) -> int:
    """Read the tar of a layer to its end; return `TarReader.unpacked_bytes`. Raises ValueError."""
    reader = TarReader(tar, limits)
    while reader.next_member() is not None:
        pass
    reader.drain()
    return reader.unpacked_bytes


def recompress_blob(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    sink: Sink,
    *,
    compression: Compression,
    level: int | None = None,
) -> LayerDigests:
    """Write the tar of a layer blob, byte for byte, as a blob of another compression.

    Verifies as `unpack_blob` does. Raises ValueError; the bytes written must then be discarded.
    """
    verified = verified_blob(chunks, descriptor)
    take = partial(write_tar, sink=sink, compression=compression, level=level)
    return read_tar(verified, descriptor, diff_id, take)[0]


def read_tar(
    chunks: Iterator[bytes],
    descriptor: Descriptor,
    diff_id: str | None,
    take: Callable[[Iterable[bytes]], T],
) -> tuple[T, DiffID]:
    """Give the inflated tar to `take`, which reads it to its end; check blob and tar against the image.

    Raises ValueError.
    """
    hasher = new_hasher()
    with Background(chunks, depth=8) as verified:
        with (
            Background(iter_decompressed(verified), depth=2) as inflated,
            Background(_hashed(inflated, hasher), depth=4) as tar,
        ):
            result = take(tar)
        # Bytes behind the last compressed stream count for the digest too.
        for _ in verified:
            pass
    found = DiffID(finish(hasher))
    if diff_id is not None and found != diff_id:
        raise ValueError(f"the layer {descriptor.digest} unpacks to {found}, but its image says {diff_id}")
    return result, found


def verified_blob(
    chunks: Iterable[bytes],
    descriptor: Descriptor,
    sink: BlobSink | None = None,
) -> Iterator[bytes]:
    """Pass the blob on in pieces of limited size; raises ValueError if it does not match the descriptor."""
    hasher = new_hasher(descriptor.digest.partition(":")[0])
    size = 0
    small: list[bytes] = []
    held = 0
    for chunk in in_pieces(chunks):
        size += len(chunk)
        if size > descriptor.size:
            raise ValueError(f"the layer {descriptor.digest} is longer than its {descriptor.size} bytes")
        small.append(chunk)
        held += len(chunk)
        if held < 128 << 10:
            continue
        piece = small[0] if len(small) == 1 else b"".join(small)
        small.clear()
        held = 0
        hasher.update(piece)
        if sink is not None:
            sink.write(piece)
        yield piece
    piece = b"".join(small)
    hasher.update(piece)
    if size != descriptor.size:
        raise ValueError(f"the layer {descriptor.digest} is cut short: {size} of {descriptor.size} bytes came")
    if finish(hasher) != descriptor.digest:
        raise ValueError(f"the layer {descriptor.digest} came damaged: its digest is {finish(hasher)}")
    if piece:
        if sink is not None:
            sink.write(piece)
        yield piece


def in_pieces(chunks: Iterable[bytes], most: int = PIECE) -> Iterator[bytes]:
    """Cut chunks of more than `most` bytes: a fast connection delivers megabytes at once, and several pieces wait in
    each queue."""
    for chunk in chunks:
        if len(chunk) <= most:
            yield chunk
        else:
            for at in range(0, len(chunk), most):
                yield chunk[at : at + most]


def _hashed(chunks: Iterable[bytes], hasher: object) -> Iterator[bytes]:
    update = hasher.update  # type: ignore[attr-defined]
    for chunk in chunks:
        update(chunk)
        yield chunk
