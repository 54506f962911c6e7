"""The build cache as `system df -v`, `buildx du` and `buildx prune` show it. Pure. `cli.commands` only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from firkin.builder.cache.usage import CacheItem
from firkin.cli.filters import parse_when
from firkin.errors import UsageError
from firkin.render.units import ago, go_time, short_id, size3

BOOLEANS: Mapping[str, Callable[[CacheItem], bool]] = {
    "inuse": lambda item: item.in_use,
    "mutable": lambda item: item.mutable,
    "immutable": lambda item: not item.mutable,
    "shared": lambda item: item.shared,
    "private": lambda item: not item.shared,
}
TEXTS: Mapping[str, Callable[[CacheItem], str]] = {
    "id": lambda item: item.id,
    "type": lambda item: item.type,
    "description": lambda item: item.description,
    "parents": lambda item: "",
}
AGES = ("until", "unused-for")
_FILTER = re.compile(r"([a-z-]+)(!=|~=|=)?(.*)", re.DOTALL)
FIELDS = {
    "ID": "ID",
    "Parents": "PARENTS",
    "CreatedAt": "CREATED AT",
    "Mutable": "MUTABLE",
    "Reclaimable": "RECLAIMABLE",
    "Shared": "SHARED",
    "Size": "SIZE",
    "Description": "DESCRIPTION",
    "UsageCount": "USAGE COUNT",
    "LastUsedAt": "LAST ACCESSED",
    "Type": "TYPE",
}
DEFAULT = "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}"
Test = Callable[[CacheItem], bool]


def rows_of(items: Iterable[CacheItem], now_s: float, *, marked: bool = False) -> list[dict[str, str]]:
    """Return the rows of items; `marked` puts a `*` to ids of mutable items and sizes of shared ones."""
    return [
        {
            "ID": f"{item.id if not marked else short_id(item.id)}{'*' * (marked and item.mutable)}",
            "Parents": "",
            "CreatedAt": go_time(item.created_s) if item.created_s else "",
            "Mutable": _word(item.mutable),
            "Reclaimable": _word(not item.in_use),
            "Shared": _word(item.shared),
            "Size": f"{size3(item.size_bytes)}{'*' * (marked and item.shared)}",
            "Description": item.description,
            "UsageCount": "1",
            "LastUsedAt": ago(max(0.0, now_s - item.used_s)) if item.used_s else "",
            "Type": item.type,
        }
        for item in items
    ]


def verbose_text(items: Iterable[CacheItem], now_s: float) -> str:
    """Return everything about items, a block for each. Mirrors: docker/buildx du --verbose."""
    blocks = []
    for item, row in zip(items := tuple(items), rows_of(items, now_s)):
        pairs = (
            ("ID", row["ID"]), ("Created at", row["CreatedAt"]), ("Mutable", row["Mutable"]),
            ("Reclaimable", row["Reclaimable"]), ("Shared", row["Shared"]), ("Size", row["Size"]),
            ("Description", row["Description"]), ("Usage count", row["UsageCount"]),
            ("Last used", row["LastUsedAt"]), ("Type", item.type),
        )  # fmt: skip
        width = max(len(name) for name, _ in pairs) + 2
        blocks.append("".join(f"{f'{name}:':<{width}}{value}\n" for name, value in pairs if value) + "\n")
    return "".join(blocks)


def totals_text(items: Iterable[CacheItem]) -> str:
    """Return the lines under the table of `buildx du`."""
    listed = tuple(items)
    shared = sum(item.size_bytes for item in listed if item.shared)
    total = sum(item.size_bytes for item in listed)
    reclaimable = sum(item.size_bytes for item in listed if not item.in_use)
    private = f"Shared:\t\t{size3(shared)}\nPrivate:\t{size3(total - shared)}\n" if shared else ""
    return f"{private}Reclaimable:\t{size3(reclaimable)}\nTotal:\t\t{size3(total)}\n"


def tests_of(words: Iterable[str], now_s: float) -> list[Test]:
    """Return the tests that `--filter` words mean; all must fit. Raises UsageError."""
    return [_test(word, now_s) for word in words]


def is_age(word: str) -> bool:
    """Say whether a `--filter` word is about the time since the last use."""
    match = _FILTER.fullmatch(word)
    return match is not None and match[1] in AGES


def _test(word: str, now_s: float) -> Test:
    match = _FILTER.fullmatch(word)
    key, sign, value = match.groups() if match else (word, "", "")
    if key in BOOLEANS:
        wanted = (not value or value in ("true", "1")) != (sign == "!=")
        return lambda item: BOOLEANS[key](item) is wanted
    if key in AGES:
        before_s = parse_when(value, now_s)
        return lambda item: item.used_s < before_s
    if key not in TEXTS:
        known = ", ".join((*TEXTS, *BOOLEANS, *AGES))
        raise UsageError(f"invalid filter '{key}'", hints=(f"known here are {known}",))
    if sign == "~=":
        return _matching(key, value)
    return lambda item: _is(item, key, value) != (sign == "!=")


def _is(item: CacheItem, key: str, value: str) -> bool:
    return TEXTS[key](item) == value or (key == "id" and value != "" and item.id.startswith(value))


def _matching(key: str, pattern: str) -> Test:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"invalid filter '{key}~={pattern}': {error}") from None
    return lambda item: found.search(TEXTS[key](item)) is not None


def _word(value: bool) -> str:
    return "true" if value else "false"
