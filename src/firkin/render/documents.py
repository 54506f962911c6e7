"""Documents as docker's `inspect` commands print them. Pure. `cli` only. Mirrors: docker/cli cli/command/inspect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from firkin.templates.failure import TemplateError
from firkin.templates.template import parse_template
from firkin.templates.values import Record, json_text

Shape = Mapping[str, Any]
_UNREADABLE = 64  # docker's exit code for a template that cannot be parsed
_INDENT = 4


def documents_text(
    format: str, documents: Iterable[Shape], shape: Shape | Callable[[Shape], Shape] | None = None
) -> str:
    """Return documents as one JSON array ("": indented; `json`: on one line) or a template for each, a line each.

    `shape` is what a template finds where a document has nothing: names with their empty values, which are `""`, `0`,
    False, an Absent (`NO_MAP`, `NO_LIST`, `NO_POINTER`), or a shape again for an object with fixed names. Without one
    the names at the top are the document's, and what is below may lack any. Where documents differ, it is a function
    that returns each one's.

    Raises TemplateError, with docker's exit code 64 for a template that cannot be parsed, else 1; its `written` is what
    is printed all the same.
    """
    listed = list(documents)
    if format in ("", "json"):
        return json_text(listed, indent=0 if format else _INDENT) + "\n"
    try:
        template = parse_template(format)
    except TemplateError as error:
        error.exit_code = _UNREADABLE
        raise
    written = ""
    try:
        for document in listed:
            written += template.execute(_shaped(document, shape(document) if callable(shape) else shape or {})) + "\n"
    except TemplateError as error:
        error.written = written or "\n"
        raise
    return written or "\n"


def _shaped(document: Mapping[str, Any], shape: Mapping[str, Any]) -> Record:
    """Return a document as a Record with everything that its shape has."""
    filled = {name: value for name, value in shape.items() if name not in document}
    record = Record()
    record.filled = filled.keys()
    for name, value in {**document, **filled}.items():
        empty = shape.get(name)
        if isinstance(empty, Mapping):
            record[name] = _shaped(value if isinstance(value, Mapping) else {}, empty)
        else:
            record[name] = empty if value is None else value
    return record
