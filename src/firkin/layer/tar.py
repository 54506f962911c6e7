"""A stream of tar blocks to members. Pure. It takes an iterator of bytes; `layer`, `context` and `solve` may import it.

    reader = TarReader(chunks)
    while (member := reader.next_member()) is not None:
        for piece in reader.content():  # memoryviews, valid until the next one
            ...

Nothing of a member is held in memory but its headers, which are capped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, NoReturn

from firkin.hints import AnyHint, Hint
from firkin.layer.change import WHITEOUT_PREFIX, Entry, Kind
from firkin.layer.entry import (
    BLOCK,
    MAX_NAME_BYTES,
    MAX_PART_BYTES,
    MAX_SPECIAL_BYTES,
    MAX_TARGET_BYTES,
    decode_text,
    padding,
    parse_decimal,
    parse_header,
    parse_records,
    parse_time_ns,
)
from firkin.layer.limits import UNPACK_LIMITS, UnpackLimits

_ZERO = bytes(BLOCK)
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "file",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
    b"D": "dir",
}
_WITH_CONTENT = frozenset((b"0", b"\0", b"7", b"S"))
_MAX_ID = 0xFFFFFFFE  # the one above means "leave it"
_MAX_MAJOR, _MAX_MINOR = 0xFFF, 0xFFFFF  # linux/kdev_t.h
_MAX_SIZE = 1 << 62
_MAX_GLOBAL_BYTES = 16 << 20
_SLACK, _SLACK_OF_MEMBER = 16 << 20, 8192
"""What a stream may hold besides content: padding at its end, headers."""
_MAX_TIME_S = 253402300800
_MAX_SPARSE = 65536


class Member(NamedTuple):
    """One member as written: `name` and `link` (of a hard link) are not cleaned.

    `entry.size` is the size of the file; `stored` bytes of it are in the archive, and `sparse` says
    where they belong (offset, length), the rest being holes; None: all of it, in order.
    """

    name: str
    entry: Entry
    link: str = ""
    is_link: bool = False
    stored: int = 0
    sparse: tuple[tuple[int, int], ...] | None = None
    offset: int = 0


class LimitReached(ValueError):
    """An archive unpacks to more than it may; `hint` says how to allow it."""

    def __init__(self, message: str, hint: AnyHint) -> None:
        super().__init__(message)
        self.hint = hint


def limit_hints(error: ValueError) -> tuple[AnyHint, ...]:
    """Return how to allow what an error refused, where it was a limit."""
    return (error.hint,) if isinstance(error, LimitReached) else ()


def too_many_entries(limits: UnpackLimits, what: str) -> LimitReached:
    """Return the error for more entries than `what` (an archive) may have."""
    return LimitReached(
        f"it has more than the {limits.entries} entries that {what} may have",
        Hint.of("unpack-entries"),
    )


def too_many_bytes(limits: UnpackLimits, what: str) -> LimitReached:
    """Return the error for more bytes than `what` may unpack to."""
    return LimitReached(
        f"it unpacks to more than the {limits.size_bytes} bytes that {what} may have",
        Hint.of("unpack-size"),
    )


class TarReader:
    """Reads members one after the other; every fault in the archive is a ValueError with its offset.

    `limits` hold for the stream and for what its files unpack to; beyond them it raises LimitReached at once.
    """

    def __init__(self, chunks: Iterable[bytes], limits: UnpackLimits = UNPACK_LIMITS) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._chunk: bytes = b""
        self._view = memoryview(b"")
        self._at = 0
        self._size = 0
        self._passed = 0
        self._left = 0
        self._pad = 0
        self._ended = False
        self._global: dict[bytes, bytes] = {}
        self._global_left = _MAX_GLOBAL_BYTES
        self._special_left = 0
        self._limits = limits
        self._bytes_left = limits.size_bytes or _MAX_SIZE << 20
        self._entries_left = limits.entries or _MAX_SIZE
        self._stream_left = self._bytes_left + _SLACK  # for all that is no content, too

    @property
    def offset(self) -> int:
        """Bytes of the archive read so far."""
        return self._passed + self._at

    def next_member(self) -> Member | None:
        """Return the next member, skipping what is left of the last one's content; None at the end."""
        member = self._next()
        if member is not None:
            self._stream_left += _SLACK_OF_MEMBER
            self._entries_left -= 1
            self._bytes_left -= member.entry.size  # holes included: they become zeros of a layer
            if self._bytes_left < 0 or self._entries_left < 0:
                self._too_large()
        return member

    def _too_large(self) -> NoReturn:
        if self._entries_left < 0:
            raise too_many_entries(self._limits, "an archive")
        raise too_many_bytes(self._limits, "an archive")

    def _next(self) -> Member | None:
        if self._left or self._pad:
            self._skip(self._left + self._pad)
            self._left = self._pad = 0
        if self._ended:
            return None
        local: dict[bytes, bytes] | None = None
        long_name: bytes | None = None
        long_link: bytes | None = None
        start = self._passed + self._at
        self._special_left = 4 * MAX_SPECIAL_BYTES
        while True:
            header_at = self._passed + self._at
            block = self._block()
            if block is None:
                if local is not None or long_name is not None or long_link is not None:
                    self._fail(header_at, "the archive ends where a header must follow")
                self._ended = True
                return None
            if block[0] == 0 and block == _ZERO:
                self._end(header_at)
                return None
            try:
                name, kind, mode, uid, gid, size, mtime, link, major, minor = parse_header(block)
                if size < 0:
                    raise ValueError("a size is negative")
                if kind in b"xgXLKVM":
                    if kind in b"xX":
                        local = {**(local or {}), **_records(self._special(size))}
                    elif kind == b"g":
                        self._global_left -= size
                        if self._global_left < 0:
                            raise ValueError("the headers for all members are too big")
                        self._global.update(_records(self._special(size)))
                    elif kind == b"L":
                        long_name = self._special(size).partition(b"\0")[0]
                    elif kind == b"K":
                        long_link = self._special(size).partition(b"\0")[0]
                    elif kind == b"V":
                        self._skip(size + padding(size))
                    else:
                        raise ValueError("archives of several volumes are not supported")
                    continue
                if kind not in _KINDS:
                    raise ValueError(f"unknown type {kind!r} of {decode_text(name)!r}")
                if long_name is not None:
                    name = long_name
                if long_link is not None:
                    link = long_link
                stored = size if kind in _WITH_CONTENT else 0
                if kind == b"D":
                    self._skip(size + padding(size))
                if (local or self._global or kind == b"S" or uid > _MAX_ID or gid > _MAX_ID or uid < 0 or gid < 0
                        or len(name) > 100 or len(link) > 100 or not -_MAX_TIME_S < mtime < _MAX_TIME_S
                        or stored > _MAX_SIZE or not 0 <= major <= _MAX_MAJOR
                        or not 0 <= minor <= _MAX_MINOR or (kind == b"2" and not link)):  # fmt: skip
                    return self._special_member(
                        start, block, local or {}, name, kind, mode, uid, gid, stored, mtime, link, major, minor
                    )
            except ValueError as error:
                self._fail(header_at, str(error))
            self._left = stored
            self._pad = -stored % BLOCK
            kind_name = _KINDS[kind]
            # v7 knows directories only by the slash.
            if kind == b"\0" or kind == b"0":
                if name[-1:] == b"/":
                    kind_name = "dir"
            return Member(
                name.decode("utf-8", "surrogateescape"),
                Entry(
                    kind_name,
                    mode & 0o7777,
                    uid,
                    gid,
                    stored if kind_name == "file" else 0,
                    mtime * 1_000_000_000,
                    link.decode("utf-8", "surrogateescape") if kind_name == "symlink" else "",
                    major,
                    minor,
                ),
                link.decode("utf-8", "surrogateescape") if kind == b"1" else "",
                kind == b"1",
                stored,
                None,
                start,
            )

    def content(self) -> Iterator[memoryview]:
        """Yield what is stored of this member's content, in pieces of any size."""
        while self._left:
            yield self.read()

    def read(self) -> memoryview:
        """Return the next piece of this member's content; empty at its end."""
        if not self._left:
            return self._view[0:0]
        if self._at == self._size and not self._more():
            self._fail(self.offset, "the archive ends in the middle of a file")
        at = self._at
        count = min(self._left, self._size - at)
        self._left -= count
        self._at = at + count
        return self._view[at : at + count]

    def drain(self) -> None:
        """Read to the end of the stream, for what computes digests on the way."""
        self._passed += self._size
        self._at = self._size = 0
        for chunk in self._chunks:
            self._passed += len(chunk)
            self._stream_left -= len(chunk)
            if self._stream_left < 0:
                self._too_large()
        self._ended = True
        self._left = self._pad = 0

    # --- below: bytes ---

    def _more(self) -> bool:
        """Fetch the next chunk; False at the end of the stream."""
        for chunk in self._chunks:
            if chunk:
                self._passed += self._size
                self._stream_left -= len(chunk)
                if self._stream_left < 0:
                    self._too_large()
                self._chunk = chunk
                self._view = memoryview(chunk)
                self._size = len(chunk)
                self._at = 0
                return True
        return False

    def _block(self) -> bytes | None:
        at = self._at
        if self._size - at >= BLOCK:
            self._at = at + BLOCK
            return bytes(self._view[at : at + BLOCK])
        if at == self._size and not self._more():
            return None
        return self._take(BLOCK)

    def _take(self, count: int) -> bytes:
        pieces = []
        while count:
            if self._at == self._size and not self._more():
                self._fail(self.offset, "the archive is cut short")
            piece = bytes(self._view[self._at : self._at + count])
            self._at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _skip(self, count: int) -> None:
        while count:
            if self._at == self._size and not self._more():
                self._fail(self.offset, "the archive is cut short")
            step = min(count, self._size - self._at)
            self._at += step
            count -= step

    def _special(self, size: int) -> bytes:
        self._special_left -= size + BLOCK
        if size > MAX_SPECIAL_BYTES or self._special_left < 0:
            raise ValueError(f"a header of {size} bytes is too big")
        body = self._take(size)
        self._skip(padding(size))
        return body

    def _end(self, at: int) -> None:
        block = self._block()
        if block is not None and block != _ZERO:
            self._fail(at, "a block of zeros stands before another header")
        self._ended = True

    def _fail(self, offset: int, why: str) -> NoReturn:
        if why.startswith("tar:"):
            raise ValueError(why)
        raise ValueError(f"tar: {why} (at byte {offset})")

    # --- below: members that need more than the header ---

    def _special_member(
        self,
        start: int,
        block: bytes,
        local: dict[bytes, bytes],
        name: bytes,
        kind: bytes,
        mode: int,
        uid: int,
        gid: int,
        stored: int,
        mtime: int,
        link: bytes,
        major: int,
        minor: int,
    ) -> Member:
        records = {**self._global, **local} if self._global else local
        get = records.get
        name = get(b"path") or name
        link = get(b"linkpath") or link
        if text := get(b"uid"):
            uid = parse_decimal(text)
        if text := get(b"gid"):
            gid = parse_decimal(text)
        if kind in _WITH_CONTENT and (text := get(b"size")):
            stored = parse_decimal(text)
        mtime_ns = mtime * 1_000_000_000
        if text := get(b"mtime"):
            mtime_ns = parse_time_ns(text)
        size = stored
        sparse: tuple[tuple[int, int], ...] | None = None
        self._left = stored
        self._pad = padding(stored)
        if kind == b"S":
            sparse, size = self._gnu_sparse(block)
        elif (b"GNU.sparse.major" in records or b"GNU.sparse.size" in records) and kind in _WITH_CONTENT:
            sparse, size = self._pax_sparse(records)
            name = get(b"GNU.sparse.name") or name
        if sparse is not None:
            _check_sparse(sparse, self._left, size)
        if not 0 <= uid <= _MAX_ID or not 0 <= gid <= _MAX_ID:
            raise ValueError(f"an owner of {decode_text(name)!r} is out of range")
        if not -_MAX_TIME_S < mtime_ns // 1_000_000_000 < _MAX_TIME_S:
            raise ValueError(f"the time of {decode_text(name)!r} is out of range")
        if not 0 <= major <= _MAX_MAJOR or not 0 <= minor <= _MAX_MINOR:
            raise ValueError(f"the device number {major}:{minor} of {decode_text(name)!r} is out of range")
        if stored > _MAX_SIZE:
            raise ValueError(f"the size of {decode_text(name)!r} is out of range")
        if kind == b"2" and not link:
            raise ValueError(f"the link {decode_text(name)!r} leads to nothing")
        _check_name(name, MAX_NAME_BYTES, "name")
        _check_name(link, MAX_TARGET_BYTES if kind == b"2" else MAX_NAME_BYTES, "link")
        kind_name = _KINDS[kind]
        if kind in (b"\0", b"0") and name.endswith(b"/"):
            kind_name = "dir"
        xattrs = _attributes(records)
        entry = Entry(
            kind_name,
            mode & 0o7777,
            uid,
            gid,
            size if kind_name == "file" else 0,
            mtime_ns,
            decode_text(link) if kind_name == "symlink" else "",
            major,
            minor,
            xattrs,
        )
        is_link = kind == b"1"
        return Member(
            decode_text(name), entry, decode_text(link) if is_link else "", is_link, self._left, sparse, start
        )

    def _gnu_sparse(self, block: bytes) -> tuple[tuple[tuple[int, int], ...], int]:
        """Read the old GNU form: four pairs in the header, twenty-one in each block that follows."""
        pairs: list[tuple[int, int]] = []
        size = _field(block[483:495])
        _pairs(block, 386, 4, pairs)
        extended = block[482]
        while extended:
            extension = self._take(BLOCK)
            _pairs(extension, 0, 21, pairs)
            extended = extension[504]
            if len(pairs) > _MAX_SPARSE:
                raise ValueError("a sparse file has too many pieces")
        return tuple(pairs), size

    def _pax_sparse(self, records: dict[bytes, bytes]) -> tuple[tuple[tuple[int, int], ...], int]:
        """Read GNU's PAX forms 0.0 (records that repeat), 0.1 (one record) and 1.0 (before the content)."""
        version = records.get(b"GNU.sparse.major", b"0"), records.get(b"GNU.sparse.minor", b"0")
        size = parse_decimal(records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size") or b"")
        if version == (b"1", b"0"):
            numbers = self._sparse_lines()
        elif version[0] == b"0":
            text = records.get(b"GNU.sparse.map", b"")
            numbers = [parse_decimal(item) for item in text.split(b",")] if text else []
        else:
            raise ValueError("a sparse file has an unknown form")
        if len(numbers) % 2 or len(numbers) > 2 * _MAX_SPARSE:
            raise ValueError("the map of a sparse file is damaged")
        return tuple(zip(numbers[::2], numbers[1::2])), size

    def _sparse_lines(self) -> list[int]:
        text = b""
        wanted: int | None = None
        while wanted is None or text.count(b"\n") < wanted:
            if self._left < BLOCK or len(text) > MAX_SPECIAL_BYTES:
                raise ValueError("the map of a sparse file is damaged")
            text += self._take(BLOCK)
            self._left -= BLOCK
            if wanted is None and b"\n" in text:
                wanted = 2 * parse_decimal(text.partition(b"\n")[0]) + 1
        return [parse_decimal(line) for line in text.split(b"\n")[1:wanted]]


def clean_name(name: str, *, strict: bool = False) -> str:
    """Return a member's name relative to the root, "" for the root itself: no empty, `.` or `..` parts.

    A `..` above the root stays at the root, as containerd has it; with `strict` it is a ValueError.
    """
    if name[:1] not in "/." and "//" not in name and "/." not in name:
        return name[:-1] if name[-1:] == "/" else name
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if parts:
                parts.pop()
            elif strict:
                raise ValueError(f"the name {name!r} leads out of the root")
        elif part and part != ".":
            parts.append(part)
    return "/".join(parts)


def _records(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    for key, value in parse_records(body):
        if key == b"GNU.sparse.offset" or key == b"GNU.sparse.numbytes":
            sparse.append(value)
        else:
            records[key] = value
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def _check_name(name: bytes, most: int, what: str) -> None:
    if b"\0" in name:
        raise ValueError(f"a {what} holds a NUL")
    if len(name) > most:
        raise ValueError(f"the {what} `{decode_text(name[:60])}…` is longer than {most} bytes")
    if what == "name" and len(name) > MAX_PART_BYTES:
        *folders, last = name.rstrip(b"/").split(b"/")
        # A removal is the name with a prefix, which no file ever bears.
        part = max(*folders, last.removeprefix(WHITEOUT_PREFIX.encode()), b"", key=len)
        if len(part) > MAX_PART_BYTES:
            raise ValueError(f"`{decode_text(part[:60])}…` in a name is longer than {MAX_PART_BYTES} bytes")


def _attributes(records: dict[bytes, bytes]) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a member's records, sorted."""
    found = []
    for key, value in records.items():
        if key.startswith(b"SCHILY.xattr."):
            if not 13 < len(key) <= 13 + MAX_PART_BYTES or b"\0" in key:
                raise ValueError(f"an extended attribute is called {decode_text(key[13:73])!r}")
            found.append((decode_text(key[13:]), value))
    return tuple(sorted(found))


def _field(field: bytes) -> int:
    text = field.partition(b"\0")[0].strip(b" ")
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    if text and not text.isdigit():
        raise ValueError("the map of a sparse file is damaged")
    return int(text, 8) if text else 0


def _pairs(block: bytes, at: int, count: int, pairs: list[tuple[int, int]]) -> None:
    for start in range(at, at + 24 * count, 24):
        if block[start] == 0:
            return
        pairs.append((_field(block[start : start + 12]), _field(block[start + 12 : start + 24])))


def _check_sparse(pairs: tuple[tuple[int, int], ...], stored: int, size: int) -> None:
    end = total = 0
    for offset, length in pairs:
        if offset < end:
            raise ValueError("the pieces of a sparse file overlap")
        end = offset + length
        total += length
    if total != stored or end > size or size > _MAX_SIZE:
        raise ValueError("the map of a sparse file does not fit its content")
