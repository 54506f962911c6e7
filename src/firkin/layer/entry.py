"""Tar headers to and from bytes, one member at a time. Pure. `layer`, `images` and `builder.context` import it.

Written form: ustar, with a PAX header before it only for what ustar cannot express (long or non-ASCII
names, big numbers, xattrs). Times are whole seconds, as in the layers of other builders. Headers hold
no facts about this machine: no user names, no access times, a fixed name for PAX headers.
Read form: v7, ustar, PAX (local and global), GNU and star, as bytes of a header and text of records;
`tar.py` turns a stream into members with it.
Spec: POSIX.1-2017 pax, ustar and pax interchange format; GNU tar manual, Standard and Sparse.
"""

from __future__ import annotations

import struct
from typing import Literal
from zlib import adler32

from firkin.layer.change import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind

BLOCK = 512
TRAILER = bytes(2 * BLOCK)
"""What ends an archive."""

MAX_SPECIAL_BYTES = 1 << 20
"""The most that a PAX header or a GNU long name may hold; Go's archive/tar has the same limit."""
MAX_NAME_BYTES = 4000
"""PATH_MAX, less the length of a tree's own path: no file can be reached under a longer name."""
MAX_PART_BYTES = 255
"""NAME_MAX: the limit for one part of a name, and for the name of an extended attribute."""
MAX_TARGET_BYTES = 4095
"""The longest text of a symbolic link."""

_Type = Kind | Literal["link"]
_TYPES: dict[_Type, bytes] = {
    "file": b"0",
    "link": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}
_MAX_7 = 0o7777777
_MAX_11 = 0o77777777777

# name, numbers (mode uid gid size mtime), checksum, type, link name, magic to group name, device, prefix
_pack = struct.Struct("100s48s8sc100s72s16s155s12x").pack
# name, numbers and what ends each (mode uid gid size mtime), checksum, type, link name, magic, prefix, star's trailer
_unpack = struct.Struct("100s7sB7sB7sB11sB11sB8sc100s8s80x155s12s").unpack

_MAGIC = b"ustar\00000"
_NO_DEVICE = b"0000000\x000000000\x00"
_SPACES = b"        "
_OCTAL = b"01234567 "
_NO_SPACE = 0xFF ^ 0x20
_DEVICES = (b"3", b"4")
_NUMBERS = b"%07o\0%07o\0%07o\0%011o\0%011o\0"  # mode uid gid size mtime
_NUMBERS_BYTES = 48
_PAX_NAME = b"PaxHeaders.0/entry"
_NO_ENTRY = Entry("file")


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes of content."""
    return -size % BLOCK


def encode_member(path: str, entry: Entry, *, link: str = "", clamp_mtime_s: int | None = None) -> bytes:
    """Return all headers of one member; the content of a file and its padding follow.

    `link` makes it a hard link. `clamp_mtime_s` is the latest time that is kept. Raises ValueError
    for an entry that no tar can hold: a NUL in a name, an xattr with `=` in its name.
    """
    type: _Type
    type, target = ("link", link) if link else (entry.kind, entry.target)
    size = entry.size if type == "file" else 0
    mtime = entry.mtime_ns // 1_000_000_000
    if clamp_mtime_s is not None:
        mtime = min(mtime, clamp_mtime_s)
    name = path
    if entry.kind == "dir":
        name = path + "/" if path else "./"
    numbers = _NUMBERS % (entry.mode, entry.uid, entry.gid, size, mtime)
    # A member that passes here fits into one header. Numbers that are too big make the field too long.
    text = name + target
    if (
        len(text) <= 100
        and text.isascii()
        and "\0" not in text
        and mtime >= 0
        and len(numbers) == _NUMBERS_BYTES
        and not entry.xattrs
    ):
        return _header(name.encode(), numbers, _TYPES[type], target.encode(), entry)
    return _encode_hard(type, name, entry, target, size, mtime)


def encode_whiteout(path: str) -> bytes:
    """Return the member that removes `path`. Spec: image-spec layer.md, Whiteouts."""
    folder, slash, name = path.rpartition("/")
    return encode_member(f"{folder}{slash}{WHITEOUT_PREFIX}{name}", Entry("file", mode=0))


def encode_opaque(path: str) -> bytes:
    """Return the member that hides what lower layers have in directory `path`. Spec: layer.md, Opaque Whiteout."""
    return encode_member(f"{path}/{OPAQUE_NAME}" if path else OPAQUE_NAME, Entry("file", mode=0))


def _encode_hard(type: _Type, name: str, entry: Entry, target: str, size: int, mtime: int) -> bytes:
    """Encode a member that needs a PAX header, or its name split in two."""
    raw_name, raw_target = encode_text(name), encode_text(target)
    if b"\0" in raw_name + raw_target:
        raise ValueError(f"a name in a tar cannot hold a NUL: {name!r}")
    records = _attribute_records(name, entry)
    prefix, short = _short_name(raw_name, records)
    if len(raw_target) > 100 or not raw_target.isascii():
        records[b"linkpath"] = raw_target
        raw_target = _ascii(raw_target)
    numbers = _NUMBERS % (
        entry.mode,
        _short_number(b"uid", entry.uid, _MAX_7, records),
        _short_number(b"gid", entry.gid, _MAX_7, records),
        _short_number(b"size", size, _MAX_11, records),
        _short_number(b"mtime", mtime, _MAX_11, records),
    )
    header = _header(short, numbers, _TYPES[type], raw_target, entry, prefix)
    return _encode_records(name, records) + header if records else header


def _attribute_records(name: str, entry: Entry) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    for attribute, data in entry.xattrs:
        key = encode_text(attribute)
        if b"=" in key or b"\0" in key:
            raise ValueError(f"a tar cannot hold the extended attribute `{attribute}` of {name!r}")
        records[b"SCHILY.xattr." + key] = data
    return records


def _short_name(name: bytes, records: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the two parts of a name in a header; one that does not fit there becomes a record."""
    if name.isascii():
        if len(name) <= 100:
            return b"", name
        split = _split(name)
        if split is not None:
            return split
    records[b"path"] = name
    return b"", _ascii(name) if not name.isascii() else name[:100]


def _short_number(key: bytes, value: int, most: int, records: dict[bytes, bytes]) -> int:
    """Return a number for its header field; one that does not fit there becomes a record."""
    if 0 <= value <= most:
        return value
    records[key] = b"%d" % value
    return 0


def _encode_records(name: str, records: dict[bytes, bytes]) -> bytes:
    """Return the PAX header of the member `name`."""
    if any(not _is_utf8(records.get(key, b"")) for key in (b"path", b"linkpath")):
        records[b"hdrcharset"] = b"BINARY"
    body = b"".join(encode_record(key, records[key]) for key in sorted(records))
    if len(body) > MAX_SPECIAL_BYTES:
        raise ValueError(f"the extended attributes of {name!r} are too big for a tar")
    header = _header(_PAX_NAME, _NUMBERS % (0, 0, 0, len(body), 0), b"x", b"", _NO_ENTRY)
    return header + body + bytes(padding(len(body)))


def _header(name: bytes, numbers: bytes, typeflag: bytes, target: bytes, entry: Entry, prefix: bytes = b"") -> bytes:
    """Return a header of ASCII bytes with its checksum."""
    device = b"%07o\0%07o\0" % (entry.major, entry.minor) if entry.major or entry.minor else _NO_DEVICE
    header = _pack(name, numbers, _SPACES, typeflag, target, _MAGIC, device, prefix)
    # Adler's low half is the sum of the bytes plus one, modulo 65521, and 512 ASCII bytes stay below it.
    return b"%b%06o\0 %b" % (header[:148], (adler32(header) & 0xFFFF) - 1, header[156:])


def encode_record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split at a slash into at most 155 and 100 bytes; None where that cannot be."""
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > 100:
        return None
    return name[:cut], name[cut + 1 :]


def _ascii(raw: bytes) -> bytes:
    # A reader without PAX sees this. The slash at the end must survive: it may be the only mark of a directory.
    kept = bytes(byte for byte in raw if byte < 128)
    return kept[:99] + b"/" if kept.endswith(b"/") else kept[:100]


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def encode_text(text: str) -> bytes:
    """Return the bytes of a path (os.fsencode on every Linux that firkin runs on)."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(raw: bytes) -> str:
    """Return a path as str (os.fsdecode on every Linux that firkin runs on)."""
    return raw.decode("utf-8", "surrogateescape")


# --- reading -----------------------------------------------------------------------------------------------------


Header = tuple[bytes, bytes, int, int, int, int, int, bytes, int, int, bool]


def parse_header(block: bytes) -> Header:
    """Return name, type, mode, uid, gid, size, mtime_s, link name, major, minor of a header block.

    The last value says that it is a plain header: the name in one part, no device, and numbers of octal digits, so
    that none is negative or out of range. Raises ValueError for a wrong checksum or a field that is no number.
    """
    (
        name, mode, end1, uid, end2, gid, end3, size, end4, mtime, end5, check, kind, link, magic, prefix, rest
    ) = _unpack(block)  # fmt: skip
    try:
        stored = int(check.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ValueError("the checksum field is no number") from None
    if (stored + sum(check) - 255) % 65521 != adler32(block) & 0xFFFF:
        _check_signed_sum(block, check, stored)
    name = name.partition(b"\0")[0]
    link = link.partition(b"\0")[0]
    digits = mode + uid + gid + size + mtime
    ends = end1 | end2 | end3 | end4 | end5
    if not digits.translate(None, _OCTAL) and not ends & _NO_SPACE and not prefix[0] and kind not in _DEVICES:
        try:
            return (
                name, kind, int(mode, 8), int(uid, 8), int(gid, 8), int(size, 8), int(mtime, 8), link, 0, 0, True
            )  # fmt: skip
        except ValueError:
            pass  # one of spaces alone
    if magic == _MAGIC and prefix[0]:
        name = _joined(prefix, rest, name)
    try:
        numbers = _loose_numbers(block, kind)
    except ValueError:
        raise ValueError(f"a number in the header of {decode_text(name)!r} is none") from None
    return name, kind, *numbers[:5], link, *numbers[5:], False


def _check_signed_sum(block: bytes, check: bytes, stored: int) -> None:
    """Accept the checksum of old archives, which sum signed bytes; raises ValueError."""
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:])
    if stored - 256 != signed:
        raise ValueError("the checksum is wrong: this is no tar header, or a damaged one")


def _joined(prefix: bytes, rest: bytes, name: bytes) -> bytes:
    """Return a name that is stored in two parts; the first is shorter in star's headers."""
    if rest.endswith(b"tar\0"):
        prefix = prefix[:131]
    return prefix.partition(b"\0")[0] + b"/" + name


def _loose_numbers(block: bytes, kind: bytes) -> tuple[int, ...]:
    """Return mode, uid, gid, size, mtime, major and minor from any of their forms; raises ValueError."""
    fields = [block[100:108], block[108:116], block[116:124], block[124:136], block[136:148]]
    if kind not in _DEVICES:
        return (*map(_number, fields), 0, 0)
    return tuple(map(_number, (*fields, block[329:337], block[337:345])))


def _number(field: bytes) -> int:
    """Read octal digits, or GNU's base 256 where the first bit is set."""
    first = field[0]
    if first & 0x80:
        if first == 0xFF:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(bytes((first & 0x7F,)) + field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if not text.isdigit():
        raise ValueError
    return int(text, 8)


def parse_records(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of a PAX header in their order; raises ValueError for broken ones."""
    records = []
    at = 0
    end = len(body)
    while at < end:
        space = body.find(b" ", at, at + 10)
        digits = body[at:space]
        if space < 0 or not digits.isdigit():
            if not body[at:].strip(b"\0"):
                break
            raise ValueError("a PAX header is damaged: a record has no length")
        stop = at + int(digits)
        equals = body.find(b"=", space, stop)
        if stop > end or equals <= space + 1 or body[stop - 1] != 10:
            raise ValueError("a PAX header is damaged: a record is cut short")
        records.append((body[space + 1 : equals], body[equals + 1 : stop - 1]))
        at = stop
    return records


def parse_time_ns(text: bytes) -> int:
    """Read decimal seconds of a PAX record into nanoseconds, without a float's loss. Raises ValueError."""
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole[1:] if negative else whole
    if not digits.isdigit() or len(digits) > 18 or (fraction and not fraction.isdigit()):
        raise ValueError(f"{decode_text(text[:40])!r} is no time")
    value = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0") if fraction else 0)
    return -value if negative else value


def parse_decimal(text: bytes) -> int:
    """Read a number of a PAX record that cannot be negative. Raises ValueError."""
    if not text.isdigit() or len(text) > 18:
        raise ValueError(f"{decode_text(text[:40])!r} is no number")
    return int(text)
