"""Reads the journal of events: what happened, and what happens from now on. Does I/O.

`store/journal.py` writes it, and says how. A reader waits with one inotify(7) watch on the journal, for whatever it is.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from firkin.decode import decode_json
from firkin.errors import ContainerError
from firkin.linux import syscalls
from firkin.store.journal import journal_path

Event = dict[str, Any]
"""One event as the Engine API has it: Type, Action, Actor, scope, time, timeNano, and for some status, id and from."""

FILTERS = ("container", "daemon", "event", "image", "label", "network", "scope", "type", "volume")
_BY_BEGINNING = ("exec_create", "exec_start", "health_status")
_WATCHED = 0x2 | 0x800  # IN_MODIFY, IN_MOVE_SELF
_CHUNK = 1 << 16
_SECOND = 10**9
_LONGEST_S = 86400  # poll(2) takes milliseconds as an int


class EventFilter:
    """Which events are wanted: of several values of a key one is enough, but for labels; all keys must fit.

    Raises ContainerError (`invalid`) for an unknown key. Mirrors: moby daemon/events/filter.go.
    """

    def __init__(self, wanted: Mapping[str, Sequence[str]]) -> None:
        for key in wanted:
            if key not in FILTERS:
                raise ContainerError(f"invalid filter '{key}'", kind="invalid", code="event-filter")
        self._wanted = {key: tuple(values) for key, values in wanted.items() if values}

    def fits(self, event: Event) -> bool:
        """Say whether an event is wanted."""
        return all(_FITS.get(key, _fits_name)(key, values, event) for key, values in self._wanted.items())


def past_events(root: str, since_ns: int = 0, until_ns: int | None = None) -> Iterator[Event]:
    """Yield what the journal still has of a span of time, oldest first."""
    with _Reader(root) as reader:
        yield from _between(reader.lines(), since_ns, until_ns)


def follow_events(root: str, since_ns: int | None = None, until_ns: int | None = None) -> Iterator[Event]:
    """Yield events as they come, until a time if there is one; first what happened since a time, if there is one.

    Raises ContainerError when this user may not watch any more files.
    """
    start = time.time_ns() if since_ns is None else since_ns
    with _Reader(root, watch=True) as reader:
        while True:
            yield from _between(reader.lines(), start, until_ns)
            if until_ns is None:
                reader.wait(None)
                continue
            left = until_ns - time.time_ns()
            if left <= 0:
                return
            reader.wait(left / _SECOND)


def _between(lines: Iterator[bytes], since_ns: int, until_ns: int | None) -> Iterator[Event]:
    for line in lines:
        with suppress(ValueError, RecursionError, TypeError, KeyError):
            event = decode_json(line, Event)
            if since_ns <= event["timeNano"] and (until_ns is None or event["timeNano"] <= until_ns):
                yield event


class _Reader:
    """The lines of a journal: those before the last renaming, the present ones, and with `watch` those that come."""

    def __init__(self, root: str, *, watch: bool = False) -> None:
        self._path = journal_path(root)
        self._watch = -1
        self._files: list[int] = []
        self._rest = b""
        if watch:
            self._watch = _open_watch()
        while True:
            current = self._open(self._path)
            earlier = self._open(f"{self._path}.1")
            if current < 0 or _is_at(current, self._path):
                break  # else it was renamed in between
            for descriptor in (current, earlier):
                if descriptor >= 0:
                    os.close(descriptor)
        self._files = [descriptor for descriptor in (earlier, current) if descriptor >= 0]
        self._add_watch()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._files, self._watch):
            if descriptor >= 0:
                os.close(descriptor)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are there and were not read yet."""
        while self._files:
            yield from self._read(self._files[0])
            if len(self._files) == 1:
                if self._watch < 0 or _is_at(self._files[0], self._path):
                    return
                yield from self._read(self._files[0])  # what came between the end and the renaming
                self._files.append(self._open(self._path))
                self._add_watch()
            os.close(self._files.pop(0))

    def wait(self, seconds: float | None) -> None:
        """Wait until the journal changes, or for some seconds; for many, less than that."""
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        if poll.poll(None if seconds is None else min(max(0.0, seconds), _LONGEST_S) * 1000 + 1):
            with suppress(BlockingIOError):
                while os.read(self._watch, _CHUNK):
                    pass

    def _read(self, descriptor: int) -> Iterator[bytes]:
        while chunk := os.read(descriptor, _CHUNK):
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            yield from whole

    def _open(self, path: str) -> int:
        """Open a file of the journal, -1 if it is not there; whoever waits begins the present one."""
        begun = os.O_CREAT if self._watch >= 0 and path == self._path else 0
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | begun, 0o600)
        except FileNotFoundError:
            return -1

    def _add_watch(self) -> None:
        if self._watch >= 0:
            syscalls.inotify_add_watch(self._watch, f"/proc/self/fd/{self._files[-1]}", _WATCHED)


def _open_watch() -> int:
    try:
        return syscalls.inotify_init()
    except OSError as error:
        raise ContainerError(
            f"cannot wait for events: {(error.strerror or '').lower()}", kind="failed", code="event-watch",
            hints=("as root: sysctl -w fs.inotify.max_user_instances=512",),
        ) from error  # fmt: skip


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.fstat(descriptor).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


def _attributes(event: Event) -> dict[str, str]:
    found: dict[str, str] = event["Actor"]["Attributes"]
    return found


def _fits_name(key: str, values: Sequence[str], event: Event) -> bool:
    names = (event["Actor"]["ID"], _attributes(event).get("name", ""))
    return any(name.startswith(value.removeprefix("/")) for name in names for value in values)


def _fits_exactly(key: str, values: Sequence[str], event: Event) -> bool:
    return event[{"type": "Type", "scope": "scope"}[key]] in values


def _fits_action(key: str, values: Sequence[str], event: Event) -> bool:
    action = event["Action"]
    beginning = next((word for word in _BY_BEGINNING if action.startswith(word)), action)
    return action in values or beginning in values


def _fits_image(key: str, values: Sequence[str], event: Event) -> bool:
    attributes = _attributes(event)
    names = {event["Actor"]["ID"], attributes.get("name" if event["Type"] == "image" else "image", "")}
    return any(value in (name, _without_tag(name)) for name in names for value in values)


def _fits_labels(key: str, values: Sequence[str], event: Event) -> bool:
    attributes = _attributes(event)
    return all(_has(attributes, *value.partition("=")) for value in values)


def _has(attributes: Mapping[str, str], key: str, equals: str, value: str) -> bool:
    return key in attributes and (not equals or attributes[key] == value)


def _without_tag(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


_FITS = {
    "type": _fits_exactly,
    "scope": _fits_exactly,
    "event": _fits_action,
    "image": _fits_image,
    "label": _fits_labels,
}
