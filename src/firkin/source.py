"""Texts and positions in them, for messages that point at a place. Pure. Any module may import it."""

from __future__ import annotations

import msgspec

from firkin.text import hide_passwords


class Position(msgspec.Struct, frozen=True):
    """A place in a text: line and column, both counted from 1 (columns in characters)."""

    line: int
    column: int = 1


class Span(msgspec.Struct, frozen=True):
    """Lines `start.line` to `end.line` (inclusive) of the file called `name`."""

    name: str
    start: Position
    end: Position

    def __str__(self) -> str:
        return f"{self.name}:{self.start.line}"


class Source(msgspec.Struct, frozen=True):
    """A named text, e.g. a Dockerfile as it was read."""

    name: str
    text: str

    def shown(self) -> Source:
        """Return the text without the passwords in its URLs, so that events and reports may show it."""
        return Source(self.name, hide_passwords(self.text))

    def span(self, first_line: int, last_line: int | None = None, column: int = 1) -> Span:
        """Return the span of the given lines, clamped to the text."""
        count = max(1, self.text.count("\n") + (not self.text.endswith("\n")))
        first = min(max(1, first_line), count)
        last = min(max(first, first_line if last_line is None else last_line), count)
        return Span(self.name, Position(first, column), Position(last, 1))


def excerpt(source: Source, span: Span, context_lines: int = 2) -> str:
    """Return the numbered lines around the span, with `>>>` before the lines of the span.

    Mirrors: buildkit solver/errdefs/source.go (Print).
    """
    lines = source.text.split("\n")
    first = max(1, span.start.line - context_lines)
    last = min(len(lines), span.end.line + context_lines)
    while last > span.end.line and not lines[last - 1].strip():
        last -= 1
    width = len(str(last))
    shown = []
    for number in range(first, last + 1):
        marker = ">>>" if span.start.line <= number <= span.end.line else "   "
        shown.append(f" {number:>{width}} | {marker} {lines[number - 1].rstrip()}".rstrip())
    return "\n".join(shown)
