"""Arbitrary templates raise only TemplateError, texts without actions stand for themselves, columns line up."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from firkin.cli.filters import parse_filters, parse_when
from firkin.errors import UsageError
from firkin.render.cells import aligned, one_line, shortened, width
from firkin.render.rows import rows_text
from firkin.templates.failure import TemplateError
from firkin.templates.printf import TooLong, printf
from firkin.templates.template import parse_template
from firkin.templates.values import Record, json_text

MANY = settings(deadline=None, max_examples=300)
PIECES = (
    "{{", "}}", "{{-", "-}}", " ", ".", ".A", ".B.c", "$", "$x", ":=", "=", "|", "(", ")", ",", "if", "else", "end", "range",
    "with", "define", "template", "block", "break", "continue", "nil", "true", '"s"', "'c'", "`r`", "1", "-2.5", "0x1f",
    "printf", "index", "slice", "len", "join", "split", "json", "pad", "truncate", "title", "and", "or", "not", "eq", "lt",
    "print", "println", "html", "js", "urlquery", "call", "/*", "*/", "\n", "%5d", '"%s %d"', "\\t", "é", "\ud800",
)  # fmt: skip
texts = st.text(max_size=5)
data = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=8,
)


@MANY
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=40), data)
def test_templates_raise_only_their_error(text: str, value: Any) -> None:
    try:
        parse_template(text).execute(Record(A=value, B={"c": value}))
    except TemplateError as error:
        assert error.message.startswith("template parsing error: ")


@MANY
@given(st.sampled_from(PIECES[28:]), st.lists(data, max_size=3))
def test_functions_raise_only_the_error_of_templates(name: str, values: list[Any]) -> None:
    words = " ".join(f".V{number}" for number in range(len(values)))
    record = Record({f"V{number}": value for number, value in enumerate(values)})
    try:
        parse_template(f"{{{{{name} {words}}}}}").execute(record)
    except TemplateError:
        pass


@MANY
@given(st.text(max_size=30), st.lists(data, max_size=4))
def test_printf_is_total(form: str, values: list[Any]) -> None:
    try:
        assert isinstance(printf(form, values), str)
        assert isinstance(printf("%" + form, values), str)
    except TooLong:
        pass


@MANY
@given(st.text().filter(lambda text: "{{" not in text))
def test_a_text_without_actions_is_its_own_template(text: str) -> None:
    assert parse_template(text).execute(None) == text


@MANY
@given(st.text(st.characters(codec="utf-8"), max_size=10))
def test_strings_come_back_from_their_quotes(text: str) -> None:
    """`printf "%q"` writes what a template reads as the same string."""
    quoted = printf("%q", [text])
    assert parse_template(f"{{{{{quoted}}}}}").execute(None) == text


@MANY
@given(data.filter(lambda value: "nan" not in repr(value) and "inf" not in repr(value)))
def test_json_is_read_back(value: Any) -> None:
    assert json.loads(json_text(value)) == json.loads(json.dumps(value).encode("utf-8", "replace"))


rows = st.lists(st.fixed_dictionaries({"A": texts, "B": texts, "C": texts}), max_size=4)


@MANY
@given(rows)
def test_every_row_of_a_table_has_its_line_and_columns(listed: list[dict[str, str]]) -> None:
    lines = rows_text("", dict.fromkeys("ABC", "HEAD"), listed, "{{.A}}\t{{.B}}\t{{.C}}").split("\n")
    assert len(lines) == len(listed) + 2 and lines[-1] == ""
    widths = [max(10, 4 + 3, *(width(one_line(row[name])) + 3 for row in listed)) for name in "AB"] if listed else []
    for line, row in zip(lines[1:], listed):
        assert width(line) == sum(widths) + width(one_line(row["C"]))


@MANY
@given(st.text(), st.integers(0, 20))
def test_texts_are_cut_to_their_room(text: str, cells: int) -> None:
    cut = shortened(text, cells)
    assert width(cut) <= max(cells, 0) or cut == text
    assert cut == text if width(text) <= cells else cut == "" or cut.endswith("…")
    assert aligned(text.replace("\t", "")) == text.replace("\t", "")


@MANY
@given(st.lists(st.text(max_size=12) | st.sampled_from(["label=a", "until=1h", "until=2024-02-31", "until="]), max_size=3))
def test_filters_raise_only_usage_errors(words: list[str]) -> None:
    try:
        filters = parse_filters(words, ("label", "label!", "until", "dangling"))
        filters.labels_fit({"a": ""})
        filters.flag("dangling")
        filters.before_s(1e9)
    except UsageError:
        pass


@MANY
@given(st.text("0123456789.-+:TZhmsdu", max_size=30))
def test_times_raise_only_usage_errors(text: str) -> None:
    try:
        assert isinstance(parse_when(text, 1e9), float)
    except UsageError:
        pass
