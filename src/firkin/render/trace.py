"""Events folded into the state of a build. Pure. `render` only.

Vertices get their numbers (`#4`) in the order in which they begin, as in BuildKit's progress. A vertex that has
ended may begin again: a base image is first resolved, and its layers are fetched when they are needed.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, assert_never

from firkin.events import (
    Completed,
    Event,
    Finished,
    Log,
    Planned,
    Progress,
    Started,
    Vertex,
    Warned,
)
from firkin.source import Source

TAIL_LINES = 64
MAX_LINE_BYTES = 64 * 1024

State = Literal["waiting", "running", "done", "cached", "failed", "cancelled"]


class VertexState:
    """One vertex: what it is, when it ran, the end of its output."""

    def __init__(self, vertex: Vertex) -> None:
        self.vertex = vertex
        self.number = 0  # 0: has not begun
        self.state: State = "waiting"
        self.started_s = 0.0
        self.finished_s = 0.0
        self.detail = ""
        self.worked = False  # it began and did something, so its result was not there already
        self.tail: deque[tuple[float, bytes]] = deque(maxlen=TAIL_LINES)
        self.progress: dict[str, Progress] = {}
        self._partial = {"stdout": b"", "stderr": b""}

    @property
    def ended(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def moved(self) -> tuple[int, int]:
        """Return how many bytes were moved, and of how many (as far as known)."""
        parts = [event for event in self.progress.values() if event.unit == "B"]
        return sum(event.current for event in parts), sum(max(event.total, event.current) for event in parts)

    def seconds(self, now_s: float) -> float:
        """Return how long it ran, or has run so far."""
        return max(0.0, (self.finished_s if self.ended else now_s) - self.started_s)

    def take(self, log: Log) -> list[tuple[float, bytes]]:
        """Add output; return the lines that became complete, with their time since the start."""
        data = self._partial[log.stream] + log.data
        *lines, rest = data.split(b"\n")
        while len(rest) > MAX_LINE_BYTES:
            lines.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._partial[log.stream] = rest
        return self._stamped(lines, log.time)

    def flush(self, time_s: float) -> list[tuple[float, bytes]]:
        """Return the output after the last line end."""
        lines = [rest for rest in self._partial.values() if rest]
        self._partial = {"stdout": b"", "stderr": b""}
        return self._stamped(lines, time_s)

    def last_lines(self, count: int) -> list[bytes]:
        """Return the newest lines of output, including the unfinished one."""
        lines = [line for _, line in self.tail] + [rest for rest in self._partial.values() if rest]
        return lines[-count:] if count else []

    def _stamped(self, lines: list[bytes], time_s: float) -> list[tuple[float, bytes]]:
        stamped = [(max(0.0, time_s - self.started_s), line) for line in lines]
        self.tail.extend(stamped)
        return stamped


class Trace:
    """Everything that is known about one build."""

    def __init__(self) -> None:
        self.vertices: dict[str, VertexState] = {}
        self.sources: dict[str, Source] = {}
        self.warnings: list[Warned] = []
        self.completed: Completed | None = None
        self.last_lines: list[tuple[float, bytes]] = []  # completed by the newest event
        self.began_s = 0.0  # of the first event
        self._begun = 0

    def apply(self, event: Event) -> VertexState | None:
        """Take an event; returns the vertex that it is about."""
        self.last_lines = []
        if not self.began_s:
            self.began_s = event.time
        match event:
            case Planned():
                self._plan(event)
                return None
            case Started(time=time, id=id):
                state = self._begin(id, time)
                state.worked = True
                if state.ended:
                    state.state, state.started_s, state.detail = "running", time, ""
                return state
            case Log(time=time, id=id):
                state = self._begin(id, time)
                self.last_lines = state.take(event)
                return state
            case Progress(time=time, id=id, what=what):
                state = self._begin(id, time)
                state.progress[what] = event
                return state
            case Finished(time=time, id=id, status=status, detail=detail):
                state = self._begin(id, time)
                self.last_lines = state.flush(time)
                state.state, state.finished_s, state.detail = status, time, detail
                return state
            case Warned():
                if event not in self.warnings:
                    self.warnings.append(event)
                return None
            case Completed():
                self.completed = event
                return None
            case _:
                assert_never(event)

    def _plan(self, event: Planned) -> None:
        if event.source is not None:
            self.sources[event.source.name] = event.source
        for vertex in event.vertices:
            known = self.vertices.get(vertex.id)
            if known is None:
                self.vertices[vertex.id] = VertexState(vertex)
            else:
                known.vertex = vertex

    @property
    def done_of(self) -> tuple[int, int]:
        """Return how many vertices have ended, and how many there are."""
        return sum(state.ended for state in self.vertices.values()), len(self.vertices)

    def running(self) -> list[VertexState]:
        """Return the vertices that run now, in the order in which they began."""
        return sorted((v for v in self.vertices.values() if v.state == "running"), key=lambda v: v.number)

    def failed(self) -> list[VertexState]:
        """Return the vertices that failed."""
        return [v for v in self.vertices.values() if v.state == "failed"]

    def _begin(self, id: str, time_s: float) -> VertexState:
        state = self.vertices.get(id)
        if state is None:
            state = self.vertices[id] = VertexState(Vertex(id, id))
        if not state.number:
            self._begun += 1
            state.number = self._begun
            state.state = "running"
            state.started_s = time_s
        return state
