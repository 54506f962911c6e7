"""Text in the cells of a terminal: widths, cutting, columns. Pure. `render`, `cli` only.

East Asian wide characters take two cells, combining ones none.
"""

from __future__ import annotations

from firkin.render.text import safe

_BLANKS = str.maketrans("\t\n\r\v\f", "     ")


def width(text: str) -> int:
    """Return how many cells a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(char: str) -> int:
    if char.isascii() or char == "…":
        return 1
    import unicodedata

    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def shortened(text: str, cells: int) -> str:
    """Return a text in at most so many cells; one that was cut ends in `…`. Mirrors: docker/cli formatter.Ellipsis."""
    if width(text) <= cells:
        return text
    if text.isascii() and cells > 0:
        return f"{text[: cells - 1]}…"
    kept, room = [], cells - 1
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept.append(char)
    return f"{''.join(kept)}…" if cells > 0 else ""


def one_line(text: str) -> str:
    """Return foreign text for a cell of a table: blanks for tabs and line ends, nothing that moves the cursor."""
    return text if text.isprintable() else safe(text.translate(_BLANKS))


def aligned(text: str, *, least: int = 10, gap: int = 3) -> str:
    """Return lines with their cells, which end in tabs, padded to columns; what follows the last tab is as it was.

    A column is as wide as its longest cell and `gap`, and not below `least`; it ends where a line lacks it.
    Mirrors: Go's text/tabwriter, with docker's settings.
    """
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _ in lines]
    for column in range(max(map(len, lines)) - 1):
        start = 0
        while start < len(lines):
            end = start
            widest = least
            while end < len(lines) and len(lines[end]) - 1 > column:
                widest = max(widest, width(lines[end][column]) + gap)
                end += 1
            for row in range(start, end):
                widths[row].append(widest)
            start = max(end, start + 1)
    return "\n".join(
        "".join(cell + " " * (wide - width(cell)) for cell, wide in zip(cells, wides)) + cells[-1]
        for cells, wides in zip(lines, widths)
    )
