"""Progress of `pull` and `push`. Does I/O. `cli.commands` only.

On a terminal their transfers are drawn like a build (`Moving`); elsewhere they print docker's lines (`Screen`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TypeVar

from firkin.cli.arguments import Arguments
from firkin.cli.hints import COMMAND_LINE
from firkin.cli.run import write_out
from firkin.cli.store import warn_plainly
from firkin.cli.words import LayerLines
from firkin.errors import Cancelled
from firkin.events import Event, Finished, Log, Planned, Progress, Started, Vertex, Warned, in_words
from firkin.images.progress import Listener
from firkin.oci.descriptor import Descriptor
from firkin.render import RENDERERS, Renderer, make_renderer
from firkin.render.text import human_size
from firkin.settings import Settings
from firkin.tasks.pools import Pools, Task

_EVERY_S = 0.2
T = TypeVar("T")


def progress_name(arguments: Arguments, settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the renderer to use: from `--quiet`, `--progress`, config.toml, or what the terminal can do."""
    name = "quiet" if arguments.flag("quiet") else arguments.text("progress") or settings.progress or "auto"
    terminal = os.isatty(2)
    if name == "auto":
        name = "tty" if terminal and environ.get("TERM", "") not in ("", "dumb") else "plain"
    if name == "tty" and not terminal:
        return "plain"
    return {"none": "quiet"}.get(name, name if name in RENDERERS else "json")


class Moving:
    """Draws events of several threads from this one. A context manager; one line (`line`) for each image."""

    def __init__(self, name: str, heading: str) -> None:
        self.as_json = name in ("json", "rawjson")
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self._renderer: Renderer = make_renderer(
            name, 1 if self.as_json else 2, terminal=os.isatty(1 if self.as_json else 2), heading=heading
        )

    def __enter__(self) -> Moving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._draw()
        finally:
            self._renderer.close(error is not None)

    @contextmanager
    def line(self, id: str, title: str) -> Iterator[Line]:
        """Open the line of one image; it ends with the block."""
        self.emit(Planned(time.time(), (Vertex(id, title),)))
        self.emit(Started(time.time(), id))
        line = Line(self, id)
        try:
            yield line
        except BaseException as error:
            stopped = isinstance(error, (Cancelled, KeyboardInterrupt))
            self.emit(Finished(time.time(), id, "cancelled" if stopped else "failed", str(error)))
            raise
        self.emit(Finished(time.time(), id, "done", line.detail))

    def emit(self, event: Event) -> None:
        """Take an event from any thread."""
        self._queue.put(event)

    def warn(self, code: str, message: str) -> None:
        """Take a warning; it is shown at the end."""
        self.emit(Warned(time.time(), code, message))

    def wait(self, tasks: Sequence[Task[None]]) -> None:
        """Draw until all tasks have ended or one has failed; raises that failure."""
        for task in tasks:
            task.when_done(lambda: self._queue.put(None))
        left = len(tasks)
        while left:
            left -= self._draw(self._renderer.interval_s or None)
            for task in tasks:
                if task.done:
                    task.result()

    def during(self, work: Callable[[], T]) -> T:
        """Do work in another thread, draw until it has ended, and return its result; raises what it raises."""
        pools = Pools(steps=1, transfers=1, cpu=1)
        task = pools.steps.submit(work)
        task.when_done(lambda: self._queue.put(None))
        try:
            while not task.done:
                self._draw(self._renderer.interval_s or None)
            return task.result()
        finally:
            pools.close(Cancelled("the work has ended"))

    def _draw(self, wait_s: float | None = 0.0) -> int:
        """Draw the queued events, waiting `wait_s` for the first (None: without limit); return how many tasks ended."""
        ended = 0
        try:
            while True:
                event = self._queue.get(timeout=wait_s) if wait_s != 0.0 else self._queue.get_nowait()
                wait_s = 0.0
                if event is None:
                    ended += 1
                else:
                    self._renderer.event(in_words(event, COMMAND_LINE))
        except Empty:
            pass
        if self._renderer.interval_s:
            self._renderer.tick(time.time())
        return ended


class Line:
    """The line of one image. Its last event gives `detail` to programs, e.g. the digest."""

    def __init__(self, moving: Moving, id: str) -> None:
        self._moving = moving
        self._id = id
        self.detail = ""

    def meter(self, digest: str, size_bytes: int) -> Callable[[int], None]:
        """Return a function that takes how many bytes of a blob were moved so far."""
        what, told = f"sha256:{digest.partition(':')[2][:12]}", 0.0

        def moved(current: int) -> None:
            nonlocal told
            now = time.time()
            if now - told >= _EVERY_S or current == size_bytes:
                told = now
                self._moving.emit(Progress(now, self._id, what, current, size_bytes))

        return moved

    def kept(self, blob: Descriptor, outcome: str) -> None:
        """Tell what became of a blob that did not have to be moved."""
        if outcome == "moved":
            return
        text = f"{blob.digest} {human_size(blob.size)} {outcome}\n"
        self._moving.emit(Log(time.time(), self._id, "stderr", text.encode()))


class Screen:
    """What `pull` and `push` show: docker's lines by `write`, and progress where it can be drawn.

    `tty` draws each image's layers on standard error, between docker's first and last lines. `plain` has docker's line
    for each layer instead. `quiet` prints results alone, `json` events alone.
    """

    def __init__(self, name: str, heading: str, write: Callable[[str], None] = write_out) -> None:
        self._name = name
        self._heading = heading
        self.write = write
        self._moving: Moving | None = None

    def say(self, text: str) -> None:
        """Print lines for people."""
        if self._name in ("tty", "plain"):
            self.write(text)

    def result(self, text: str, *, quietly: bool = False) -> None:
        """Print lines that `--quiet` prints as well; with `quietly` nobody else."""
        if self._name == "quiet" or (self._name in ("tty", "plain") and not quietly):
            self.write(text)

    @property
    def has_lines(self) -> bool:
        """Whether every layer has docker's lines."""
        return self._name == "plain"

    def warn(self, code: str, message: str) -> None:
        """Take a warning from any thread."""
        if self._moving is not None and self._name != "plain":
            self._moving.warn(code, message)
        else:
            warn_plainly(code, message)

    @contextmanager
    def line(self, id: str, title: str) -> Iterator[Line]:
        """Draw one image during the block."""
        with Moving("quiet" if self._name == "plain" else self._name, self._heading) as moving:
            self._moving = moving
            try:
                with moving.line(id, title) as line:
                    yield line
            finally:
                self._moving = None

    def listener(self, line: Line, lines: LayerLines) -> Listener:
        """Return who receives the progress of an image's layers."""
        return lines if self._name == "plain" else line

    def wait(self, tasks: Sequence[Task[None]]) -> None:
        """Draw until all tasks have ended or one has failed; raises that failure."""
        assert self._moving is not None
        self._moving.wait(tasks)
