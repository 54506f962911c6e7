"""The error of templates. Pure."""

from __future__ import annotations

from firkin.errors import FirkinError


class TemplateError(FirkinError):
    """A template that cannot be read, or does not fit the data. `written` is what it gave before."""

    default_code = "template"
    written: str = ""


def broken(text: str, at: int, why: str) -> TemplateError:
    """Return the error for a template that cannot be read at a place, with Go's words."""
    line = text.count("\n", 0, at) + 1
    return TemplateError(f"template parsing error: template: :{line}: {why}")
