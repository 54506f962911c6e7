"""Draw results.json as one SVG: a group of bars for each workload, time on a logarithmic axis. Pure."""

from math import ceil, floor, log10
from typing import Any
from xml.sax.saxutils import escape

# One colour a builder; firkin's stands out on white and on black.
COLOURS = {
    "firkin": "#d9480f", "docker": "#4c78a8", "buildkit": "#4c78a8", "kaniko": "#8d6cab", "buildah": "#7a8288",
    "podman": "#a9b0b5",
}  # fmt: skip
LABELS = {"docker": "docker (BuildKit)"}
SHOWN = ("service", "static", "steps", "bulk")
WIDTH, LEFT, RIGHT, BAR, GAP = 760, 250, 90, 15, 14


def draw(document: dict[str, Any]) -> str:
    """Return the plot of the rows in which a peer took part."""
    rows = [row for row in document["rows"] if row["workload"] in SHOWN and len(row["builders"]) > 1]
    times = [usage["wall_s"] for row in rows for usage in row["builders"].values()]
    if not times:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n'
    low, high = floor(log10(min(times))), ceil(log10(max(times)))
    scale = (WIDTH - LEFT - RIGHT) / max(1, high - low)

    def x(seconds: float) -> float:
        return LEFT + (log10(seconds) - low) * scale

    height = 56 + sum(BAR * len(row["builders"]) + GAP for row in rows) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="system-ui, sans-serif" font-size="12">',
        "<title>Time of builds, less is better</title>",
        # Neutral grey reads on a light page and on a dark one.
        "<style>text{fill:#777}.f{fill:#d9480f;font-weight:600}</style>",
        '<text x="8" y="20" font-size="14">Seconds, logarithmic; less is better</text>',
    ]
    names = [name for name in COLOURS if any(name in row["builders"] for row in rows)]
    at = float(LEFT)
    for name in names:
        label = LABELS.get(name, name)
        parts.append(f'<rect x="{at:.0f}" y="30" width="10" height="10" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{at + 14:.0f}" y="39">{escape(label)}</text>')
        at += 30 + 7 * len(label)
    top, bottom = 52, height - 24
    for power in range(low, high + 1):
        parts.append(f'<line x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="{top}" y2="{bottom}" stroke="#8884"/>')
        parts.append(f'<text x="{x(10**power):.1f}" y="{bottom + 15}" text-anchor="middle">{_tick(power)}</text>')
    y = 58.0
    for row in rows:
        usages = row["builders"]
        middle = y + BAR * len(usages) / 2
        parts.append(
            f'<text x="{LEFT - 10}" y="{middle - 2:.0f}" text-anchor="end" font-weight="600">{row["workload"]}</text>'
            f'<text x="{LEFT - 10}" y="{middle + 12:.0f}" text-anchor="end">{escape(row["what"])}</text>'
        )
        for name in (name for name in names if name in usages):
            seconds = usages[name]["wall_s"]
            wide = max(2.0, x(seconds) - LEFT)
            css = ' class="f"' if name == "firkin" else ""
            parts.append(
                f'<rect x="{LEFT}" y="{y:.0f}" width="{wide:.1f}" height="{BAR - 3}" fill="{COLOURS[name]}"/>'
                f'<text x="{LEFT + wide + 5:.1f}" y="{y + BAR - 5:.0f}" font-size="11"{css}>{_told(seconds)}</text>'
            )
            y += BAR
        y += GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _tick(power: int) -> str:
    return f"{10**power} s" if power >= 0 else f"{10 ** (3 + power)} ms"


def _told(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
