"""The events of a build that its record keeps: redacted, and bounded in number and bytes. Pure.

Output of steps is kept in whole lines, because a value might be spread over two pieces. Of a step that writes more
than HEAD_BYTES and TAIL_BYTES the middle is left out. Progress is not kept: it is over when somebody reads the record.
"""

from __future__ import annotations

from collections import deque

import msgspec

from firkin.builder.history.redact import Redactor
from firkin.events import Event, Finished, Log, Planned, Progress, Vertex, Warned

HEAD_BYTES, TAIL_BYTES = 256 << 10, 128 << 10
MAX_BYTES = 8 << 20
"""Output of all steps together, without the tails of steps that failed."""
MAX_EVENTS = 50_000
_LONGEST_LINE = 64 << 10


class _Output:
    """The output of one step."""

    def __init__(self) -> None:
        self.partial: dict[str, bytes] = {}
        self.head_bytes = 0
        self.tail: deque[Log] = deque()
        self.tail_bytes = 0
        self.left_out = 0


class KeptLog:
    """Turns the events of a build into those that are kept. Not thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._outputs: dict[str, _Output] = {}
        self._bytes = 0
        self._events = 0
        self.clipped = False

    def take(self, event: Event) -> list[Event]:
        """Return what to keep now: nothing, this event without what must not be kept, or several."""
        if self._events >= MAX_EVENTS and not isinstance(event, Log):
            self.clipped = True
            return []
        text = self._redactor.text
        match event:
            case Log():
                return self._output(event)
            case Progress():
                return []
            case Planned(vertices=vertices):
                kept: Event = Planned(event.time, tuple(map(self._vertex, vertices)))
            case Finished(id=id, detail=detail):
                kept = msgspec.structs.replace(event, detail=text(detail), option=msgspec.UNSET)
                rest = self._close(id, event.time, failed=event.status == "failed")
                self._events += 1 + len(rest)
                return [*rest, kept]
            case Warned(message=message):
                kept = Warned(event.time, event.code, text(message), event.span, (), event.url)
            case _:
                kept = event
        self._events += 1
        return [kept]

    def close(self, time_s: float) -> list[Event]:
        """Return the output that is left of steps that have not ended."""
        return [event for id in list(self._outputs) for event in self._close(id, time_s, failed=True)]

    def _vertex(self, vertex: Vertex) -> Vertex:
        text = self._redactor.text
        return msgspec.structs.replace(vertex, id=text(vertex.id), title=text(vertex.title))

    def _output(self, event: Log) -> list[Event]:
        output = self._outputs.setdefault(event.id, _Output())
        data = output.partial.pop(event.stream, b"") + event.data
        end = data.rfind(b"\n") + 1
        if not end and len(data) < _LONGEST_LINE:
            output.partial[event.stream] = data
            return []
        if end and end < len(data):
            output.partial[event.stream] = data[end:]
        return self._bounded(output, event, data[: end or len(data)])

    def _bounded(self, output: _Output, event: Log, data: bytes) -> list[Event]:
        kept = Log(event.time, event.id, event.stream, self._redactor.data(data))
        size = len(kept.data)
        if not output.tail and output.head_bytes + size <= HEAD_BYTES and self._has_room(size):
            output.head_bytes += size
            self._bytes += size
            self._events += 1
            return [kept]
        output.tail.append(kept)
        output.tail_bytes += size
        while output.tail_bytes > TAIL_BYTES and len(output.tail) > 1:
            dropped = len(output.tail.popleft().data)
            output.tail_bytes -= dropped
            output.left_out += dropped
        return []

    def _has_room(self, size: int) -> bool:
        return self._bytes + size <= MAX_BYTES and self._events < MAX_EVENTS

    def _close(self, id: str, time_s: float, *, failed: bool) -> list[Event]:
        """Return the end of a step's output."""
        output = self._outputs.pop(id, None)
        if output is None:
            return []
        found: list[Event] = []
        for stream, data in output.partial.items():
            found += self._bounded(output, Log(time_s, id, "stdout" if stream == "stdout" else "stderr", b""), data)
        if output.tail and not (failed or self._has_room(output.tail_bytes)):
            output.left_out += output.tail_bytes
            output.tail.clear()
        if output.left_out:
            self.clipped = True
            found.insert(0, Log(time_s, id, "stderr", b"[%d bytes of output are not kept]\n" % output.left_out))
        self._bytes += sum(len(log.data) for log in output.tail)
        return [*found, *output.tail]
