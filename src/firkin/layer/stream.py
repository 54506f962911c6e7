"""Writes a layer in one pass: changes, tar, sha256, deflate, sha256 and count, sink. Does I/O.

The caller's thread walks the changes and reads files straight into blocks of a small pool. Compressors
take the blocks in any order; one finisher takes them in order, feeds both digests and writes. All these
threads release the interpreter lock. A layer that fits into one block starts no thread.

Memory: the pool and its compressed blocks, whatever the layer's size. `content` and `builder` use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from firkin.layer.change import WHITEOUT_PREFIX, Change, Put, Remove, is_beneath
from firkin.layer.compress import BLOCK_BYTES, Buffer, Encoder, new_encoder
from firkin.layer.entry import TRAILER, encode_member, encode_opaque, encode_whiteout
from firkin.linux.files import open_content
from firkin.linux.sparse import iter_data
from firkin.oci.digest import DiffID, Digest, finish, new_hasher
from firkin.oci.media import Compression

_ZEROS = bytes(512)


class Sink(Protocol):
    """The target of a blob: a file opened unbuffered, a store's blob writer. Called from one other thread."""

    def write(self, data: Buffer, /) -> object:
        """Take all of the data; it may not be kept."""


class LayerDigests(msgspec.Struct, frozen=True):
    """The result of a layer: `digest` and `size` of the blob, `diff_id` and length of its tar, and
    `entries`, the number of members (whiteouts and opaque markers included). `unpacked_bytes` is what the files take
    (Entry.unpacked_bytes)."""

    diff_id: DiffID
    digest: Digest
    size: int
    uncompressed_size: int
    entries: int
    compression: Compression
    unpacked_bytes: int


def write_layer(
    changes: Iterable[Change],
    sink: Sink,
    *,
    compression: Compression = "gzip",
    level: int | None = None,
    clamp_mtime_s: int | None = None,
    threads: int = 2,
    observe: Callable[[Change], None] | None = None,
) -> LayerDigests:
    """Write the changes, in their order, as one layer blob; the same changes give the same bytes.

    `clamp_mtime_s` is the latest time that is kept (SOURCE_DATE_EPOCH). `threads` compress beside the
    caller's. `observe` sees every change as it is written (the layer index). Raises ValueError for a
    file that shrinks or grows while it is read, and for a file that a layer cannot hold; OSError.
    """
    pipe = _Pipe(sink, new_encoder(compression, level), threads)
    try:
        tar = _TarWriter(pipe)
        entries = unpacked = 0
        put, header = tar.put, tar.header
        for change in changes:
            entries += 1
            path = change.path
            if not is_beneath(path):
                raise ValueError(f"a layer cannot hold {path!r}: it leads out of the root, or is no path")
            if type(change) is Put:
                put(change, clamp_mtime_s)
                unpacked += 0 if change.link else change.entry.unpacked_bytes
            elif type(change) is Remove:
                header(encode_whiteout(path))
            else:
                header(encode_opaque(path))
            if observe is not None:
                observe(change)
        tar.data(TRAILER)
        tar.end()
        diff_id, digest, size, total = pipe.finish()
    finally:
        pipe.close()
    return LayerDigests(DiffID(diff_id), digest, size, total, entries, compression, unpacked)


def write_tar(
    chunks: Iterable[bytes],
    sink: Sink,
    *,
    compression: Compression = "gzip",
    level: int | None = None,
    threads: int = 2,
) -> LayerDigests:
    """Write a tar as it is, byte for byte, as a layer blob of another compression; its members are not counted.

    Raises what the iterator raises, and OSError.
    """
    pipe = _Pipe(sink, new_encoder(compression, level), threads)
    try:
        tar = _TarWriter(pipe)
        for chunk in chunks:
            tar.raw(chunk)
        tar.end()
        diff_id, digest, size, total = pipe.finish()
    finally:
        pipe.close()
    return LayerDigests(DiffID(diff_id), digest, size, total, 0, compression, 0)


class _TarWriter:
    """Fills blocks; everything in a tar is a multiple of 512 bytes, so a header never spans two."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._buffer = pipe.buffer()
        self._view = memoryview(self._buffer)
        self._at = 0
        self._one_more = bytearray(1)

    def put(self, change: Put, clamp_mtime_s: int | None) -> None:
        """Add a member with its content; raises ValueError for a member that a layer cannot hold."""
        path, link, entry = change.path, change.link, change.entry
        if ".wh." in path and path[path.rfind("/") + 1 :].startswith(WHITEOUT_PREFIX):
            raise ValueError(f"a layer cannot hold `{path}`: names that start with .wh. mean removals")
        if link and not is_beneath(link):
            raise ValueError(f"`{path}` is a link to {link!r}, which leads out of the root")
        self.header(encode_member(path, entry, link=link, clamp_mtime_s=clamp_mtime_s))
        if entry.kind != "file" or link:
            return
        content = change.content
        if type(content) is str:
            if entry.size:
                self.file(content, entry.size)
        elif content is None:
            if entry.size:
                raise ValueError(f"`{path}` comes without its content")
        elif len(content) == entry.size:
            self.data(content)  # type: ignore[arg-type]
        else:
            raise ValueError(f"`{path}` has {len(content)} bytes and should have {entry.size}")

    def header(self, header: bytes) -> None:
        at = self._at
        if len(header) == 512 and at < BLOCK_BYTES:
            self._buffer[at : at + 512] = header
            self._at = at + 512
        else:
            self.data(header)

    def data(self, data: bytes) -> None:
        """Add bytes and their padding."""
        self.raw(data)
        self._pad(len(data))

    def raw(self, data: bytes) -> None:
        """Add bytes."""
        start, size = 0, len(data)
        while start < size:
            if self._at == BLOCK_BYTES:
                self._turn()
            step = min(size - start, BLOCK_BYTES - self._at)
            self._buffer[self._at : self._at + step] = data[start : start + step]
            self._at += step
            start += step

    def file(self, path: str, size: int) -> None:
        """Add the content of a file that must have `size` bytes, and its padding; holes are not read."""
        fd = open_content(path)
        try:
            if size < BLOCK_BYTES:
                self._read(fd, path, size)
            else:
                done = 0
                for start, end in iter_data(fd, size):
                    self._zeros(start - done)
                    os.lseek(fd, start, os.SEEK_SET)
                    self._read(fd, path, end - start, last=end == size)
                    done = end
                if done < size:
                    if os.fstat(fd).st_size != size:
                        raise ValueError(f"`{path}` changed while it was read")
                    self._zeros(size - done)
        finally:
            os.close(fd)
        self._pad(size)

    def _read(self, fd: int, path: str, left: int, *, last: bool = True) -> None:
        while left:
            at = self._at
            if at == BLOCK_BYTES:
                self._turn()
                at = 0
            room = BLOCK_BYTES - at
            if left <= room:
                # One byte more shows, without another call, whether the file has grown.
                got = os.readv(fd, (self._view[at : at + left], self._one_more))
                if got > left:
                    if last:
                        raise ValueError(f"`{path}` grew while it was read")
                    got = left
            else:
                got = os.readv(fd, (self._view[at:],))
            if got == 0:
                raise ValueError(f"`{path}` shrank while it was read")
            self._at = at + got
            left -= got

    def _zeros(self, count: int) -> None:
        while count:
            if self._at == BLOCK_BYTES:
                self._turn()
            if not self._at and count >= BLOCK_BYTES:
                self._pipe.submit_zeros(self._buffer)
                self._buffer = self._pipe.buffer()
                self._view = memoryview(self._buffer)
                count -= BLOCK_BYTES
                continue
            step = min(count, BLOCK_BYTES - self._at)
            self._buffer[self._at : self._at + step] = bytes(step)
            self._at += step
            count -= step

    def end(self) -> None:
        """Hand over the last, partial block."""
        self._pipe.submit(self._buffer, self._at, last=True)

    def _pad(self, size: int) -> None:
        pad = -size % 512
        if pad:
            at = self._at
            self._buffer[at : at + pad] = _ZEROS[:pad]
            self._at = at + pad

    def _turn(self) -> None:
        self._pipe.submit(self._buffer, self._at)
        self._buffer = self._pipe.buffer()
        self._view = memoryview(self._buffer)
        self._at = 0


class _Slot:
    """A block on its way: `data` to compress, then `result`, ready when `lock` is free."""

    __slots__ = ("buffer", "data", "lock", "result")

    def __init__(self, buffer: bytearray, data: memoryview) -> None:
        import _thread

        self.buffer = buffer
        self.data = data
        self.result: Buffer = b""
        self.lock = _thread.allocate_lock()
        self.lock.acquire()


class _Pipe:
    """The compressors and the finisher, started with the second block."""

    def __init__(self, sink: Sink, encoder: Encoder, threads: int) -> None:
        from queue import SimpleQueue

        self._sink = sink
        self._encoder = encoder
        self._plain = encoder.compression == "none"
        self._compressors = 0 if self._plain else max(1, threads)
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        self._made = 0
        self._most = 3 + 2 * self._compressors
        self._work: SimpleQueue[_Slot | None] = SimpleQueue()
        self._ordered: SimpleQueue[_Slot | None] = SimpleQueue()
        self._threads: list[object] = []
        self._failure: BaseException | None = None
        self._tar = new_hasher()
        self._blob = new_hasher()
        self._total = 0
        self._size = 0
        self._started = False
        self._zeros: bytes = b""
        self._compressed_zeros: Buffer = b""

    def buffer(self) -> bytearray:
        """Return a free block; waits for one once the pool has its full size."""
        if self._made < self._most and self._free.empty():
            self._made += 1
            return bytearray(BLOCK_BYTES)
        return self._free.get()

    def submit(self, buffer: bytearray, length: int, *, last: bool = False) -> None:
        """Send a block on; raises the error of a thread that has failed."""
        if self._failure is not None:
            raise self._failure
        data = memoryview(buffer)[:length]
        if not self._started:
            self._write(self._encoder.header)
            if last:
                if length:
                    self._finish_block(data, self._encoder.compress(data))
                return
            self._start()
        if length:
            slot = _Slot(buffer, data)
            if self._plain:
                slot.result = data
                slot.lock.release()
            else:
                self._work.put(slot)
            self._ordered.put(slot)

    def submit_zeros(self, buffer: bytearray) -> None:
        """Send on a block of zeros in the place of `buffer`; all share one compressed block."""
        if self._failure is not None:
            raise self._failure
        if not self._started:
            self._write(self._encoder.header)
            self._start()
        if not self._zeros:
            self._zeros = bytes(BLOCK_BYTES)
            self._compressed_zeros = self._zeros if self._plain else self._encoder.compress(memoryview(self._zeros))
        slot = _Slot(buffer, memoryview(self._zeros))
        slot.result = self._compressed_zeros
        slot.lock.release()
        self._ordered.put(slot)

    def finish(self) -> tuple[Digest, Digest, int, int]:
        """Wait for all blocks; return diff_id, digest, size and length of the tar."""
        self.close()
        if self._failure is not None:
            raise self._failure
        self._write(self._encoder.trailer())
        diff_id = finish(self._tar)
        return diff_id, diff_id if self._plain else finish(self._blob), self._size, self._total

    def close(self) -> None:
        """End the threads after they have finished the submitted blocks."""
        if self._threads:
            for _ in range(self._compressors):
                self._work.put(None)
            self._ordered.put(None)
            for thread in self._threads:
                thread.join()  # type: ignore[attr-defined]
            self._threads = []

    def _start(self) -> None:
        from threading import Thread

        self._started = True
        targets = [self._compress] * self._compressors + [self._finish]
        for target in targets:
            thread = Thread(target=target, name="firkin-layer", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _compress(self) -> None:
        compress = self._encoder.compress
        while (slot := self._work.get()) is not None:
            try:
                slot.result = compress(slot.data)
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                self._failure = self._failure or error
            finally:
                slot.lock.release()

    def _finish(self) -> None:
        while (slot := self._ordered.get()) is not None:
            if self._failure is None:
                try:
                    # The digest of the tar first: meanwhile the block is being compressed.
                    self._note(slot.data)
                    slot.lock.acquire()
                    self._write(slot.result)
                except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                    self._failure = error
            self._free.put(slot.buffer)

    def _note(self, data: memoryview) -> None:
        self._tar.update(data)
        self._total += len(data)
        self._encoder.update(data)

    def _finish_block(self, data: memoryview, result: Buffer) -> None:
        self._note(data)
        self._write(result)

    def _write(self, data: Buffer) -> None:
        if len(data):
            if not self._plain:
                self._blob.update(data)
            self._size += len(data)
            self._sink.write(data)
