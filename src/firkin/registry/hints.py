"""Hints about mirrors, for those whom they help: a mirror stands in for a registry in pulls only. Pure."""

from __future__ import annotations

from firkin.hints import AnyHint, Hint

_FOR_PUSHES: dict[str, str] = {
    "mirror": "is this the registry's host and port, and does it run?",
    "mirror-hub": "a name without a host means Docker Hub; write `HOST/NAME` for another registry. "
    "`HTTPS_PROXY` names a proxy",
}


def without_mirrors(hints: tuple[AnyHint, ...]) -> tuple[AnyHint, ...]:
    """Return the hints but those that tell of mirrors."""
    return tuple(hint for hint in hints if not isinstance(hint, Hint) or hint.kind not in _FOR_PUSHES)


def for_a_push(hints: tuple[AnyHint, ...]) -> tuple[AnyHint, ...]:
    """Return the hints with other ways out in the place of mirrors."""
    return tuple(_FOR_PUSHES.get(hint.kind, hint) if isinstance(hint, Hint) else hint for hint in hints)
