"""Progress on a terminal: ended steps scroll up, running ones are drawn below with their last lines. Does I/O.

Only `render` imports this module, and only this module loads rich, which draws. `close` gives the cursor back; the
owner of the process must call it however the build ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from firkin.events import Event
from firkin.render.plain import amount
from firkin.render.report import output_tail, summary, warning_text
from firkin.render.text import counted, decode, human_seconds, human_size, safe, vertex_title
from firkin.render.trace import Trace, VertexState
from firkin.source import Source

LINES_PER_STEP = 6
_MARKS = {"done": ("✔", "green"), "cached": ("✔", "cyan"), "failed": ("✘", "red"), "cancelled": ("-", "yellow")}


class TtyRenderer:
    """Live drawing on a terminal."""

    def __init__(self, descriptor: int, terminal: bool, heading: str) -> None:
        self.interval_s = 0.1
        self._file = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._file, force_terminal=True if terminal else None, highlight=False,
                                markup=False, emoji=False, soft_wrap=False)  # fmt: skip
        self._live = Live(console=self._console, auto_refresh=False, transient=True,
                          redirect_stdout=False, redirect_stderr=False)  # fmt: skip
        self._trace = Trace()
        self._drawn_s = 0.0
        self._closed = False
        self._note = ""
        self._heading = heading
        self._resolved: dict[str, VertexState] = {}
        self._live.start()

    def event(self, event: Event) -> None:
        state = self._trace.apply(event)
        if state is None or not state.ended:
            return
        if state.state == "done" and not state.worked:  # a base image that may be fetched later
            self._resolved[state.vertex.id] = state
        else:
            self._resolved.pop(state.vertex.id, None)
            # Printing redraws the picture below the line, so the picture must not show the step any more.
            self._live.update(self._picture(event.time), refresh=True)
            self._console.print(_ended_line(state, self._console.width))

    def tick(self, now_s: float) -> None:
        if not self._closed and now_s - self._drawn_s >= self.interval_s / 2:
            self._drawn_s = now_s
            self._live.update(self._picture(now_s), refresh=True)

    def message(self, text: str) -> None:
        self._note = text
        self._drawn_s = 0.0
        self.tick(time.time())

    def close(self, failed: bool) -> None:
        if self._closed:
            return
        self._closed = True
        self._live.update(Text(""), refresh=False)
        self._live.stop()
        for state in self._resolved.values():
            self._console.print(_ended_line(state, self._console.width))
        for state in self._trace.running():
            state.state, state.finished_s = "cancelled", time.time()
            self._console.print(_ended_line(state, self._console.width))
        self._file.write("".join(text + "\n" for text in self._closing(failed)))
        self._file.close()

    def _closing(self, failed: bool) -> Iterator[str]:
        """Yield the final texts: the output of failed steps, warnings, the summary."""
        for state in self._trace.failed() if failed else ():
            if state.tail:
                yield output_tail(vertex_title(state.vertex), state.tail, terminal=True)
        for warning in self._trace.warnings:
            source = self._trace.sources.get(warning.span.name) if warning.span is not None else None
            yield "\n".join(safe(line) for line in warning_text(warning, source).split("\n"))
        if self._trace.completed is not None and not failed:
            yield summary(self._trace.completed)

    def sources(self) -> tuple[Source, ...]:
        return tuple(self._trace.sources.values())

    def _picture(self, now_s: float) -> Text:
        width, height = self._console.width, self._console.height
        running = self._trace.running()
        room = max(1, height - 3 - len(running))
        each = min(LINES_PER_STEP, room // max(1, len(running)))
        done, total = self._trace.done_of
        elapsed = human_seconds(now_s - (self._trace.began_s or now_s))
        lines: list[Text] = [_fit(Text(f"[+] {self._heading} {elapsed} ({done}/{total})", style="bold"), width)]
        for state in running[: max(1, height - 3)]:
            lines.append(_running_line(state, now_s, width))
            for data in state.last_lines(each):
                lines.append(_fit(Text("   " + safe(decode(data)), style="dim"), width))
        if self._note:
            lines.append(_fit(Text(self._note, style="yellow"), width))
        return Text("\n").join(lines)


def _running_line(state: VertexState, now_s: float, width: int) -> Text:
    moving = [event for event in state.progress.values() if not event.total or event.current < event.total]
    detail = f"{moving[-1].what} {amount(moving[-1])}  " if moving else ""
    if len(state.progress) > 1 and moving:
        current, total = state.moved
        detail = f"{counted(len(moving), 'layer', 'layers')}, {human_size(current)} / {human_size(total)}  "
    left = Text.assemble(("▸ ", "blue"), (safe(vertex_title(state.vertex)), "bold"))
    return _spread(left, safe(detail) + human_seconds(state.seconds(now_s)), width)


def _ended_line(state: VertexState, width: int) -> Text:
    mark, style = _MARKS[state.state]
    right = "cached" if state.state == "cached" else human_seconds(state.seconds(state.finished_s))
    moved, _ = state.moved
    if moved:
        right = f"{human_size(moved)}  {right}"
    return _spread(Text.assemble((f"{mark} ", style), safe(vertex_title(state.vertex))), right, width)


def _spread(left: Text, right: str, width: int) -> Text:
    """Put `right` at the right edge; `left` is cut if there is not enough room."""
    room = max(10, width - len(right) - 2)
    left = _fit(left, room)
    return Text.assemble(left, " " * (room - left.cell_len + 1), (right, "dim"))


def _fit(text: Text, width: int) -> Text:
    text.truncate(max(1, width - 1), overflow="ellipsis")
    return text
