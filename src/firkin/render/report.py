"""Errors, warnings and the final line as text. Pure. `render` and `cli` only.

Only this module knows how an error looks: `error: <what failed>`, causes, excerpt, then `hint: ...`.
"""

from __future__ import annotations

from firkin.errors import cause_texts
from firkin.render.text import decode, human_seconds, human_size, safe, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from firkin.errors import FirkinError
    from firkin.events import Completed, Warned
    from firkin.source import Source, Span


def error_text(error: FirkinError, sources: Iterable[Source] = (), *, terminal: bool = False) -> str:
    """Return the report of an error: several lines, without a final line end."""
    lines = [f"error: {error.message}"]
    lines += [f"  caused by: {text}" for text in cause_texts(error)]
    if error.span is not None:
        lines += _place(error.span, next((s for s in sources if s.name == error.span.name), None))
    lines += [f"hint: {hint}" for hint in error.hints]
    return "\n".join(_clean(lines) if terminal else lines)


def warning_text(warning: Warned, source: Source | None) -> str:
    """Return a warning with its code and place."""
    lines = [f"warning: {warning.message} ({warning.code})"]
    if warning.span is not None:
        lines += _place(warning.span, source, context_lines=0)
    lines += [f"hint: {hint}" for hint in warning.hints]
    if warning.url:
        lines.append(f"see {warning.url}")
    return "\n".join(lines)


def summary(event: Completed) -> str:
    """Return the final line: image, digest, size, time."""
    names = ", ".join(event.names) or "image without a name"
    return f"built {names} {event.digest} {human_size(event.size_bytes)} compressed in {human_seconds(event.seconds)}"


def output_tail(title: str, lines: Iterable[tuple[float, bytes]], *, terminal: bool) -> str:
    """Return the end of a failed step's output between rules."""
    shown = [f"{stamp(time)} {safe(decode(line), colours=True) if terminal else decode(line)}" for time, line in lines]
    return "\n".join(["------", f" > {safe(title)}:", *shown, "------"])


def _place(span: Span, source: Source | None, context_lines: int = 2) -> list[str]:
    if source is None:
        return [f"  at {span}"]
    from firkin.source import excerpt

    return [f"{span}:", excerpt(source, span, context_lines)]


def _clean(lines: list[str]) -> list[str]:
    return [safe(line) for text in lines for line in text.split("\n")]
