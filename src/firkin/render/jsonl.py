"""Events as JSON lines, the same as on the worker's pipe (docs/dev/events.md). Does I/O. `render` only."""

from __future__ import annotations

import os

from firkin.events import Event, Planned, encode_event
from firkin.source import Source


class JsonRenderer:
    """One line for each event."""

    def __init__(self, descriptor: int, terminal: bool) -> None:
        self.interval_s = 0.0
        self._descriptor = descriptor
        self._sources: dict[str, Source] = {}

    def event(self, event: Event) -> None:
        if isinstance(event, Planned) and event.source is not None:
            self._sources[event.source.name] = event.source
        self._write_line(encode_event(event))

    def _write_line(self, data: bytes) -> None:
        data += b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def tick(self, now_s: float) -> None:
        """Nothing changes with time."""

    def message(self, text: str) -> None:
        """Messages are not events, so they are left out."""

    def close(self, failed: bool) -> None:
        """Everything is written already."""

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._sources.values())
