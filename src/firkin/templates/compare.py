"""`eq`, `ne`, `lt`, `le`, `gt` and `ge` of templates. Pure. Mirrors: text/template funcs.go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firkin.templates.values import Absent

_INCOMPATIBLE = "incompatible types for comparison"


def _kind(value: object) -> str:
    """Return the kind of a value that can be compared. Raises ValueError."""
    for name, kind in (("bool", bool), ("int", int), ("float", float), ("string", str)):
        if isinstance(value, kind):
            return name
    if value is None or isinstance(value, Absent):
        return "nil"
    raise ValueError("non-comparable type")


def _equal(first: object, second: object) -> bool:
    kinds = _kind(first), _kind(second)
    if "nil" in kinds:
        return kinds[0] == kinds[1]
    if kinds[0] != kinds[1]:
        raise ValueError(_INCOMPATIBLE)
    return first == second


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _less(first: Any, second: Any) -> bool:
    kinds = _kind(first), _kind(second)
    if kinds[0] in ("bool", "nil"):
        raise ValueError("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise ValueError(_INCOMPATIBLE)
    return bool(first < second)


def _at_most(first: object, second: object) -> bool:
    return _less(first, second) or _equal(first, second)


COMPARISONS: Mapping[str, tuple[int, int | None, Callable[..., Any]]] = {
    "eq": (1, None, _eq),
    "ne": (2, 2, lambda first, second: not _equal(first, second)),
    "lt": (2, 2, _less),
    "le": (2, 2, _at_most),
    "gt": (2, 2, lambda first, second: not _at_most(first, second)),
    "ge": (2, 2, lambda first, second: not _less(first, second)),
}
"""name: (fewest arguments, most, function)."""
