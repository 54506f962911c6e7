"""Arguments of `client.images` in the forms that docker-py takes. Does I/O. `client_images` only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from firkin.api import keywords
from firkin.builder.request import RunOptions
from firkin.errors import UsageError
from firkin.events import Event, Log
from firkin.images.list import Wanted
from firkin.text import parse_size, seconds_of

OnEvent = Callable[[Event], object]
Filters = Mapping[str, str | bool | Iterable[str]]

_CHUNK = 2 << 20
_LOG_BYTES = 4 << 20
_KEYS = ("before", "dangling", "label", "label!", "reference", "since", "until")


class StepLog:
    """Keeps the end (4 MiB) of what steps write; called with the events of a build, which it hands on."""

    def __init__(self, on_event: OnEvent | None) -> None:
        keywords.optional(keywords.listener, "on_event", on_event)
        self._on_event = on_event
        self._pieces: list[bytes] = []
        self._size = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Log):
            self._pieces.append(event.data)
            self._size += len(event.data)
            while self._size > _LOG_BYTES and len(self._pieces) > 1:
                self._size -= len(self._pieces.pop(0))
        if self._on_event is not None:
            self._on_event(event)

    def lines(self) -> Iterator[dict[str, str]]:
        """Return the lines as docker-py does: `{"stream": line}`."""
        text = b"".join(self._pieces).decode("utf-8", "replace")
        return iter([{"stream": line} for line in text.splitlines(keepends=True)])


def named(argument: str, repository: str, tag: str | None) -> str:
    """Return NAME:TAG (or NAME@DIGEST) of what docker-py takes as two arguments."""
    name = keywords.text(argument, repository)
    if tag is None:
        return name
    tag = keywords.text("tag", tag)
    return f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}"


def read_filters(filters: Filters | None, known: tuple[str, ...] | None = _KEYS) -> dict[str, tuple[str, ...]]:
    """Read filters: a text, a truth value, or several texts for each key; None for keys that others check.

    Raises UsageError.
    """
    if filters is None:
        return {}

    def read(name: str, value: object) -> tuple[str, ...]:
        return (str(value).lower(),) if isinstance(value, bool) else keywords.text_or_texts(name, value)

    found = dict(keywords.mapping(read, "str, bool or several str", "filters", filters))
    unknown = found.keys() - set(known) if known is not None else ()
    if unknown:
        raise UsageError(
            f"invalid filter '{min(unknown)}'", code="argument-value", hints=(f"known are {', '.join(known or ())}",)
        )
    return found


def prunable(filters: Filters | None) -> Callable[[Mapping[str, str], str], bool]:
    """Read the filters of prune (`until`, `label`, `label!`); return what says whether labels and a time of birth fit.

    Raises UsageError.
    """
    found = read_filters(filters, ("until", "label", "label!"))
    until = min(map(_moment, found.get("until", ())), default=None)
    has, lacks = found.get("label", ()), found.get("label!", ())

    def fits(labels: Mapping[str, str], created: str) -> bool:
        if until is not None and (seconds_of(created) or 0.0) >= until:
            return False
        return all(_has(labels, word) for word in has) and not any(_has(labels, word) for word in lacks)

    return fits


def wanted_of(name: str | None, filters: dict[str, tuple[str, ...]]) -> Wanted:
    """Return which images a name and filters ask for. Raises UsageError."""
    dangling = {_truth(text) for text in filters.get("dangling", ())}
    if len(dangling) > 1:
        raise UsageError("`filters['dangling']` is both true and false", code="argument-value")
    has, lacks = filters.get("label", ()), filters.get("label!", ())

    def labels_fit(labels: Mapping[str, str]) -> bool:
        return all(_has(labels, word) for word in has) and not any(_has(labels, word) for word in lacks)

    return Wanted(
        (*filters.get("reference", ()), *((name,) if name else ())),
        dangling.pop() if dangling else None,
        labels_fit if has or lacks else None,
        filters.get("before", ()),
        filters.get("since", ()),
        min(map(_moment, filters.get("until", ())), default=None),
    )


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f"`filters['dangling']` is {text!r}: it takes True or False", code="argument-value")
    return text.lower() in ("true", "1")


def _has(labels: Mapping[str, str], word: str) -> bool:
    name, equals, value = word.partition("=")
    return name in labels and (not equals or labels[name] == value)


def _moment(text: str) -> float:
    """Read a time of RFC 3339, or seconds since 1970. Raises UsageError."""
    found = float(text) if text.isascii() and text.isdigit() and len(text) < 12 else seconds_of(text)
    if found is None:
        raise UsageError(
            f"`filters['until']` is {text!r}: it takes a time such as 2024-01-31T15:04:05Z, or seconds since 1970",
            code="argument-value",
        )
    return found


def pieces_of(data: object) -> Iterator[bytes]:
    """Yield bytes, those of a file, or pieces. Raises UsageError."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        yield from (bytes(data[at : at + _CHUNK]) for at in range(0, len(data), _CHUNK))
        return
    read = getattr(data, "read", None)
    pieces = iter(lambda: read(_CHUNK), b"") if read is not None else data
    if not isinstance(pieces, Iterable):
        raise UsageError(f"`data` is of type `{type(data).__name__}`: it takes bytes, a file or a path",
                         code="argument-type")  # fmt: skip
    for piece in pieces:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise UsageError(f"`data` gives `{type(piece).__name__}`: it takes bytes", code="argument-type")
        yield bytes(piece)


def beneath(context: str, dockerfile: str | os.PathLike[str] | None) -> str | None:
    """Return the path of a Dockerfile that counts from the context."""
    if dockerfile is None:
        return None
    return os.path.join(context, keywords.path("dockerfile", dockerfile))


def text_of(fileobj: BinaryIO) -> str:
    """Return the text of a Dockerfile. Raises UsageError."""
    raw: object = fileobj.read()
    try:
        return raw.decode() if isinstance(raw, bytes) else keywords.document("fileobj", raw)
    except UnicodeDecodeError:
        raise UsageError("`fileobj` is not UTF-8, as a Dockerfile must be", code="argument-value") from None


def run_options(
    network: str | None, hosts: Mapping[str, str] | None, shm: int | str | None
) -> RunOptions | None:  # fmt: skip
    """Return options of RUN steps, None for the usual ones. Raises UsageError."""
    if network is None and hosts is None and shm is None:
        return None
    mode = keywords.given(keywords.choice("default", "bridge", "host", "none"), "network_mode", network, "default")
    return RunOptions(
        network="default" if mode == "bridge" else mode,  # type: ignore[arg-type]
        add_hosts=keywords.given(keywords.pairs, "extra_hosts", hosts, ()),
        shm_size_bytes=_size("shmsize", shm) if shm is not None else RunOptions().shm_size_bytes,
    )


def _size(name: str, value: int | str) -> int:
    if not isinstance(value, str):
        return keywords.integer(name, value)
    try:
        return parse_size(value)
    except ValueError as error:
        raise UsageError(f"invalid `{name}`: {error}", code="argument-value") from None
