"""Progress as lines, for CI and files. Does I/O. `render` only.

Mirrors: buildkit util/progress/progressui (plain). Output of parallel steps is kept together: one step writes until
it ends or others have waited PATIENCE_S; meanwhile the output of the others is kept.
"""

from __future__ import annotations

import os

from firkin.events import Event, Progress, Warned
from firkin.render.report import summary, warning_text
from firkin.render.text import decode, human_seconds, human_size, safe, stamp, vertex_title
from firkin.render.trace import Trace, VertexState
from firkin.source import Source

PATIENCE_S = 3.0
PROGRESS_EVERY_S = 5.0


class PlainRenderer:
    """Lines on a file descriptor; the output of steps is unchanged unless the descriptor is a terminal."""

    def __init__(self, descriptor: int, terminal: bool) -> None:
        self.interval_s = 1.0
        self._descriptor = descriptor
        self._terminal = terminal
        self._trace = Trace()
        self._kept: dict[str, list[bytes]] = {}  # vertex id: lines not shown yet
        self._current: VertexState | None = None
        self._since_s = 0.0
        self._shown = ""  # id of the vertex that wrote last
        self._progress_s: dict[tuple[str, str], float] = {}
        self._closed = False

    def event(self, event: Event) -> None:
        state = self._trace.apply(event)
        if state is None:
            return
        prefix = b"#%d " % state.number
        lines = self._kept.setdefault(state.vertex.id, [])
        lines += [prefix + stamp(time).encode() + b" " + self._line(line) for time, line in self._trace.last_lines]
        if isinstance(event, Progress):
            lines += self._progress(state, event)
        elif state.ended:
            lines.append(prefix + _ending(state))
        if self._current is None:
            self._current, self._since_s = state, event.time
        self._show(event.time)

    def tick(self, now_s: float) -> None:
        self._show(now_s)

    def message(self, text: str) -> None:
        self._write([b"", text.encode()])

    def close(self, failed: bool) -> None:
        if self._closed:
            return
        self._closed = True
        for state in sorted(self._trace.vertices.values(), key=lambda state: state.number):
            prefix = b"#%d " % state.number
            if state.state == "running":
                lines = self._kept.setdefault(state.vertex.id, [])
                lines += [prefix + stamp(time).encode() + b" " + self._line(line)
                          for time, line in state.flush(state.started_s)]  # fmt: skip
            if self._kept.get(state.vertex.id):
                self._speak(state)
        closing = [line for warning in self._trace.warnings for line in _warning(self._trace, warning)]
        if self._trace.completed is not None and not failed:
            closing += ["", summary(self._trace.completed)]
        elif closing:
            closing.append("")  # the error comes next
        self._write([line.encode("utf-8", "surrogateescape") for line in closing])

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._trace.sources.values())

    def _line(self, line: bytes) -> bytes:
        return safe(decode(line), colours=True).encode() if self._terminal else line

    def _show(self, now_s: float) -> None:
        current = self._current
        if current is None:
            return
        self._speak(current)
        waiting = [
            self._trace.vertices[id] for id, lines in self._kept.items() if lines and id != current.vertex.id
        ]
        if current.ended:
            for state in sorted(waiting, key=lambda state: state.number):
                if state.ended:
                    self._speak(state)
            self._current, self._since_s = None, now_s
            running = self._trace.running()
            if running:
                self._current = running[0]
                self._speak(running[0])
        elif waiting and now_s - self._since_s > PATIENCE_S:
            for state in sorted(waiting, key=lambda state: state.number):
                self._speak(state)
            self._since_s = now_s

    def _speak(self, state: VertexState) -> None:
        lines = self._kept.pop(state.vertex.id, None)
        if lines is None:
            return
        if self._shown != state.vertex.id:
            title = f"#{state.number} {vertex_title(state.vertex)}"
            title = safe(title) if self._terminal else title
            lines = [b""] * bool(self._shown) + [title.encode("utf-8", "surrogateescape"), *lines]
            self._shown = state.vertex.id
        self._write(lines)

    def _progress(self, state: VertexState, event: Progress) -> list[bytes]:
        key = (event.id, event.what)
        last = self._progress_s.setdefault(key, event.time)
        finished = bool(event.total) and event.current >= event.total
        if finished and self._progress_s[key] == float("inf"):
            return []
        if not finished and event.time - last < PROGRESS_EVERY_S:
            return []
        self._progress_s[key] = float("inf") if finished else event.time
        text = f"#{state.number} {event.what} {amount(event)} {human_seconds(event.time - state.started_s)}"
        return [(text + " done" * finished).encode("utf-8", "surrogateescape")]

    def _write(self, lines: list[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        while data:
            data = data[os.write(self._descriptor, data) :]


def amount(event: Progress) -> str:
    """Return `10.5MB / 29.1MB` or `12 / 40 files`."""
    if event.unit == "B":
        current, total = human_size(event.current), human_size(event.total)
        return f"{current} / {total}" if event.total else current
    return f"{event.current} / {event.total} {event.unit}" if event.total else f"{event.current} {event.unit}"


def _ending(state: VertexState) -> bytes:
    if state.state == "done":
        return f"DONE {human_seconds(state.finished_s - state.started_s)}".encode()
    if state.state == "cached":
        return b"CACHED"
    if state.state == "failed":
        return f"ERROR: {state.detail}".encode("utf-8", "surrogateescape")
    return b"CANCELED"


def _warning(trace: Trace, warning: Warned) -> list[str]:
    source = trace.sources.get(warning.span.name) if warning.span is not None else None
    return ["", *map(safe, warning_text(warning, source).split("\n"))]
