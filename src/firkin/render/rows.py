"""Lists as docker's `--format` has them: tables, templates, JSON, raw lines. Pure. `cli` only.

Mirrors: docker/cli cli/command/formatter. In tables tabs and line ends in a cell are blanks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from firkin.render.cells import aligned, one_line
from firkin.templates.failure import TemplateError
from firkin.templates.template import Template, parse_template
from firkin.templates.values import Record, Row, json_text

_TABLE = "table"


def rows_text(
    format: str, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]], default: str, raw: str = ""
) -> str:
    """Return rows in a format: "" or `table`, `table TEMPLATE`, `json`, `raw`, or a template for each row.

    `fields` gives each name that a row has its header. `default` is the template of the table, its cells separated by
    `\\t`; `raw` is the template that the word `raw` stands for, if there is one. Raises TemplateError.
    """
    if format == "json":
        return "".join(f"{json_text(_sorted(row))}\n" for row in rows)
    if format == "raw" and raw:
        format = raw
    tabular = not format or format.startswith(_TABLE)
    text = (format.removeprefix(_TABLE) or default) if tabular else format
    template = parse_template(text.strip(" ").replace("\\t", "\t").replace("\\n", "\n"))
    try:
        return _table_of(template, fields, rows) if tabular else "".join(_lines(template, fields, rows))
    except TemplateError as error:
        if not error.hints:
            error.hints = (f"the fields are {', '.join(f'.{name}' for name in fields)}",)
        raise


def _table_of(template: Template, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> str:
    head = template.execute(Record(fields), header=True)
    cells = ({name: one_line(value) for name, value in row.items()} for row in rows)
    return aligned(f"{head}\n{''.join(_lines(template, fields, cells))}")


def _lines(template: Template, fields: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    pieces = template.pieces()
    if pieces is not None and all(not is_field or name in fields for is_field, name in pieces):
        for row in rows:
            yield "".join([row[text] if is_field else text for is_field, text in pieces]) + "\n"
        return
    for row in rows:
        yield template.execute(_sorted(row)) + "\n"


def _sorted(row: Mapping[str, str]) -> Row:
    return Row(sorted(row.items()))
