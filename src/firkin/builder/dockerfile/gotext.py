"""Go's spelling of values, as BuildKit writes and reads them. Pure. Anybody in `dockerfile/` may import it.

History lines and durations of HEALTHCHECK come from Go's fmt, strconv and time packages.
"""

from __future__ import annotations

from collections.abc import Iterable

from firkin.builder.dockerfile.words import quote
from firkin.text import clean

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_NS = (1 << 63) - 1


def quote_list(texts: Iterable[str]) -> str:
    """Return the texts as Go's %q does for a slice: `["a" "b"]`."""
    return f"[{' '.join(map(quote, texts))}]"


def plain_list(texts: Iterable[str]) -> str:
    """Return the texts as Go's %v does for a slice: `[a b]`."""
    return f"[{' '.join(texts)}]"


def clean_path(path: str) -> str:
    """Return an absolute path without `.`, `..`, doubled and trailing slashes; `..` stops at the root."""
    return "/" + clean(path)


def base_name(path: str) -> str:
    """Return the last element of a path; `.` for the empty path, `/` for slashes only."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def parse_duration(text: str) -> int:
    """Return nanoseconds of `1h2m3.5s`; raises ValueError. Mirrors: time.ParseDuration."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0
    while rest:
        ns, rest = _duration_part(text, rest)
        total += ns
        if total > _MAX_NS:
            raise ValueError(f"time: invalid duration {quote(text)}")
    return -total if text.startswith("-") else total


def _duration_part(text: str, rest: str) -> tuple[int, str]:
    """Read one number with its unit from `rest`; return its nanoseconds and the text after it."""
    whole, rest = _digits(rest)
    fraction = ""
    if rest.startswith("."):
        fraction, rest = _digits(rest[1:])
    if not whole and not fraction:
        raise ValueError(f"time: invalid duration {quote(text)}")
    end = 0
    while end < len(rest) and rest[end] != "." and not "0" <= rest[end] <= "9":
        end += 1
    unit, rest = rest[:end], rest[end:]
    if not unit:
        raise ValueError(f"time: missing unit in duration {quote(text)}")
    if unit not in _UNITS_NS:
        raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
    scale = _UNITS_NS[unit]
    fraction = fraction[:30]
    return int(whole[:30] or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction), rest


def _digits(text: str) -> tuple[str, str]:
    end = 0
    while end < len(text) and "0" <= text[end] <= "9":
        end += 1
    return text[:end], text[end:]


def format_duration(ns: int) -> str:
    """Return `1m30s` for nanoseconds. Mirrors: time.Duration.String."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns < 1_000:
        return f"{sign}{ns}ns"
    if ns < 1_000_000:
        return f"{sign}{_decimal(ns, 1_000)}µs"
    if ns < 1_000_000_000:
        return f"{sign}{_decimal(ns, 1_000_000)}ms"
    minutes, rest = divmod(ns, 60_000_000_000)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}"
