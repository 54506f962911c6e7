"""Events → what people and programs see. Does I/O. Sees only errors, source and events.

`trace` folds events into states · `plain`, `tty`, `jsonl`, `rawjson`, `quiet` one renderer each · `report` errors
and warnings. One thread feeds a renderer, and a renderer writes to one file descriptor.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from firkin.events import Event
    from firkin.source import Source
else:
    Protocol = object  # lists load this room too, and need neither events nor `typing`


class Renderer(Protocol):
    """Draws one build. `interval_s`: how often to call `tick`, 0 for never."""

    interval_s: float

    def event(self, event: Event) -> None:
        """Take the next event."""

    def tick(self, now_s: float) -> None:
        """Draw what changes with time alone."""

    def message(self, text: str) -> None:
        """Show a line that is not an event, e.g. that the build is being stopped."""

    def close(self, failed: bool) -> None:
        """Write what is left and restore the terminal; idempotent."""

    def sources(self) -> tuple[Source, ...]:
        """Return the texts that errors may point at."""


# name: (module, class)
RENDERERS = {
    "plain": ("firkin.render.plain", "PlainRenderer"),
    "tty": ("firkin.render.tty", "TtyRenderer"),
    "json": ("firkin.render.jsonl", "JsonRenderer"),
    "rawjson": ("firkin.render.rawjson", "RawJsonRenderer"),
    "quiet": ("firkin.render.quiet", "QuietRenderer"),
}


def make_renderer(name: str, descriptor: int, *, terminal: bool, heading: str = "Building") -> Renderer:
    """Return the renderer `name` of RENDERERS; `terminal`: `descriptor` is one.

    `heading` says what is being done, in renderers that have a line for it.
    """
    from importlib import import_module

    module, kind = RENDERERS[name]
    more = (heading,) if name == "tty" else ()
    renderer: Renderer = getattr(import_module(module), kind)(descriptor, terminal, *more)
    return renderer
