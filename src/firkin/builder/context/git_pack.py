"""One pack of git objects in a file: its ids, found by reading it once, and its objects. Does I/O.

A pack is not trusted. Whole objects are read in pieces, whatever their size. Deltas are applied in memory. git makes
no deltas for files above `core.bigFileThreshold`, and no chains longer than the maximum of `pack.depth`; a pack that
has them is refused. A `Budget` limits the number and the total size of all objects.
Only the git modules of context/ import it.
Spec: git gitformat-pack. Mirrors: git index-pack.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import zlib
from array import array
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterator
from threading import Lock
from typing import TYPE_CHECKING

from dulwich.pack import apply_delta, write_pack_index_v2

from firkin.layer.limits import UnpackLimits
from firkin.layer.tar import too_many_bytes, too_many_entries

if TYPE_CHECKING:
    from hashlib import _Hash

KIND_NAMES = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_OFFSET_DELTA, _ID_DELTA = 6, 7
MAX_DELTA_BYTES = 512 << 20  # the default of core.bigFileThreshold
_MAX_DEPTH = 4095  # the maximum of pack.depth
_PIECE = 256 << 10
_HELD = 96 << 20
_MAX_SIZE = 1 << 62
_NONE = 0xFFFFFFFF  # no object: a pack cannot have so many


class Budget:
    """Counts entries and bytes up to the limits. `what` is for the message."""

    def __init__(self, limits: UnpackLimits, what: str) -> None:
        self._limits = limits
        self._what = what
        self._entries = self._bytes = 0

    def take(self, entries: int, size_bytes: int) -> None:
        """Count entries and bytes. Raises LimitReached if there are too many."""
        self._entries += entries
        self._bytes += size_bytes
        if self._limits.entries and self._entries > self._limits.entries:
            raise too_many_entries(self._limits, self._what)
        if self._limits.size_bytes and self._bytes > self._limits.size_bytes:
            raise too_many_bytes(self._limits, self._what)


def new_hash(id_bytes: int) -> _Hash:
    """Return a new hasher for objects whose ids have so many bytes."""
    return hashlib.sha1(usedforsecurity=False) if id_bytes == 20 else hashlib.sha256()


def inflated(data: memoryview, at: int, size: int) -> Generator[bytes, None, int]:
    """Yield exactly `size` bytes in pieces, inflated from offset `at` on; return the offset after them.

    Raises ValueError, zlib.error.
    """
    stream = zlib.decompressobj()
    ended = False
    while not ended:
        waiting: memoryview | bytes = data[at : at + min(_PIECE, size + 64)]
        at += len(waiting)
        if not waiting:
            raise ValueError("an object is cut short")
        while True:
            piece = stream.decompress(waiting, min(size + 1, _PIECE))
            size -= len(piece)
            if size < 0:
                raise ValueError("an object is larger than it says")
            if piece:
                yield piece
            waiting, ended = stream.unconsumed_tail, stream.eof
            if ended or not (waiting or piece):
                break
    if size:
        raise ValueError("an object is smaller than it says")
    return at - len(stream.unused_data)


def _inflate(data: memoryview, at: int, size: int, sink: Callable[[bytes], object]) -> int:
    """Pass the `inflated` pieces to `sink`; return the offset after them. Raises ValueError, zlib.error."""
    pieces = inflated(data, at, size)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return int(end.value)
        sink(piece)


class Pack:
    """A pack at `path`, read and checked completely. Raises ValueError if it is damaged, LimitReached.

    `ids` maps the binary id of each object to its place, a number that the other methods take.
    """

    def __init__(self, path: str, id_bytes: int, budget: Budget) -> None:
        self.path = path
        self.ids: dict[bytes, int] = {}
        self._id_bytes = id_bytes
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < 12 + id_bytes:
                raise ValueError("the pack is cut short")
            self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._offsets = array("Q")
        self._starts = array("Q")  # offsets of the deflated bytes
        self._kinds = bytearray()  # of the resolved object
        self._sizes = array("Q")  # of the resolved object
        self._stated = array("Q")  # sizes of the inflated bytes: those of an object, or of a delta
        self._bases = array("I")
        self._sums = array("I")
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._held_bytes = 0
        self._lock = Lock()  # guards `_held`: steps run in parallel
        self._read_all(budget)

    @property
    def checksum(self) -> str:
        """The checksum at the end of the pack, in hexadecimal."""
        return self._data[-self._id_bytes :].hex()

    def kind(self, place: int) -> int:
        """Return the number of an object's kind."""
        return self._kinds[place]

    def size(self, place: int) -> int:
        """Return an object's size in bytes."""
        return self._sizes[place]

    def pieces(self, place: int) -> Iterator[bytes]:
        """Yield an object's content, in pieces unless it is a delta. Raises ValueError."""
        if self._bases[place] != _NONE:
            with self._lock:
                data = self._resolved(place)
            yield data
            return
        yield from inflated(self._data, self._starts[place], self._sizes[place])

    def write_index(self, path: str) -> None:
        """Write the `.idx` that git needs beside the pack."""
        entries = [(sha, self._offsets[place], self._sums[place]) for sha, place in sorted(self.ids.items())]
        with open(path, "wb") as file:
            write_pack_index_v2(file, entries, bytes(self._data[-self._id_bytes :]))

    # reading through

    def _read_all(self, budget: Budget) -> None:
        data = self._data
        count = int.from_bytes(data[8:12], "big")
        if bytes(data[:4]) != b"PACK" or int.from_bytes(data[4:8], "big") not in (2, 3):
            raise ValueError("what the server sent is no pack")
        hasher = new_hash(self._id_bytes)
        for start in range(0, len(data) - self._id_bytes, _PIECE):
            hasher.update(data[start : min(start + _PIECE, len(data) - self._id_bytes)])
        if hasher.digest() != data[-self._id_bytes :]:
            raise ValueError("the pack has another checksum than it says")
        by_base: defaultdict[int, list[int]] = defaultdict(list)
        by_id: defaultdict[bytes, list[int]] = defaultdict(list)
        at = 12
        for place in range(count):
            at = self._read_one(place, at, budget, by_base, by_id)
        if at != len(data) - self._id_bytes:
            raise ValueError("the pack has more than its objects")
        self._resolve_all(budget, by_base, by_id)

    def _read_one(
        self, place: int, at: int, budget: Budget, by_base: dict[int, list[int]], by_id: dict[bytes, list[int]]
    ) -> int:
        """Record the object at offset `at`, with its id if it is whole; return the offset after it."""
        data, start = self._data, at
        byte = data[at]
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 128 and shift < 64:
            at += 1
            byte = data[at]
            size |= (byte & 127) << shift
            shift += 7
        at += 1
        if size > _MAX_SIZE:
            raise ValueError("an object's size is no number")
        base = _NONE
        if kind == _OFFSET_DELTA:
            byte = data[at]
            back = byte & 127
            while byte & 128 and back <= start:
                at += 1
                byte = data[at]
                back = (back + 1) << 7 | byte & 127
            at += 1
            base = bisect_left(self._offsets, start - back)
            if base >= place or self._offsets[base] != start - back:
                raise ValueError("a difference is to no object")
            by_base[base].append(place)
        elif kind == _ID_DELTA:
            by_id[bytes(data[at : at + self._id_bytes])].append(place)
            at += self._id_bytes
            base = _NONE - 1  # set when the object with that id is found
        elif kind not in KIND_NAMES:
            raise ValueError(f"an object has the unknown kind {kind}")
        self._offsets.append(start)
        self._starts.append(at)
        self._stated.append(size)
        self._bases.append(base)
        self._kinds.append(kind)
        self._sizes.append(size)
        if base == _NONE:
            budget.take(1, size)
            hasher = new_hash(self._id_bytes)
            hasher.update(b"%s %d\0" % (KIND_NAMES[kind], size))
            at = _inflate(data, at, size, hasher.update)
            self.ids.setdefault(hasher.digest(), place)
        else:
            budget.take(1, 0)
            at = _inflate(data, at, size, _ignore)
        self._sums.append(zlib.crc32(data[start:at]))
        return at

    def _resolve_all(self, budget: Budget, by_base: dict[int, list[int]], by_id: dict[bytes, list[int]]) -> None:
        """Find the ids of all deltas, depth first from each whole object."""
        left = sum(map(len, by_base.values())) + sum(map(len, by_id.values()))
        for sha, place in list(self.ids.items()):
            waiting = [(place, iter([*by_base.pop(place, ()), *by_id.pop(sha, ())]))]
            while waiting:
                base, children = waiting[-1]
                child = next(children, None)
                if child is None:
                    waiting.pop()
                    continue
                if len(waiting) > _MAX_DEPTH:
                    raise ValueError(f"a chain of more than {_MAX_DEPTH} differences")
                sha = self._resolve_one(child, base, budget)
                left -= 1
                waiting.append((child, iter([*by_base.pop(child, ()), *by_id.pop(sha, ())])))
        if left:
            raise ValueError("a difference is to an object that is not in the pack")

    def _resolve_one(self, place: int, base: int, budget: Budget) -> bytes:
        self._bases[place] = base
        kind = self._kinds[place] = self._kinds[base]
        data = self._resolved(place, budget)
        self._sizes[place] = len(data)
        hasher = new_hash(self._id_bytes)
        hasher.update(b"%s %d\0" % (KIND_NAMES[kind], len(data)))
        hasher.update(data)
        sha = hasher.digest()
        self.ids.setdefault(sha, place)
        return sha

    def _resolved(self, place: int, budget: Budget | None = None) -> bytes:
        """Return the content of an object that may be stored as a delta."""
        chain = []
        while place not in self._held and self._bases[place] != _NONE:
            chain.append(place)
            place = self._bases[place]
        data = self._held.get(place)
        if data is None:
            data = self._deflated(place)
            self._hold(place, data)
        else:
            self._held.move_to_end(place)
        while chain:
            place = chain.pop()
            data = self._applied(data, self._deflated(place), budget)
            self._hold(place, data)
        return data

    def _applied(self, data: bytes, difference: bytes, budget: Budget | None) -> bytes:
        base_size, at = _number(difference, 0)
        size, _ = _number(difference, at)
        if base_size != len(data):
            raise ValueError("a difference is to another object")
        if size > MAX_DELTA_BYTES:
            raise _too_large_to_differ(size)
        if budget is not None:
            budget.take(0, size)
        pieces = apply_delta(data, difference)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _deflated(self, place: int) -> bytes:
        """Return the inflated bytes of an object: its content, or its delta. Raises ValueError."""
        size = self._stated[place]
        if size > MAX_DELTA_BYTES:
            raise _too_large_to_differ(size)
        pieces: list[bytes] = []
        _inflate(self._data, self._starts[place], size, pieces.append)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hold(self, place: int, data: bytes) -> None:
        """Cache a content: later deltas are likely to have it as their base."""
        self._held[place] = data
        self._held_bytes += len(data)
        while self._held_bytes > _HELD and len(self._held) > 1:
            self._held_bytes -= len(self._held.popitem(last=False)[1])


def _too_large_to_differ(size: int) -> ValueError:
    return ValueError(
        f"an object of {size} bytes is kept as a difference, which git makes up to {MAX_DELTA_BYTES} bytes "
        "(core.bigFileThreshold)"
    )


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a size at the head of a delta; return it and the position after it. Raises ValueError."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a difference is cut short")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at


def _ignore(piece: bytes) -> None:
    pass
