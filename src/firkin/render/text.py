"""Sizes, times, titles, tables, and foreign output made safe for a terminal. Pure. `render`, `cli` only."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firkin.events import Vertex

_PRINTABLE_CONTROLS = frozenset("\t")


def human_size(size_bytes: int) -> str:
    """Return a size in decimal units, three digits: `12.3MB`. Mirrors: go-units HumanSize."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 99.95 else f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.4g}TB"


def counted(number: int, one: str, many: str) -> str:
    """Return `1 entry`, `2 entries`."""
    return f"{number} {one if number == 1 else many}"


def human_seconds(seconds: float) -> str:
    """Return a duration: `0.3s`, `72.0s`."""
    return f"{max(0.0, seconds):.1f}s"


def stamp(seconds: float) -> str:
    """Return the time before a line of output in five characters. Mirrors: buildkit progressui (`%#.4g`)."""
    return f"{seconds:#.4g}"[:5] if seconds >= 0.001 else "0.000"


def vertex_title(vertex: Vertex) -> str:
    """Return `[stage 2/5] RUN npm ci` on one line."""
    title = " ".join(vertex.title.split())
    place = vertex.stage
    if vertex.number:
        place = f"{place} {vertex.number}/{vertex.total}".lstrip()
    return f"[{place}] {title}" if place else title


def decode(data: bytes) -> str:
    """Return output as text; bytes that are not UTF-8 become replacement characters."""
    return data.decode("utf-8", "replace")


def _is_colour(sequence: str) -> bool:
    return sequence.startswith("\x1b[") and sequence.endswith("m") and _is_sgr(sequence)


def safe(text: str, *, colours: bool = False) -> str:
    """Return one line of foreign output without anything that moves the cursor or reprograms a terminal.

    A carriage return means that what was written before it is overwritten. With `colours` the sequences that set
    colours (SGR) stay, and a reset ends them.
    """
    if text.isprintable():
        return text
    text = text.rstrip("\r")
    text = text[text.rfind("\r") + 1 :]
    shown = []
    coloured = False
    position = 0
    while position < len(text):
        char = text[position]
        if char in ("\x1b", "\x9b"):  # the second is the one-character form of ESC [
            end = _escape_end(text, position) if char == "\x1b" else _csi_end(text, position + 1)
            if colours and _is_colour(text[position:end]):
                shown.append(text[position:end])
                coloured = True
            position = end
            continue
        if char in _PRINTABLE_CONTROLS:
            shown.append("    ")
        elif char.isprintable() or char == " ":
            shown.append(char)
        position += 1
    return "".join(shown) + ("\x1b[0m" if coloured else "")


def safe_lines(text: str) -> str:
    """Return lines with foreign text for a terminal: their ends, tabs and colours stay, nothing that moves a cursor."""
    return "\n".join(
        "\t".join(cell if cell.isprintable() else safe(cell, colours=True) for cell in line.split("\t"))
        for line in text.split("\n")
    )


def _is_sgr(sequence: str) -> bool:
    return all(char.isdigit() or char in ";:" for char in sequence[2:-1])


def _escape_end(text: str, start: int) -> int:
    """Return where the escape sequence that begins at `start` ends. Spec: ECMA-48, 5.3-5.6."""
    if start + 1 >= len(text):
        return start + 1
    kind = text[start + 1]
    if kind == "[":
        return _csi_end(text, start + 2)
    if kind in "]PX^_":  # strings up to BEL or ST
        for position in range(start + 2, len(text)):
            if text[position] == "\x07":
                return position + 1
            if text[position] == "\x1b":
                return min(position + 2, len(text))
        return len(text)
    position = start + 1
    while position < len(text) and " " <= text[position] <= "/":
        position += 1
    return min(position + 1, len(text))


def _csi_end(text: str, position: int) -> int:
    while position < len(text) and " " <= text[position] <= "?":
        position += 1
    return min(position + 1, len(text))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], gap: int = 2) -> str:
    """Return a table whose columns are as wide as their widest cell."""
    lines = [tuple(heads), *(tuple(safe(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) + gap for column in range(len(heads))]
    return "".join(
        "".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )
