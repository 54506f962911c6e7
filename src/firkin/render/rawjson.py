"""Events in BuildKit's form: on each line a JSON object of its client's SolveStatus. Does I/O. `render` only.

Programs that read `buildx build --progress=rawjson` can read this. Digests only name vertices. Warnings about the
Dockerfile belong to a vertex of their own, as in BuildKit.
Mirrors: moby/buildkit client/graph.go, util/progress/progressui (rawJSONDisplay).
"""

from __future__ import annotations

import time
from hashlib import sha256

import msgspec

from firkin.events import Event, Finished, Log, Planned, Progress, Started, Vertex, Warned
from firkin.render.jsonl import JsonRenderer
from firkin.render.text import vertex_title
from firkin.source import Span


class _Vertex(msgspec.Struct, omit_defaults=True):
    digest: str
    name: str
    started: str = ""
    completed: str = ""
    cached: bool = False
    error: str = ""


class _Status(msgspec.Struct, omit_defaults=True):
    id: str
    vertex: str
    current: int
    timestamp: str
    total: int = 0
    started: str = ""
    completed: str = ""


class _Log(msgspec.Struct, omit_defaults=True):
    vertex: str
    stream: int
    data: bytes
    timestamp: str


class _Position(msgspec.Struct, omit_defaults=True):
    line: int = 0
    character: int = 0


class _Range(msgspec.Struct):
    start: _Position
    end: _Position


class _SourceInfo(msgspec.Struct):
    filename: str
    data: bytes
    language: str = "Dockerfile"


class _Warning(msgspec.Struct, omit_defaults=True, rename={"source_info": "sourceInfo"}):
    vertex: str
    level: int
    short: bytes
    detail: tuple[bytes, ...] = ()
    url: str = ""
    source_info: _SourceInfo | None = None
    range: tuple[_Range, ...] = ()


class _Line(msgspec.Struct, omit_defaults=True):
    vertexes: tuple[_Vertex, ...] = ()
    statuses: tuple[_Status, ...] = ()
    logs: tuple[_Log, ...] = ()
    warnings: tuple[_Warning, ...] = ()


class RawJsonRenderer(JsonRenderer):
    """One SolveStatus on each line."""

    def __init__(self, descriptor: int, terminal: bool) -> None:
        super().__init__(descriptor, terminal)
        self._vertices: dict[str, _Vertex] = {}
        self._statuses: dict[tuple[str, str], str] = {}  # when each began
        self._definition = ""  # the digest of the vertex that read the Dockerfile

    def event(self, event: Event) -> None:
        match event:
            case Planned():
                self._planned(event)
            case Started(id=id):
                vertex = self._vertex(id)
                vertex.started, vertex.completed = _stamp(event.time), ""
                self._write(_Line(vertexes=(vertex,)))
            case Finished():
                self._finished(event)
            case Log(id=id, stream=stream, data=data):
                number = 1 if stream == "stdout" else 2
                self._write(_Line(logs=(_Log(self._vertex(id).digest, number, data, _stamp(event.time)),)))
            case Progress():
                self._moved(event)
            case Warned():
                self._warned(event)
            case _:
                pass  # the results are in the metadata file

    def _planned(self, event: Planned) -> None:
        new = []
        if event.source is not None and event.source.name not in self._sources:
            self._sources[event.source.name] = event.source
            now = _stamp(event.time)
            name = f"[internal] load build definition from {event.source.name}"
            read = _Vertex(_digest(name), name, now, now)
            self._definition = self._definition or read.digest
            new.append(read)
        for vertex in event.vertices:
            if vertex.id not in self._vertices:
                self._vertices[vertex.id] = _Vertex(_digest(vertex.id), vertex_title(vertex))
                new.append(self._vertices[vertex.id])
        if new:
            self._write(_Line(vertexes=tuple(new)))

    def _vertex(self, id: str) -> _Vertex:
        return self._vertices.setdefault(id, _Vertex(_digest(id), vertex_title(Vertex(id, id))))

    def _finished(self, event: Finished) -> None:
        vertex, now = self._vertex(event.id), _stamp(event.time)
        vertex.started, vertex.completed = vertex.started or now, now
        vertex.cached = event.status == "cached"
        if event.status in ("failed", "cancelled"):
            vertex.error = event.detail or event.status
        self._write(_Line(vertexes=(vertex,)))

    def _moved(self, event: Progress) -> None:
        now = _stamp(event.time)
        began = self._statuses.setdefault((event.id, event.what), now)
        done = now if event.total and event.current >= event.total else ""
        digest = self._vertex(event.id).digest
        status = _Status(event.what, digest, event.current, now, event.total, began, done)
        self._write(_Line(statuses=(status,)))

    def _warned(self, event: Warned) -> None:
        source = self._sources.get(event.span.name) if event.span is not None else None
        self._write(
            _Line(
                warnings=(
                    _Warning(
                        self._definition,
                        1,
                        f"{event.code}: {event.message}".encode(),
                        tuple(str(hint).encode() for hint in event.hints),
                        event.url,
                        None if source is None else _SourceInfo(source.name, source.text.encode()),
                        () if event.span is None else _ranges(event.span),
                    ),
                )
            )
        )

    def _write(self, line: _Line) -> None:
        self._write_line(msgspec.json.encode(line))


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _stamp(seconds: float) -> str:
    """Return a time in the form of Go's JSON: `2026-01-02T03:04:05.678901Z`, without trailing zeros."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{micros:06}".rstrip("0").rstrip(".") + "Z"


def _ranges(span: Span) -> tuple[_Range, ...]:
    lines = (_Position(line) for line in range(span.start.line, span.end.line + 1))
    return tuple(_Range(line, line) for line in lines)
