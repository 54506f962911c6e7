"""Lists as docker's `--format` has them: tables, templates, JSON, raw lines. Pure. `cli` only.

Mirrors: docker/cli cli/command/formatter. In tables tabs and line ends in a cell are blanks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from firkin.render.cells import aligned, one_line

if TYPE_CHECKING:
    from firkin.templates.template import Template
    from firkin.templates.values import Row

_TABLE = "table"


def rows_text(
    format: str, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]], default: str, raw: str = ""
) -> str:
    """Return rows in a format: "" or `table`, `table TEMPLATE`, `json`, `raw`, or a template for each row.

    `fields` gives each name that a row has its header. `default` is the template of the table, its cells separated by
    `\\t`; `raw` is the template that the word `raw` stands for, if there is one. Raises TemplateError.
    """
    if format == "raw" and raw:
        format = raw
    tabular = not format or format.startswith(_TABLE)
    text = (format.removeprefix(_TABLE) or default) if tabular else format
    text = text.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    pieces = None if format == "json" else _pieces_of(text, fields)
    if pieces is None:
        return _by_template(format, text, fields, rows)
    return _plain_table(pieces, fields, rows) if tabular else "".join(_filled(pieces, rows))


_Pieces = tuple[tuple[bool, str], ...]
"""Texts (False) and names of fields (True)."""


def _pieces_of(text: str, fields: Mapping[str, str]) -> _Pieces | None:
    """Return the pieces of a template that has nothing else, None for others: those take 8 ms to load."""
    head, *parts = text.split("{{")
    pieces = [(False, head)]
    for part in parts:
        word, end, following = part.partition("}}")
        if not end or not word.startswith(".") or word[1:] not in fields:
            return None
        pieces += [(True, word[1:]), (False, following)]
    return tuple(pieces)


def _plain_table(pieces: _Pieces, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> str:
    names = {name for is_field, name in pieces if is_field}
    cells = ({name: one_line(row[name]) for name in names} for row in rows)
    return aligned("".join((*_filled(pieces, (fields,)), *_filled(pieces, cells))))


def _filled(pieces: _Pieces, rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    for row in rows:
        yield "".join([row[text] if is_field else text for is_field, text in pieces]) + "\n"


def _by_template(format: str, text: str, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> str:
    from firkin.templates.failure import TemplateError
    from firkin.templates.template import parse_template
    from firkin.templates.values import json_text

    if format == "json":
        return "".join(f"{json_text(_sorted(row))}\n" for row in rows)
    template = parse_template(text)
    try:
        if format and not format.startswith(_TABLE):
            return "".join(_lines(template, rows))
        return _table_of(template, fields, rows)
    except TemplateError as error:
        if not error.hints:
            error.hints = (f"the fields are {', '.join(f'.{name}' for name in fields)}",)
        raise


def _table_of(template: Template, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> str:
    from firkin.templates.values import Record

    head = template.execute(Record(fields), header=True)
    cells = ({name: one_line(value) for name, value in row.items()} for row in rows)
    return aligned(f"{head}\n{''.join(_lines(template, cells))}")


def _lines(template: Template, rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    for row in rows:
        yield template.execute(_sorted(row)) + "\n"


def _sorted(row: Mapping[str, str]) -> Row:
    from firkin.templates.values import Row

    return Row(sorted(row.items()))
