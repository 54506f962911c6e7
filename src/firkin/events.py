"""The build's one event stream: what renderers, `--progress=json` and API callers see. Pure.

Events are frozen and carry the time when they were emitted (`time`: seconds since the epoch). Emitting never raises.
On the wire (worker pipe, `--progress=json`) each event is one JSON line with its kind under "event"; output of
steps is base64, so that every byte arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from firkin.decode import json_decoder
from firkin.hints import AnyHint, Hint, Texts, hint_text, hint_texts
from firkin.source import Source, Span
from firkin.text import valid_text

EVENT_VERSION = 1


class Vertex(msgspec.Struct, frozen=True):
    """One line of the plan: a step, a base image to resolve, an output to write."""

    id: str
    title: str
    stage: str = ""
    number: int = 0  # position in its stage, from 1; 0: not a Dockerfile instruction
    total: int = 0  # instructions in its stage
    span: Span | None = None


class Planned(msgspec.Struct, frozen=True, tag_field="event", tag="planned"):
    """The vertices of this build; emitted again when more become known."""

    time: float
    vertices: tuple[Vertex, ...]
    source: Source | None = None


class Started(msgspec.Struct, frozen=True, tag_field="event", tag="started"):
    time: float
    id: str


class Log(msgspec.Struct, frozen=True, tag_field="event", tag="log"):
    """Output of a RUN step. `data` keeps the exact bytes (base64 in JSON)."""

    time: float
    id: str
    stream: Literal["stdout", "stderr"]
    data: bytes


class Progress(msgspec.Struct, frozen=True, tag_field="event", tag="progress"):
    """`current` of `total` (0: unknown) units of `unit` ("B" or "files") done for `what`."""

    time: float
    id: str
    what: str
    current: int
    total: int = 0
    unit: str = "B"


class Finished(msgspec.Struct, frozen=True, tag_field="event", tag="finished"):
    time: float
    id: str
    status: Literal["done", "cached", "failed", "cancelled"]
    detail: str = ""
    option: Hint | msgspec.UnsetType = msgspec.UNSET  # what `detail` is about; a front puts it before `detail`


class Warned(msgspec.Struct, frozen=True, tag_field="event", tag="warned"):
    """Something that is allowed but probably a mistake. `code` is stable."""

    time: float
    code: str
    message: str
    span: Span | None = None
    hints: tuple[AnyHint, ...] = ()
    url: str = ""
    remedy: Hint | msgspec.UnsetType = msgspec.UNSET  # the end of the message; a front adds it


class Completed(msgspec.Struct, frozen=True, tag_field="event", tag="completed"):
    """The build succeeded. `digest` is the manifest's (or index's) digest."""

    time: float
    digest: str
    config_digest: str
    names: tuple[str, ...]
    size_bytes: int
    seconds: float


Event = Planned | Started | Log | Progress | Finished | Warned | Completed
Emit = Callable[[Event], None]


def in_words(event: Event, texts: Texts) -> Event:
    """Return the event with its hints in the words of a front, as renderers and callers see it."""
    match event:
        case Warned(message=message, hints=hints, remedy=remedy) if hints or remedy:
            if remedy:
                message = f"{message}; {hint_text(remedy, texts)}"
            return msgspec.structs.replace(event, message=message, hints=hint_texts(hints, texts), remedy=msgspec.UNSET)
        case Finished(option=Hint() as option, detail=detail):
            told = f"{hint_text(option, texts)}: {detail}"
            return msgspec.structs.replace(event, detail=told, option=msgspec.UNSET)
        case _:
            return event


class PlatformPrefix:
    """An Emit for a build of several graphs, one for each platform or target, whose steps have the same numbers.

    The name of the graph is put before the ids of its steps, which makes them unique. Without a name, events pass
    unchanged.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._name = ""
        self._label = ""

    def enter(self, name: str, label: str = "") -> None:
        """Make steps from now on belong to graph `name`; `label` is put before their stage."""
        self._name, self._label = name, label

    def __call__(self, event: Event) -> None:
        self._emit(self._prefixed(event) if self._name else event)

    def qualified(self, id: str) -> str:
        """Return the unique id of a step: with the prefix, if there is one."""
        return self._id(id) if self._name else id

    def _prefixed(self, event: Event) -> Event:
        match event:
            case Planned(vertices=vertices):
                return msgspec.structs.replace(event, vertices=tuple(map(self._vertex, vertices)))
            case Started(id=id) | Log(id=id) | Progress(id=id) | Finished(id=id):
                return msgspec.structs.replace(event, id=self._id(id))
            case _:
                return event

    def _vertex(self, vertex: Vertex) -> Vertex:
        if not vertex.id.isdecimal():
            return vertex
        stage = f"{self._label} {vertex.stage}".strip()
        return msgspec.structs.replace(vertex, id=self._id(vertex.id), stage=stage)

    def _id(self, id: str) -> str:
        return f"{self._name} {id}" if id.isdecimal() else id


def qualified(emit: Emit, id: str) -> str:
    """Return the id under which a step's events arrive, even if another graph is built when they are emitted."""
    return emit.qualified(id) if isinstance(emit, PlatformPrefix) else id


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = json_decoder(Event)


def encode_event(event: Event) -> bytes:
    """Return the event as one JSON line (without the line's end)."""
    return encode_line(event)


def encode_line(value: msgspec.Struct) -> bytes:
    """Return one line of a stream as JSON; no content of a text makes it raise.

    Texts may quote a file or its name: bytes that are not UTF-8 become U+FFFD.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_valid(value))


def _valid(value: object) -> object:
    """Return the value with texts that can be encoded."""
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, msgspec.Struct):
        fields = {field: _valid(getattr(value, field)) for field in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    if isinstance(value, tuple):
        return tuple(_valid(item) for item in value)
    return value


def decode_event(line: bytes) -> Event:
    """Read one JSON line. Raises msgspec.ValidationError for anything else."""
    return _decoder.decode(line)
