"""Which containers a list has: `--filter` of `ps`, `filters` of the Engine API. Pure.

Values of one key are alternatives, but all labels must be there; every key must fit. `name`, `id` and `status` are
equal texts or regular expressions. Mirrors: moby daemon/list.go, api/types/filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from firkin.containers.documents.lifecycle import status_of
from firkin.containers.documents.networks import endpoints
from firkin.containers.documents.record import ZERO_TIME, Record, State
from firkin.containers.documents.status import health_of
from firkin.errors import ContainerError
from firkin.tuples import NamedTuple

KEYS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_LARGEST_PORT = 65535

Values = Mapping[str, tuple[str, ...]]
"""Keys with their values."""


class Asked(NamedTuple):
    """What else the filters ask for: `every`: stopped containers too (`status` says so)."""

    fits: Callable[[Record, State], bool]
    every: bool


def read_filter(values: Values, is_from: Callable[[str, Record], bool]) -> Asked:
    """Check filters; `before` and `since` are left to the list, which has an order.

    `is_from` says whether a container was made of an image or of one built on it. Raises ContainerError.
    """
    for key in values.keys() - frozenset(KEYS):
        raise _invalid(f"invalid filter '{key}'", f"there are {', '.join(KEYS)}")
    for key, check in _CHECKS.items():
        for value in values.get(key, ()):
            check(key, value)
    chosen = [(_FITS[key], texts) for key, texts in values.items() if texts and key in _FITS]
    images = values.get("ancestor", ())

    def fits(record: Record, state: State) -> bool:
        if images and not any(is_from(text, record) for text in images):
            return False
        return all(one_fits(record, state, texts) for one_fits, texts in chosen)

    return Asked(fits, "status" in values)


def _invalid(message: str, *hints: str) -> ContainerError:
    return ContainerError(message, kind="invalid", code="filter", hints=hints)


def _one_of(*words: str) -> Callable[[str, str], None]:
    def check(key: str, value: str) -> None:
        if value not in words:
            raise _invalid(f"invalid filter '{key}={value}'", f"it is one of {', '.join(words)}")

    return check


def _check_number(key: str, text: str) -> None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise _invalid(f"invalid filter '{key}={text}'", "it is an exit code")


def _check_boolean(key: str, text: str) -> None:
    if text.lower() not in _BOOLEANS:
        raise _invalid(f"invalid filter '{key}={text}'", "it is true or false")


def _ports(key: str, text: str) -> frozenset[str]:
    """Return the ports that `80`, `80-90` or `53/udp` mean, as `80/tcp`."""
    if ":" in text:
        raise _invalid(f"filter for '{key}' should not contain ':': {text}")
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    low, high = _port(first), _port(last or first)
    if not 0 <= low <= high <= _LARGEST_PORT:
        raise _invalid(f"invalid filter '{key}={text}'", "it is a port, e.g. `80`, or several: `8000-8010/udp`")
    return frozenset(f"{port}/{protocol or 'tcp'}" for port in range(low, high + 1))


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1


def _have(key: str, texts: Iterable[str], ports: Mapping[str, object] | None) -> bool:
    return bool(ports) and any(not _ports(key, text).isdisjoint(ports or ()) for text in texts)


def _matches(patterns: Iterable[str], texts: tuple[str, ...]) -> bool:
    return any(pattern in texts or _found(pattern, texts) for pattern in patterns)


def _found(pattern: str, texts: tuple[str, ...]) -> bool:
    import re

    try:
        return any(re.search(pattern, text) for text in texts)
    except (re.error, RecursionError, OverflowError):
        return False


def _ended(state: State) -> bool:
    return not state.running and state.started_at != ZERO_TIME


def _has_labels(labels: Mapping[str, str], words: Iterable[str]) -> bool:
    pairs = (word.partition("=") for word in words)
    return all(name in labels and (not equals or labels[name] == value) for name, equals, value in pairs)


def _on_network(record: Record, names: Iterable[str]) -> bool:
    joined = endpoints(record)
    ids = {endpoint["NetworkID"] for endpoint in joined.values()} - {""}
    return any(name in joined or name in ids for name in names)


def _has_volume(record: Record, texts: Iterable[str]) -> bool:
    known = {text for mount in record.mounts for text in (mount.name or mount.source, mount.destination)}
    return any(text in known for text in texts)


_CHECKS: Mapping[str, Callable[[str, str], object]] = {
    "status": _one_of("created", "restarting", "running", "removing", "paused", "exited", "dead"),
    "health": _one_of("starting", "healthy", "unhealthy", "none"),
    "exited": _check_number,
    "is-task": _check_boolean,
    "publish": _ports,
    "expose": _ports,
}
_FITS: Mapping[str, Callable[[Record, State, tuple[str, ...]], bool]] = {
    "id": lambda record, state, texts: _matches(texts, (record.id,)),
    "name": lambda record, state, texts: _matches(texts, (record.name, f"/{record.name}")),
    "status": lambda record, state, texts: status_of(state) in texts,
    "health": lambda record, state, texts: health_of(state) in texts,
    "exited": lambda record, state, texts: _ended(state) and state.exit_code in map(int, texts),
    "label": lambda record, state, texts: _has_labels(record.config.labels or {}, texts),
    "network": lambda record, state, texts: _on_network(record, texts),
    "volume": lambda record, state, texts: _has_volume(record, texts),
    "publish": lambda record, state, texts: _have("publish", texts, record.host_config.port_bindings),
    "expose": lambda record, state, texts: _have("expose", texts, record.config.exposed_ports),
    "is-task": lambda record, state, texts: any(not _BOOLEANS[text.lower()] for text in texts),
    "isolation": lambda record, state, texts: _matches(texts, (record.host_config.isolation,)),
}
