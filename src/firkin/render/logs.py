"""Progress as log lines, in the logrus formats of the Kaniko executor. Does I/O. `cli.kaniko` makes it.

Messages go to standard error. The output of a step goes unchanged, without prefixes, to the stream that it came on.
"""

from __future__ import annotations

import os
import time
from typing import Literal, NamedTuple

from firkin.events import Event, Finished, Log, Progress, Started, Vertex, Warned
from firkin.render.plain import amount
from firkin.render.report import summary
from firkin.render.trace import Trace, VertexState
from firkin.source import Source

Level = Literal["trace", "debug", "info", "warning", "error", "fatal", "panic"]
LEVELS: tuple[Level, ...] = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
_COLOURS = {"trace": 37, "debug": 37, "info": 36, "warning": 33, "error": 31, "fatal": 31, "panic": 31}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
PROGRESS_EVERY_S = 5.0
_MAX_LINE = 1 << 16


class LogStyle(NamedTuple):
    """How messages look. `level`: the least important that is shown."""

    form: Literal["color", "text", "json"] = "color"
    level: Level = "info"
    timestamps: bool = False


class LogRenderer:
    """Messages on one descriptor, output of steps on another."""

    def __init__(self, style: LogStyle, began_s: float, messages: int = 2, output: int = 1) -> None:
        self.interval_s = 0.0
        self._style = style
        self._began_s = began_s
        self._messages = messages
        self._output = output
        self._trace = Trace()
        self._said_s: dict[str, float] = {}
        self._named: set[str] = set()  # base images; their layers may be fetched later, which is another event
        self._held: dict[tuple[str, int], bytes] = {}  # unfinished lines of steps that run at the same time

    @property
    def plan(self) -> tuple[Vertex, ...]:
        """The steps that were planned, in order."""
        return tuple(state.vertex for state in self._trace.vertices.values())

    def event(self, event: Event) -> None:
        state = self._trace.apply(event)
        match event:
            case Log(stream=stream, data=data):
                self._pass_on(event.id, self._output if stream == "stdout" else self._messages, data)
            case Started():
                assert state is not None
                if state.vertex.title not in self._named:
                    self.log("info", state.vertex.title, event.time)
            case Finished():
                assert state is not None
                self._flush(event.id)
                self._finished(state, event)
            case Progress():
                self._progress(event)
            case Warned(message=message, code=code, span=span):
                self.log("warning", f"{message} ({code}){f' at {span}' if span else ''}", event.time)

    def log(self, level: Level, message: str, time_s: float) -> None:
        """Write one message, if its level is wanted."""
        if LEVELS.index(level) > LEVELS.index(self._style.level):
            return
        line = log_line(self._style, level, message, time_s, self._began_s)
        _write(self._messages, (line + "\n").encode("utf-8", "surrogateescape"))

    def tick(self, now_s: float) -> None:
        """Nothing changes with time."""

    def message(self, text: str) -> None:
        self.log("warning", text, time.time())

    def close(self, failed: bool) -> None:
        for id, _ in tuple(self._held):
            self._flush(id)
        if self._trace.completed is not None and not failed:
            self.log("info", summary(self._trace.completed), self._trace.completed.time)

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._trace.sources.values())

    def _pass_on(self, id: str, descriptor: int, data: bytes) -> None:
        """Write output of a step: at once if it runs alone, otherwise in whole lines."""
        data = self._held.pop((id, descriptor), b"") + data
        if len(data) < _MAX_LINE and len(self._trace.running()) > 1:
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if end < len(data):
                self._held[id, descriptor] = data[end:]
            data = data[:end]
        _write(descriptor, data)

    def _flush(self, id: str) -> None:
        for descriptor in (self._output, self._messages):
            _write(descriptor, self._held.pop((id, descriptor), b""))

    def _finished(self, state: VertexState, event: Finished) -> None:
        title = state.vertex.title
        if title.startswith("FROM ") and event.status in ("cached", "done"):
            if title not in self._named:
                self._named.add(title)
                self.log("info", title, event.time)
        elif event.status == "cached":
            self.log("info", f"Using caching version of cmd: {title}", event.time)
        elif event.status == "done" and event.id.startswith("push "):
            self.log("info", f"Pushed {event.id[5:]}@{event.detail}", event.time)
        elif event.status == "done":
            self.log("debug", f"done: {title} ({state.seconds(event.time):.1f}s)", event.time)

    def _progress(self, event: Progress) -> None:
        last = self._said_s.setdefault(f"{event.id} {event.what}", event.time)
        if event.time - last >= PROGRESS_EVERY_S:
            self._said_s[f"{event.id} {event.what}"] = event.time
            self.log("debug", f"{event.what} {amount(event)}", event.time)


def log_line(style: LogStyle, level: Level, message: str, time_s: float, began_s: float) -> str:
    """Return a message without a line end. Mirrors: sirupsen/logrus TextFormatter and JSONFormatter."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))
    if style.form == "json":
        import msgspec

        text = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return msgspec.json.encode({"level": level, "msg": text, "time": stamp}).decode()
    if style.form == "text":
        return f"time={_quoted(stamp)} level={level} msg={_quoted(message)}"
    mark = f"[{stamp}]" if style.timestamps else f"[{int(max(0.0, time_s - began_s)):04d}]"
    return f"\x1b[{_COLOURS[level]}m{level.upper()[:4]}\x1b[0m{mark} {message:<44} "


def _quoted(text: str) -> str:
    if text and _PLAIN.issuperset(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
