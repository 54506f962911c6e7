"""`--format` of commands that print one document: `info`, `version`. Does I/O. `cli.commands` only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firkin.cli.run import write_out
from firkin.render.documents import documents_text
from firkin.templates.failure import TemplateError


def print_document(format: str, document: Mapping[str, Any]) -> None:
    """Print a document by a template; `json` is the whole on one line. A name that it does not have is an error.

    Raises TemplateError. Mirrors: docker/cli templates, cli/command/system/info.go.
    """
    try:
        write_out(documents_text("{{json .}}" if format == "json" else format, [document], _shape(document)))
    except TemplateError as error:
        error.exit_code = 1  # not that of `inspect`
        write_out(error.written)
        raise


def _shape(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objects in a document; what is empty is a map."""
    return {name: _shape(value) for name, value in document.items() if isinstance(value, Mapping) and value}
