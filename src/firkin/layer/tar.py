"""Reads members from a stream of tar blocks. Pure. It takes an iterator of bytes; `layer` and above import it.

    reader = TarReader(chunks)
    while (member := reader.next_member()) is not None:
        for piece in reader.content():  # memoryviews, valid until the next one
            ...

Only the headers of a member are held in memory, and their size is limited.
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
    Header,
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
_BY_SLASH: dict[bytes, Kind] = {b"0": "dir", b"\0": "dir"}  # v7 marks directories by the end of the name only
_BEFORE = b"xgXLKVM"
"""Types of headers that come before a member's own header, or belong to no member."""
_PLAIN = frozenset((b"0", b"\0", b"7", b"1", b"2", b"5", b"6"))
"""Types of members that a plain header describes completely."""
_NUMERIC = frozenset((b"uid", b"gid", b"size", b"mtime"))
_LONG_NAME, _LONG_LINK = b"=L", b"=K"
"""Keys for the values of GNU's headers among PAX records, whose own keys have no `=`."""
_SPARSE = frozenset((b"GNU.sparse.major", b"GNU.sparse.size"))
_WITH_CONTENT = frozenset((b"0", b"\0", b"7", b"S"))
_MAX_ID = 0xFFFFFFFE  # the one above means "leave it"
_MAX_MAJOR, _MAX_MINOR = 0xFFF, 0xFFFFF  # linux/kdev_t.h
_MAX_SIZE = 1 << 62
_MAX_GLOBAL_BYTES = 16 << 20
_SLACK, _SLACK_OF_MEMBER = 16 << 20, 8192
"""The bytes that a stream may hold besides content: padding at its end, headers of each member."""
_LATEST_NS = 253402300800 * 1_000_000_000
_EARLIEST_NS = -_LATEST_NS + 999_999_999  # rounded down to whole seconds, a time is at least 1 s - latest
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
    """Return the hint of an error that is a reached limit: how to raise the limit."""
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
        self._stream_left = self._bytes_left + _SLACK  # includes headers and padding
        self.unpacked_bytes = 0
        """What the members so far unpack to (Entry.unpacked_bytes); a path that an archive has twice counts twice."""

    @property
    def offset(self) -> int:
        """Bytes of the archive read so far."""
        return self._passed + self._at

    def next_member(self) -> Member | None:
        """Return the next member, skipping what is left of the last one's content; None at the end."""
        if rest := self._left + self._pad:
            self._skip(rest)
            self._left = self._pad = 0
        member = None if self._ended else self._next()
        if member is not None:
            self._stream_left += _SLACK_OF_MEMBER
            self._entries_left -= 1
            entry = member.entry
            self._bytes_left -= entry.size  # holes included: they become zeros of a layer
            self.unpacked_bytes += entry.unpacked_bytes
            if self._bytes_left < 0 or self._entries_left < 0:
                self._too_large()
        return member

    def _too_large(self) -> NoReturn:
        if self._entries_left < 0:
            raise too_many_entries(self._limits, "an archive")
        raise too_many_bytes(self._limits, "an archive")

    def _next(self) -> Member | None:
        before: dict[bytes, bytes] | None = None
        start = at = self._passed + self._at
        self._special_left = 4 * MAX_SPECIAL_BYTES
        while (block := self._block()) is not None and block != _ZERO:
            try:
                header = parse_header(block)
                name, kind, mode, uid, gid, size, mtime, link, _, _, plain = header
                if kind in _BEFORE:
                    before = self._read_before(before, kind, size)
                    at = self._passed + self._at
                    continue
                if plain and before is None and not self._global and kind in _PLAIN:
                    if kind not in _WITH_CONTENT:
                        size = 0
                    self._left = size
                    self._pad = -size % BLOCK
                    return self._member(start, kind, name, link, mode, uid, gid, size, mtime * 1_000_000_000)
                return self._special_member(start, block, header, before or {})
            except ValueError as error:
                self._fail(at, str(error))
        self._end(at, block, before)
        return None

    def _read_before(self, before: dict[bytes, bytes] | None, kind: bytes, size: int) -> dict[bytes, bytes] | None:
        """Read a header that applies to the member after it, or to all that follow."""
        if size < 0:
            raise ValueError("a size is negative")
        if kind == b"x" or kind == b"X":
            records = _records(self._special(size))
            return {**before, **records} if before else records
        elif kind == b"g":
            self._global_left -= size
            if self._global_left < 0:
                raise ValueError("the headers for all members are too big")
            self._global.update(_records(self._special(size)))
        elif kind == b"V":
            self._skip(size + padding(size))
        elif kind == b"M":
            raise ValueError("archives of several volumes are not supported")
        else:
            key = _LONG_NAME if kind == b"L" else _LONG_LINK
            return {**(before or {}), key: self._special(size).partition(b"\0")[0]}
        return before

    def _member(
        self, start: int, kind: bytes, name: bytes, link: bytes, mode: int, uid: int, gid: int, size: int,
        mtime_ns: int, major: int = 0, minor: int = 0, xattrs: tuple[tuple[str, bytes], ...] = (),
        sparse: tuple[tuple[int, int], ...] | None = None,
    ) -> Member:  # fmt: skip
        """Return the member that begins at `start`; `_left` of its bytes are stored. Raises ValueError."""
        kind_name = _KINDS[kind]
        if name[-1:] == b"/":
            kind_name = _BY_SLASH.get(kind, kind_name)
        if kind_name == "symlink" and not link:
            raise ValueError(f"the link {decode_text(name)!r} leads to nothing")
        target = link.decode("utf-8", "surrogateescape")
        is_link = kind == b"1"
        return Member(
            name.decode("utf-8", "surrogateescape"),
            Entry(
                kind_name,
                mode & 0o7777,
                uid,
                gid,
                size if kind_name == "file" else 0,
                mtime_ns,
                target if kind_name == "symlink" else "",
                major,
                minor,
                xattrs,
            ),
            target if is_link else "",
            is_link,
            self._left,
            sparse,
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
        """Read to the end of the stream, so that digests computed on the way are complete."""
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

    def _end(self, at: int, block: bytes | None, before: dict[bytes, bytes] | None) -> None:
        """Check that the archive may end here, with this block of zeros or without one."""
        if block is None:
            if before is not None:
                self._fail(at, "the archive ends where a header must follow")
        elif (following := self._block()) is not None and following != _ZERO:
            self._fail(at, "a block of zeros stands before another header")
        self._ended = True

    def _fail(self, offset: int, why: str) -> NoReturn:
        if why.startswith("tar:"):
            raise ValueError(why)
        raise ValueError(f"tar: {why} (at byte {offset})")

    # --- below: members that need more than the header ---

    def _special_member(self, start: int, block: bytes, header: Header, before: dict[bytes, bytes]) -> Member:
        name, kind, mode, uid, gid, size, mtime, link, major, minor, plain = header
        if size < 0:
            raise ValueError("a size is negative")
        if kind not in _KINDS:
            raise ValueError(f"unknown type {kind!r} of {decode_text(name)!r}")
        if kind == b"D":
            self._skip(size + padding(size))
        records = {**self._global, **before} if self._global else before
        name = records.get(b"path") or records.get(_LONG_NAME, name)
        link = records.get(b"linkpath") or records.get(_LONG_LINK, link)
        if kind not in _WITH_CONTENT:
            size = 0
        mtime_ns = mtime * 1_000_000_000
        if not plain or not _NUMERIC.isdisjoint(records):
            uid, gid, size, mtime_ns = _numbers(records, kind, uid, gid, size, mtime_ns)
            _check_ranges(name, uid, gid, size, mtime_ns, major, minor)
        self._left = size
        self._pad = padding(size)
        sparse = None
        if kind == b"S" or not _SPARSE.isdisjoint(records):
            sparse, size, name = self._sparse(kind, block, records, name)
        _check_names(name, link, kind)
        return self._member(
            start, kind, name, link, mode, uid, gid, size, mtime_ns, major, minor, _attributes(records), sparse
        )

    def _sparse(
        self, kind: bytes, block: bytes, records: dict[bytes, bytes], name: bytes
    ) -> tuple[tuple[tuple[int, int], ...] | None, int, bytes]:
        """Return where the pieces of a sparse file belong (None: it is not sparse), its size and its name."""
        stored = self._left
        if kind == b"S":
            pairs, size = self._gnu_sparse(block)
        elif kind in _WITH_CONTENT:
            pairs, size = self._pax_sparse(records)
            name = records.get(b"GNU.sparse.name") or name
        else:
            return None, stored, name
        _check_sparse(pairs, self._left, size)
        return pairs, size, name

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

    A `..` above the root stays at the root, as in containerd; with `strict` it is a ValueError.
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


def _numbers(
    records: dict[bytes, bytes], kind: bytes, uid: int, gid: int, size: int, mtime_ns: int
) -> tuple[int, int, int, int]:
    """Return a member's numbers from its records, or else as given."""
    if text := records.get(b"uid"):
        uid = parse_decimal(text)
    if text := records.get(b"gid"):
        gid = parse_decimal(text)
    if kind in _WITH_CONTENT and (text := records.get(b"size")):
        size = parse_decimal(text)
    if text := records.get(b"mtime"):
        mtime_ns = parse_time_ns(text)
    return uid, gid, size, mtime_ns


def _check_ranges(name: bytes, uid: int, gid: int, stored: int, mtime_ns: int, major: int, minor: int) -> None:
    if not 0 <= uid <= _MAX_ID or not 0 <= gid <= _MAX_ID:
        raise ValueError(f"an owner of {decode_text(name)!r} is out of range")
    if not _EARLIEST_NS < mtime_ns < _LATEST_NS:
        raise ValueError(f"the time of {decode_text(name)!r} is out of range")
    if not 0 <= major <= _MAX_MAJOR or not 0 <= minor <= _MAX_MINOR:
        raise ValueError(f"the device number {major}:{minor} of {decode_text(name)!r} is out of range")
    if stored > _MAX_SIZE:
        raise ValueError(f"the size of {decode_text(name)!r} is out of range")


def _check_names(name: bytes, link: bytes, kind: bytes) -> None:
    if b"\0" in name or b"\0" in link:
        raise ValueError("a name holds a NUL" if b"\0" in name else "a link holds a NUL")
    if len(name) > MAX_PART_BYTES:
        _check_parts(name)
    if len(link) > (MAX_TARGET_BYTES if kind == b"2" else MAX_NAME_BYTES):
        raise _too_long("link", link, MAX_TARGET_BYTES if kind == b"2" else MAX_NAME_BYTES)


def _check_parts(name: bytes) -> None:
    if len(name) > MAX_NAME_BYTES:
        raise _too_long("name", name, MAX_NAME_BYTES)
    *folders, last = name.rstrip(b"/").split(b"/")
    # The prefix of a removal does not count, because no file is made under the name with it.
    part = max(*folders, last.removeprefix(WHITEOUT_PREFIX.encode()), b"", key=len)
    if len(part) > MAX_PART_BYTES:
        raise ValueError(f"`{decode_text(part[:60])}…` in a name is longer than {MAX_PART_BYTES} bytes")


def _too_long(what: str, name: bytes, most: int) -> ValueError:
    return ValueError(f"the {what} `{decode_text(name[:60])}…` is longer than {most} bytes")


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
