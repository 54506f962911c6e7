"""The findings of checks as text. Pure. `cli` only.

Mirrors: what `docker build --check` prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from firkin.render.text import safe
from firkin.source import Source, Span

_RULE = "--------------------"


class Finding(NamedTuple):
    """One warning of a check; `detail` describes this place, `url` the rule."""

    rule: str
    url: str
    detail: str
    span: Span | None


def findings_text(findings: Sequence[Finding], source: Source, *, terminal: bool) -> str:
    """Return the report of the checks: a count, then each finding with its lines."""
    if not findings:
        return "Check complete, no warnings found.\n"
    count = "1 warning has" if len(findings) == 1 else f"{len(findings)} warnings have"
    lines = [f"Check complete, {count} been found!"]
    for found in sorted(findings, key=lambda found: found.span.start.line if found.span else 0):
        lines += ["", f"WARNING: {found.rule}" + (f" - {found.url}" if found.url else ""), found.detail]
        if found.span is not None:
            lines += _excerpt(source, found.span)
    return "".join(f"{safe(line) if terminal else line}\n" for line in lines)


def _excerpt(source: Source, span: Span) -> list[str]:
    """Return the lines of the span and some around them. Mirrors: buildkit solver/errdefs/source.go (Print)."""
    lines = source.text.split("\n")
    first, last = span.start.line, min(span.end.line, len(lines))
    if not 1 <= first <= len(lines):
        return []
    start, end = first, last
    wanted = 4 if first == last else 2
    grown = 0
    while grown < wanted:
        if start > 1:
            start -= 1
            grown += 1
        if end != len(lines):
            end += 1
            grown += 1
        grown += 1
    shown = [f"{span.name}:{first}", _RULE]
    for number in range(start, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        shown.append(f" {number:>3} | {mark} {lines[number - 1]}".rstrip())
    return [*shown, _RULE]
