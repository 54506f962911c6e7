"""Volumes as documents of the Engine API, and which of them filters choose. Does I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from firkin.containers.home.engine import Engine
from firkin.containers.keeping.leftovers import sweep
from firkin.containers.volumes.make import LOCAL
from firkin.containers.volumes.shelf import Volume, Volumes
from firkin.errors import ContainerError

FILTERS = ("dangling", "driver", "label", "label!", "name")


def describe(shelf: Volumes, volume: Volume) -> dict[str, object]:
    """Return a volume's document. Spec: Engine API 1.51, Volume."""
    return {
        "CreatedAt": f"{volume.created.removesuffix('Z').partition('.')[0]}Z",
        "Driver": LOCAL,
        "Labels": volume.labels,
        "Mountpoint": shelf.data(volume.name),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": LOCAL,
    }


def list_volumes(engine: Engine, filters: Mapping[str, Sequence[str]]) -> list[Volume]:
    """Return the volumes that fit, by name: of several values of a key one is enough, of labels all are needed.

    Raises ContainerError (`invalid`) for an unknown filter or value.
    """
    for key in filters:
        if key not in FILTERS:
            raise ContainerError(f"invalid filter '{key}'", kind="invalid", code="volume-filter")
    sweep(engine)
    shelf = Volumes(engine)
    dangling = _flag(filters.get("dangling", ()))
    return [
        volume
        for volume in shelf.entries()
        if (dangling is None or dangling != bool(shelf.users(volume.name)))
        and _named(volume.name, filters.get("name", ()))
        and (LOCAL in filters.get("driver", (LOCAL,)))
        and all(has_label(volume, word) for word in filters.get("label", ()))
        and not any(has_label(volume, word) for word in filters.get("label!", ()))
    ]


def has_label(volume: Volume, word: str) -> bool:
    """Say whether a volume has a label, given as `KEY` or `KEY=VALUE`."""
    key, equals, value = word.partition("=")
    labels = volume.labels or {}
    return key in labels and (not equals or labels[key] == value)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    if pattern in name:
        return True
    try:
        return re.search(pattern, name) is not None
    except (re.error, OverflowError, RecursionError):
        return False


def _flag(values: Sequence[str]) -> bool | None:
    known = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}
    chosen = {known.get(value.lower()) for value in values}
    if not chosen:
        return None
    if len(chosen) > 1 or None in chosen:
        raise ContainerError(f"invalid filter 'dangling={','.join(values)}'", kind="invalid", code="volume-filter")
    return chosen.pop()
