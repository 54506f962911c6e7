"""Tar headers to and from bytes, one member at a time. Pure. `layer` and `context` may import it.

Written form: ustar, with a PAX header before it only where ustar cannot say it (long or non-ASCII
names, big numbers, xattrs). Times are whole seconds, as in the layers of other builders. Nothing of
this machine gets in: no user names, no access times, a fixed name for PAX headers.
Read form: v7, ustar, PAX (local and global), GNU and star, as bytes of a header and text of records;
`tar.py` turns a stream into members with it.
Spec: POSIX.1-2017 pax, ustar and pax interchange format; GNU tar manual, Standard and Sparse.
"""

from __future__ import annotations

import struct
from zlib import adler32

from firkin.layer.change import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind

BLOCK = 512
TRAILER = bytes(2 * BLOCK)
"""What ends an archive."""

MAX_SPECIAL_BYTES = 1 << 20
"""The most that a PAX header or a GNU long name may hold; Go's archive/tar has the same limit."""
MAX_NAME_BYTES = 4000
"""PATH_MAX, less what the place of a tree takes of it: no file can be reached under a longer name."""
MAX_PART_BYTES = 255
"""NAME_MAX: of one part of a name, and of an extended attribute's."""
MAX_TARGET_BYTES = 4095
"""What a symbolic link can hold."""

_TYPES: dict[Kind, bytes] = {
    "file": b"0",
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
# name mode uid gid size mtime checksum type link magic uname gname major minor prefix, star's trailer
_unpack = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s").unpack

_MAGIC = b"ustar\00000"
_NO_DEVICE = b"0000000\x000000000\x00"
_SPACES = b"        "
_PAX_NAME = "PaxHeaders.0/entry"


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes of content."""
    return -size % BLOCK


def encode_member(path: str, entry: Entry, *, link: str = "", clamp_mtime_s: int | None = None) -> bytes:
    """Return all headers of one member; the content of a file and its padding follow.

    `link` makes it a hard link. `clamp_mtime_s` is the latest time that is kept. Raises ValueError
    for what no tar can hold: a NUL in a name, an xattr with `=` in its name.
    """
    kind = entry.kind
    size = entry.size if kind == "file" and not link else 0
    mtime = entry.mtime_ns // 1_000_000_000
    if clamp_mtime_s is not None and mtime > clamp_mtime_s:
        mtime = clamp_mtime_s
    name = (path or ".") + "/" if kind == "dir" else path
    target = link or entry.target
    if (
        len(name) <= 100
        and len(target) <= 100
        and name.isascii()
        and target.isascii()
        and 0 <= mtime <= _MAX_11
        and size <= _MAX_11
        and entry.uid <= _MAX_7
        and entry.gid <= _MAX_7
        and not entry.xattrs
        and "\0" not in name
        and "\0" not in target
    ):
        header = _pack(
            name.encode(),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (entry.mode, entry.uid, entry.gid, size, mtime),
            _SPACES,
            b"1" if link else _TYPES[kind],
            target.encode(),
            _MAGIC,
            b"%07o\0%07o\0" % (entry.major, entry.minor) if entry.major or entry.minor else _NO_DEVICE,
            b"",
        )
        # Adler's low half is the sum of the bytes plus one, modulo 65521, and 512 ASCII bytes stay below it.
        return b"%b%06o\0 %b" % (header[:148], (adler32(header) & 0xFFFF) - 1, header[156:])
    return _encode_hard(name, entry, link, target, size, mtime)


def encode_whiteout(path: str) -> bytes:
    """Return the member that removes `path`. Spec: image-spec layer.md, Whiteouts."""
    folder, slash, name = path.rpartition("/")
    return encode_member(f"{folder}{slash}{WHITEOUT_PREFIX}{name}", Entry("file", mode=0))


def encode_opaque(path: str) -> bytes:
    """Return the member that hides what lower layers have in directory `path`. Spec: layer.md, Opaque Whiteout."""
    return encode_member(f"{path}/{OPAQUE_NAME}" if path else OPAQUE_NAME, Entry("file", mode=0))


def _encode_hard(name: str, entry: Entry, link: str, target: str, size: int, mtime: int) -> bytes:
    """Encode what needs a PAX header, or a name split in two."""
    raw_name, raw_target = encode_text(name), encode_text(target)
    if b"\0" in raw_name or b"\0" in raw_target:
        raise ValueError(f"a name in a tar cannot hold a NUL: {name!r}")
    records: dict[bytes, bytes] = {}
    prefix, short = b"", raw_name
    if not raw_name.isascii():
        records[b"path"] = raw_name
        short = _ascii(raw_name)
    elif len(raw_name) > 100:
        split = _split(raw_name)
        if split is None:
            records[b"path"] = raw_name
        else:
            prefix, short = split
    short_target = raw_target
    if len(raw_target) > 100 or not raw_target.isascii():
        records[b"linkpath"] = raw_target
        short_target = _ascii(raw_target)
    numbers = {b"uid": entry.uid, b"gid": entry.gid, b"size": size, b"mtime": mtime}
    for key, value in numbers.items():
        if not 0 <= value <= (_MAX_7 if key in (b"uid", b"gid") else _MAX_11):
            records[key] = b"%d" % value
            numbers[key] = 0
    for attribute, data in entry.xattrs:
        key = encode_text(attribute)
        if b"=" in key or b"\0" in key:
            raise ValueError(f"a tar cannot hold the extended attribute `{attribute}` of {name!r}")
        records[b"SCHILY.xattr." + key] = data
    header = _sum(
        _pack(
            short[:100],
            b"%07o\0%07o\0%07o\0%011o\0%011o\0"
            % (entry.mode, numbers[b"uid"], numbers[b"gid"], numbers[b"size"], numbers[b"mtime"]),
            _SPACES,
            b"1" if link else _TYPES[entry.kind],
            short_target[:100],
            _MAGIC,
            b"%07o\0%07o\0" % (entry.major, entry.minor),
            prefix,
        )
    )
    if not records:
        return header
    if any(not _is_utf8(records.get(key, b"")) for key in (b"path", b"linkpath")):
        records[b"hdrcharset"] = b"BINARY"
    body = b"".join(encode_record(key, records[key]) for key in sorted(records))
    if len(body) > MAX_SPECIAL_BYTES:
        raise ValueError(f"the extended attributes of {name!r} are too big for a tar")
    pax = _pack(
        _PAX_NAME.encode(),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0, 0, 0, len(body), 0),
        _SPACES,
        b"x",
        b"",
        _MAGIC,
        _NO_DEVICE,
        b"",
    )
    return _sum(pax) + body + bytes(padding(len(body))) + header


def encode_record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _sum(header: bytes) -> bytes:
    return b"%b%06o\0 %b" % (header[:148], sum(header), header[156:])


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split at a slash into at most 155 and 100 bytes; None where that cannot be."""
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > 100:
        return None
    return name[:cut], name[cut + 1 :]


def _ascii(raw: bytes) -> bytes:
    # A reader without PAX sees this; the slash at the end must survive, it may be all that says "directory".
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


def parse_header(block: bytes) -> tuple[bytes, bytes, int, int, int, int, int, bytes, int, int]:
    """Return name, type, mode, uid, gid, size, mtime_s, link name, major, minor of a header block.

    Raises ValueError for a wrong checksum or a field that is no number.
    """
    name, mode, uid, gid, size, mtime, check, kind, link, magic, _, _, major, minor, prefix, rest = _unpack(block)
    try:
        stored = int(check.rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        raise ValueError("the checksum field is no number") from None
    rest_of_sum = 256 - sum(check)
    if (stored - rest_of_sum + 1) % 65521 != adler32(block) & 0xFFFF:
        # Old archives sum signed bytes.
        signed = sum(byte - 256 if byte > 127 else byte for byte in block)
        if stored - rest_of_sum != signed - sum(byte - 256 if byte > 127 else byte for byte in check) + sum(check):
            raise ValueError("the checksum is wrong: this is no tar header, or a damaged one")
    name = name.partition(b"\0")[0]
    if magic == _MAGIC and prefix[0]:
        if rest.endswith(b"tar\0"):
            prefix = prefix[:131]
        name = prefix.partition(b"\0")[0] + b"/" + name
    special = kind == b"3" or kind == b"4"
    try:
        return (
            name,
            kind,
            int(mode[:7], 8) if mode[7] == 0 and mode[0] == 48 else _number(mode),
            int(uid[:7], 8) if uid[7] == 0 and uid[0] == 48 else _number(uid),
            int(gid[:7], 8) if gid[7] == 0 and gid[0] == 48 else _number(gid),
            int(size[:11], 8) if size[11] == 0 and size[0] == 48 else _number(size),
            int(mtime[:11], 8) if mtime[11] == 0 and mtime[0] == 49 else _number(mtime),
            link.partition(b"\0")[0],
            _number(major) if special else 0,
            _number(minor) if special else 0,
        )
    except ValueError:
        raise ValueError(f"a number in the header of {decode_text(name)!r} is none") from None


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
