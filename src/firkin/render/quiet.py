"""No progress and no warnings; only the end of a failed step's output. Does I/O. `render` only."""

from __future__ import annotations

import os

from firkin.events import Event
from firkin.render.report import output_tail
from firkin.render.text import vertex_title
from firkin.render.trace import Trace
from firkin.source import Source


class QuietRenderer:
    """Silent until a step fails."""

    def __init__(self, descriptor: int, terminal: bool) -> None:
        self.interval_s = 0.0
        self._descriptor = descriptor
        self._terminal = terminal
        self._trace = Trace()
        self._closed = False

    def event(self, event: Event) -> None:
        self._trace.apply(event)

    def tick(self, now_s: float) -> None:
        """Nothing changes with time."""

    def message(self, text: str) -> None:
        self._write(text)

    def close(self, failed: bool) -> None:
        if failed and not self._closed:
            for state in self._trace.failed():
                if state.tail:
                    self._write(output_tail(vertex_title(state.vertex), state.tail, terminal=self._terminal))
        self._closed = True

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._trace.sources.values())

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape") + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]
