"""Times as the Engine API writes them: RFC 3339 with nanoseconds, UTC. Does I/O."""

from __future__ import annotations

import time

_SECOND = 10**9


def now_text() -> str:
    """Return this moment."""
    return time_text(time.time_ns())


def time_text(ns: int) -> str:
    """Return a time (nanoseconds since the epoch) as text. Mirrors: Go's time.RFC3339Nano, without trailing zeros."""
    seconds, rest = divmod(ns, _SECOND)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{fraction}Z"


def time_ns(text: str) -> int:
    """Return the nanoseconds since the epoch of what `time_text` wrote; raises ValueError."""
    from calendar import timegm

    whole, _, fraction = text.removesuffix("Z").partition(".")
    date, _, clock = whole.partition("T")
    year, month, day = map(int, date.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    rest = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return timegm((year, month, day, hour, minute, second)) * _SECOND + rest
