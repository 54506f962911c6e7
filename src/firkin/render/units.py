"""Sizes, durations, ids and times as docker prints them, the times in the local zone. Pure. `render`, `cli` only.

Mirrors: github.com/docker/go-units; Go's time.Time.String. No locale changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.text import duration

if TYPE_CHECKING:
    from datetime import datetime as Moment

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SHORT_ID = 12


def size3(size_bytes: float) -> str:
    """Return a size with three digits: `1.23MB`. Mirrors: units.HumanSizeWithPrecision(size, 3)."""
    return _size(size_bytes, 3, 1000, _DECIMAL)


def size4(size_bytes: float) -> str:
    """Return a size with four digits: `1.234MB`. Mirrors: units.HumanSize."""
    return _size(size_bytes, 4, 1000, _DECIMAL)


def binary_size(size_bytes: float) -> str:
    """Return a size in powers of 1024: `7.75GiB`. Mirrors: units.BytesSize."""
    return _size(size_bytes, 4, 1024, _BINARY)


def _size(size: float, digits: int, base: int, units: tuple[str, ...]) -> str:
    place = 0
    while size >= base and place < len(units) - 1:
        size /= base
        place += 1
    return f"{size:.{digits}g}{units[place]}"


def ago(seconds: float) -> str:
    """Return `2 hours ago`."""
    return f"{duration(seconds)} ago"


def short_id(digest: str) -> str:
    """Return the first 12 characters of a digest, without its algorithm. Mirrors: stringid.TruncateID."""
    return digest.partition(":")[2][:_SHORT_ID] if ":" in digest else digest[:_SHORT_ID]


def go_time(seconds: float) -> str:
    """Return a time as Go's String() has it, in the local zone: `2024-01-02 15:04:05 +0000 UTC`. Raises ValueError."""
    return _local(seconds).strftime("%Y-%m-%d %H:%M:%S %z %Z")


def rfc3339(seconds: float) -> str:
    """Return a time in the local zone: `2024-01-02T15:04:05+01:00`, with `Z` for UTC. Raises ValueError."""
    return _local(int(seconds)).isoformat().replace("+00:00", "Z")


def _local(seconds: float) -> Moment:
    from _datetime import datetime, timezone  # the module `datetime` itself takes 2 ms to load

    try:
        local: Moment = datetime.fromtimestamp(seconds, timezone.utc).astimezone()
        return local
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is no time") from error
