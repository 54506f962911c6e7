"""The files of a container's log, read from the oldest line or from the last few. Does I/O.

The monitor writes one JSON object a line to the newest file and renames full ones to `.1`, `.2`, …, which it may
compress to `.1.gz` (containers/monitor/log_files.py). Files are opened before they are read, so a rotation in between
loses nothing and repeats nothing. A line that is torn (the disk was full) or longer than any that a monitor writes is
left out.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress

import msgspec

from firkin.decode import decode_json, json_decoder
from firkin.tuples import NamedTuple

_BLOCK = 256 << 10
_LONGEST = 4 << 20
_NUMBERED = r"\.([1-9][0-9]{0,5})(\.gz)?"


class LogEntry(msgspec.Struct, frozen=True):
    """One object of a log: a line with its end, or a piece of a long one. `time` is RFC 3339, UTC."""

    log: str
    stream: str = "stdout"
    attrs: dict[str, str] = {}
    time: str = ""


def open_log(path: str) -> list[tuple[int, bool]]:
    """Return descriptors of a log's files, the oldest first, and whether each is compressed; the last is `path`.

    Of a file that is being compressed both forms may be there: the plain one counts.
    """
    opened: list[tuple[int, bool]] = []
    seen: set[tuple[int, int]] = set()
    for name, packed in (("", False), *_older(path)):
        try:
            descriptor = os.open(f"{path}{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        facts = os.fstat(descriptor)
        if (facts.st_dev, facts.st_ino) in seen:  # it was renamed since we opened it
            os.close(descriptor)
            continue
        seen.add((facts.st_dev, facts.st_ino))
        opened.append((descriptor, packed))
    return opened[::-1]


def _older(path: str) -> list[tuple[str, bool]]:
    """Return the endings of the names of older files, the newest first."""
    folder, _, name = path.rpartition("/")
    numbers: dict[int, bool] = {}
    with suppress(FileNotFoundError):
        for found in os.listdir(folder):
            if not found.startswith(name) or found == name:
                continue
            import re

            match = re.fullmatch(_NUMBERED, found.removeprefix(name))
            if match is not None:
                number = int(match[1])
                numbers[number] = numbers.get(number, True) and match[2] is not None
    return [(f".{number}{'.gz' if numbers[number] else ''}", numbers[number]) for number in sorted(numbers)]


class Part(NamedTuple):
    """What is read of one file: from `start` to `end` (-1: all), or the lines that were kept of a compressed one."""

    descriptor: int
    packed: bool
    start: int = 0
    kept: tuple[bytes, ...] = ()
    end: int = -1


def blocks(part: Part) -> Iterator[bytes]:
    """Yield the bytes of a part, decompressed."""
    if part.kept:
        yield from part.kept
    elif part.packed:
        yield from _unpacked(part.descriptor)
    else:
        place = part.start
        while data := os.pread(part.descriptor, _BLOCK if part.end < 0 else min(_BLOCK, part.end - place), place):
            place += len(data)
            yield data


def _unpacked(descriptor: int) -> Iterator[bytes]:
    import zlib

    place, unpacker = 0, zlib.decompressobj(31)
    with suppress(zlib.error):  # what is damaged ends there
        while data := os.pread(descriptor, _BLOCK, place):
            place += len(data)
            while data:
                yield unpacker.decompress(data, _BLOCK)
                data = unpacker.unconsumed_tail


class LineReader:
    """Cuts blocks into whole lines; keeps the beginning of one that is not finished."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """Return the complete lines there are now."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._rest = self._rest + data if len(self._rest) < _LONGEST else b""
            return b""
        lines, self._rest = self._rest + data[:end], data[end:]
        return lines


def entries(lines: bytes) -> list[LogEntry]:
    """Return the objects of complete lines."""
    try:
        found: list[LogEntry] = json_decoder(LogEntry).decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = []
        for line in lines.split(b"\n"):
            with suppress(ValueError, RecursionError):
                found.append(decode_json(line, LogEntry))
    return found


def parts_of(files: list[tuple[int, bool]], last: int | None) -> list[Part]:
    """Return what to read of a log's files, which come oldest first: the last lines, or with None everything.

    The newest file is always among them, with nothing to read for no lines.
    """
    if last is None:
        return [Part(*file) for file in files]
    chosen: list[Part] = []
    for descriptor, packed in reversed(files):
        if not last and chosen:
            break
        if packed:
            kept = _end_of_packed(descriptor, last)
            chosen.append(Part(descriptor, packed, kept=kept))
            last -= len(kept)
        else:
            start, last = _place_of(descriptor, last)
            chosen.append(Part(descriptor, packed, start))
    return chosen[::-1]


def parts_before(files: list[tuple[int, bool]], mark: Mapping[str, int]) -> list[Part] | None:
    """Return what to read of a log's files, the oldest first, up to a mark of a monitor; None if its file is not there.

    Of a file that was begun anew since (`max-file=1`) there is nothing.
    """
    parts: list[Part] = []
    for descriptor, packed in files:
        facts = os.fstat(descriptor)
        if (facts.st_dev, facts.st_ino) == (mark["device"], mark["inode"]):
            whole = facts.st_size >= mark["size"]
            return [*parts, Part(descriptor, packed, end=mark["size"])] if whole else parts
        parts.append(Part(descriptor, packed))
    return None


def _place_of(descriptor: int, count: int) -> tuple[int, int]:
    """Return where the last `count` lines of a file begin, and how many are missing."""
    place = os.fstat(descriptor).st_size
    found = 0
    while place > 0:
        size = min(_BLOCK, place)
        place -= size
        data = os.pread(descriptor, size, place)
        here = data.count(b"\n")
        if found + here > count:  # the end of the line before the first one that is wanted is in here
            at = len(data)
            for _ in range(count - found + 1):
                at = data.rfind(b"\n", 0, at)
            return place + at + 1, 0
        found += here
    return 0, count - found


def _end_of_packed(descriptor: int, count: int) -> tuple[bytes, ...]:
    """Return the last `count` lines of a compressed file."""
    kept: deque[bytes] = deque(maxlen=count)
    reader = LineReader()
    for data in _unpacked(descriptor):
        kept.extend(line + b"\n" for line in reader.take(data).split(b"\n")[:-1])
    return tuple(kept)
