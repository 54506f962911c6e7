"""`--filter` of the commands that list and prune. Pure. `cli` only. Mirrors: docker/cli opts.FilterOpt, moby filters.

Times without a zone are in the local one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from firkin.errors import UsageError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_FARTHEST_S = 1e13  # thirty times the longest time that Unix seconds are written for here
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)"
_DURATION = re.compile(rf"[+-]?(?:{_PART})+|[+-]?0", re.ASCII)
_UNIX = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Filters(NamedTuple):
    """Keys with their values, in the order in which they were given."""

    values: Mapping[str, tuple[str, ...]]

    def of(self, key: str) -> tuple[str, ...]:
        """Return the values of a key, () if it was not given."""
        return self.values.get(key, ())

    def has(self, key: str, value: str) -> bool:
        """Say whether a value is one of a key's, or the key was not given."""
        return key not in self.values or value in self.values[key]

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        """Return a key's value as a boolean. Raises UsageError."""
        chosen = {_BOOLEANS.get(value.lower()) for value in self.of(key)}
        if not chosen:
            return default
        if len(chosen) > 1 or None in chosen:
            raise UsageError(f"invalid filter '{key}={','.join(self.of(key))}'", hints=("it is true or false",))
        return chosen.pop()

    def labels_fit(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels have all that `label` names, and nothing that `label!` names."""
        return all(_has_label(labels, word) for word in self.of("label")) and not any(
            _has_label(labels, word) for word in self.of("label!")
        )

    def before_s(self, now_s: float) -> float | None:
        """Return the time of `until`, of several the earliest, in Unix seconds. Raises UsageError."""
        return min((parse_when(word, now_s) for word in self.of("until")), default=None)


_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def _has_label(labels: Mapping[str, str], word: str) -> bool:
    name, equals, value = word.partition("=")
    return name in labels and (not equals or labels[name] == value)


def parse_filters(words: Iterable[str], known: Collection[str]) -> Filters:
    """Read `key=value` words; `label!=x` has the key `label!`. Raises UsageError for other keys than the known."""
    values: dict[str, tuple[str, ...]] = {}
    for word in words:
        if not word:
            continue
        key, equals, value = word.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            raise UsageError(f"invalid filter '{word}': it is no `key=value`", code="option")
        if key not in known:
            raise UsageError(f"invalid filter '{key}'", hints=(f"known here are {', '.join(sorted(known))}",))
        if value not in values.get(key, ()):
            values[key] = (*values.get(key, ()), value)
    return Filters(values)


def parse_when(text: str, now_s: float) -> float:
    """Return the Unix time that a text means: seconds, RFC 3339, a date, or a Go duration (ago). Raises UsageError.

    Dates without a zone are in the local one. Mirrors: moby api/types/time GetTimestamp.
    """
    ways: tuple[tuple[re.Pattern[str], Callable[[str], float]], ...] = (
        (_DURATION, lambda found: now_s - _duration_s(found)),
        (_UNIX, float),
        (_DATE, _date_s),
    )
    for pattern, read in ways:
        # `0` is a duration in Go, but nobody means now by it: as a time it is 1970.
        if pattern.fullmatch(text) and not (pattern is _DURATION and text == "0"):
            try:
                found = read(text)
            except (ValueError, OverflowError):
                break
            if abs(found) < _FARTHEST_S:  # neither infinite
                return found
            break
    raise UsageError(
        f"`{text[:40]}` is no time", hints=("write e.g. `24h`, `2024-01-31`, `2024-01-31T15:04:05Z` or Unix seconds",)
    )


def _duration_s(text: str) -> float:
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text, re.ASCII))
    return -seconds if text.startswith("-") else seconds


def _date_s(text: str) -> float:
    from datetime import datetime

    match = _DATE.fullmatch(text)
    assert match is not None
    day, clock, zone = match.groups()
    whole = f"{clock or '00'}{':00' * (2 - (clock or '').count(':'))}"
    return datetime.fromisoformat(f"{day}T{whole}{zone or ''}").astimezone().timestamp()
