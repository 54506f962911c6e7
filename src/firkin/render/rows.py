"""Lists as docker's `--format` has them: tables, templates, JSON, raw lines. Pure. `cli` only.

Mirrors: docker/cli cli/command/formatter. In tables tabs and line ends in a cell are blanks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from firkin.render.cells import aligned, one_line

if TYPE_CHECKING:
    from firkin.templates.template import Template
    from firkin.templates.values import Row

Cell = str | None | Callable[[str], str]
"""A text; None is `<nil>`, null in JSON; a function takes the word that follows its name (`{{.Label "version"}}`)."""
Cells = Mapping[str, Cell]
_TABLE = "table"


def rows_text(format: str, fields: Cells, rows: Iterable[Cells], default: str, raw: str = "") -> str:
    """Return rows in a format: "" or `table`, `table TEMPLATE`, `json`, `raw`, or a template for each row.

    `fields` gives each name that a row has its header; for one that takes a word that is a function, as `label_header`.
    `default` is the template of the table, its cells separated by `\\t`; `raw` is the template that the word `raw`
    stands for, if there is one. Raises TemplateError.
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


def _pieces_of(text: str, fields: Cells) -> _Pieces | None:
    """Return the pieces of a template that has nothing else, None for others: those take 8 ms to load."""
    head, *parts = text.split("{{")
    pieces = [(False, head)]
    for part in parts:
        word, end, following = part.partition("}}")
        if not end or not word.startswith(".") or not isinstance(fields.get(word[1:]), str):
            return None
        pieces += [(True, word[1:]), (False, following)]
    return tuple(pieces)


def label_header(name: str) -> str:
    """Return the header of a label's column. Mirrors: docker/cli formatter.SubHeaderContext.Label."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def _plain_table(pieces: _Pieces, fields: Cells, rows: Iterable[Cells]) -> str:
    names = {name for is_field, name in pieces if is_field}
    cells = ({name: _cell(row[name]) for name in names} for row in rows)
    return aligned("".join((*_filled(pieces, (fields,)), *_filled(pieces, cells))))


def _filled(pieces: _Pieces, rows: Iterable[Cells]) -> Iterable[str]:
    for row in rows:
        yield "".join([_text(row[text]) if is_field else text for is_field, text in pieces]) + "\n"


def _text(value: Cell) -> str:
    return value if isinstance(value, str) else "<nil>"


def _cell(value: Cell) -> Cell:
    return one_line(value) if isinstance(value, str) else value


def _by_template(format: str, text: str, fields: Cells, rows: Iterable[Cells]) -> str:
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


def _table_of(template: Template, fields: Cells, rows: Iterable[Cells]) -> str:
    from firkin.templates.values import Record

    head = template.execute(Record(fields), header=True)
    cells = ({name: _cell(value) for name, value in row.items()} for row in rows)
    return aligned(f"{head}\n{''.join(_lines(template, cells))}")


def _lines(template: Template, rows: Iterable[Cells]) -> Iterable[str]:
    for row in rows:
        yield template.execute(_sorted(row)) + "\n"


def _sorted(row: Cells) -> Row:
    from firkin.templates.values import NO_POINTER, Row

    return Row((name, NO_POINTER if row[name] is None else row[name]) for name in sorted(row))
