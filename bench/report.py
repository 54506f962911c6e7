"""Write the figures of bench/results.json into docs/performance.md, between its two marks: python bench/report.py.

No figure of the tables is typed by hand. `--check` writes nothing and ends with 1 if the page is not up to date.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs/performance.md"
BEGIN, END = "<!-- figures: begin (bench/report.py) -->", "<!-- figures: end -->"


def main() -> int:
    source = HERE / "results.json"
    if not source.exists():
        return 0
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = f"{head}{BEGIN}\n{figures(json.loads(source.read_text()))}{END}{tail}"
    if "--check" in sys.argv:
        return int(new != text)
    PAGE.write_text(new)
    return 0


def figures(document: dict[str, Any]) -> str:
    """Return the tables in Markdown."""
    machine, builders = document["machine"], document["builders"]
    versions = ", ".join(f"{name} {version}".strip() for name, version in builders.items())
    absent = "".join(f"; {name}: {why}" for name, why in document["absent"].items())
    lines = [
        f"Measured on {document['date']}: {machine['cores']} cores {machine['architecture']}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}, Python {machine['python']}. "
        f"{versions}{absent}.",
        "",
        "| workload | builder | wall | of firkin's | CPU | peak, all processes | peak, one process | read | written "
        "| rounds |",
        "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    promises = ["", "| promise | bar | floor | measured | |", "| --- | --- | --: | --: | --- |"]
    for row in document["rows"]:
        title = f"{row['workload']}: {row['what']}"
        if row["bar"] or row["floor_s"] is not None:
            verdict = {None: "", True: "held", False: "**not held**"}[row["met"]]
            floor = _seconds(row["floor_s"]) if row["floor_s"] is not None else ""
            measured = "; ".join(
                part for part in (_seconds(row["builders"]["firkin"]["wall_s"]), row["note"]) if part
            )
            promises.append(f"| {title} | {row['bar'].replace('<=', '≤')} | {floor} | {measured} | {verdict} |")
        elif row["note"]:
            title += f" ({row['note']})"
        for name, usage in row["builders"].items():
            ratio = f"{usage['ratio']:.1f} ×" if "ratio" in usage else ""
            measured = [_seconds(usage["wall_s"]), ratio]
            if usage["cpu_s"]:
                measured += [_seconds(usage["cpu_s"])]
                measured += [
                    f"{usage[key] / 1e6:,.0f} MB"
                    for key in ("tree_bytes", "process_bytes", "read_bytes", "written_bytes")
                ]
            else:
                measured += [""] * 5
            lines.append(f"| {title} | {name} | {' | '.join(measured)} | {usage['rounds']} |")
            title = ""
    return "\n".join(lines + promises) + "\n"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
