"""Lists in docker's formats. The expected texts are those of docker 28."""

import json

import pytest

from firkin.render.cells import aligned, shortened, width
from firkin.render.rows import label_header, rows_text
from firkin.templates.failure import TemplateError

FIELDS = {"ID": "IMAGE ID", "Repository": "REPOSITORY", "Size": "SIZE"}
DEFAULT = "{{.Repository}}\t{{.ID}}\t{{.Size}}"
ROWS = [
    {"ID": "0123456789ab", "Repository": "app", "Size": "1.2MB"},
    {"ID": "ba9876543210", "Repository": "registry.example/long", "Size": "<none>"},
]


def show(format, rows=ROWS):
    return rows_text(format, FIELDS, rows, DEFAULT, "repository: {{.Repository}}\nid: {{.ID}}\n")


@pytest.mark.parametrize("format", ["", "table"])
def test_a_table_has_columns_as_wide_as_their_cells(format):
    assert show(format) == (
        "REPOSITORY              IMAGE ID       SIZE\n"
        "app                     0123456789ab   1.2MB\n"
        "registry.example/long   ba9876543210   <none>\n"
    )


def test_a_table_without_rows_has_its_header():
    assert show("", []) == "REPOSITORY   IMAGE ID   SIZE\n"
    assert show("json", []) == ""
    assert show("{{.ID}}", []) == ""


def test_short_columns_are_ten_wide_and_the_last_is_not_padded():
    assert show("table {{.Size}}\\t{{.Size}}", [{"ID": "", "Repository": "", "Size": "1B"}]) == "SIZE      SIZE\n1B        1B\n"


def test_functions_leave_headers_alone_but_pad():
    assert show("table {{lower .Repository}}|{{json .ID}}|{{truncate .Size 1}}|{{pad .Size 1 1}}", ROWS[:1]) == (
        'REPOSITORY|IMAGE ID|SIZE| SIZE \napp|"0123456789ab"|1| 1.2MB \n'
    )


def test_json_is_an_object_a_line_of_texts_with_sorted_names():
    """Trap 16: sizes are texts for people, as docker's; its `<` are escaped."""
    first, second = show("json").splitlines()
    assert first == '{"ID":"0123456789ab","Repository":"app","Size":"1.2MB"}'
    assert '"\\u003cnone\\u003e"' in second
    assert json.loads(second)["Size"] == "<none>"
    assert show("{{json .}}") == show("json")
    assert show("{{json .Size}}").splitlines()[1] == '"<none>"'


def test_raw_and_templates():
    assert show("raw", ROWS[:1]) == "repository: app\nid: 0123456789ab\n\n"
    assert show("{{.ID}}\\t{{.Size}}\\n").startswith("0123456789ab\t1.2MB\n\n")
    assert show("  {{.ID}} ", ROWS[:1]) == "0123456789ab\n"
    assert show("x{{if eq .Repository \"app\"}}!{{end}}") == "x!\nx\n"


def test_an_unknown_field_is_an_error_that_names_the_fields():
    for format in ("{{.Name}}", "table {{.Name}}", "{{upper .Name}}"):
        with pytest.raises(TemplateError, match="template parsing error") as caught:
            show(format)
        assert "can't evaluate field Name" in caught.value.message
        assert caught.value.hints == ("the fields are .ID, .Repository, .Size",)


def test_tabs_and_line_ends_in_a_cell_of_a_table_are_blanks():
    """Trap 18: otherwise they make new columns and rows."""
    row = {"ID": "a\tb\nc", "Repository": "\x1b[31mred", "Size": "x"}
    assert show("", [row]).splitlines()[1] == "red          a b c      x"
    assert show("{{.ID}}", [row]) == "a\tb\nc\n"


def test_wide_characters_take_two_cells():
    """Trap 35: nothing asks the locale; columns count cells."""
    assert [width(text) for text in ("abc", "漢字", "é", "e\u0301", "ｗ")] == [3, 4, 1, 1, 2]
    rows = [{"ID": "漢字漢字漢字", "Repository": "a", "Size": "x"}, {"ID": "12", "Repository": "b", "Size": "y"}]
    assert show("table {{.ID}}\\t{{.Size}}", rows) == "IMAGE ID       SIZE\n漢字漢字漢字   x\n12             y\n"


@pytest.mark.parametrize(("text", "cells", "cut"), [
    ("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("漢字漢字", 8, "漢字漢字"), ("漢字漢字", 7, "漢字漢…"),
    ("漢字漢字", 6, "漢字…"), ("", 5, ""), ("ab", 1, "…"),
])  # fmt: skip
def test_texts_are_cut_by_cells(text, cells, cut):
    assert shortened(text, cells) == cut
    assert width(cut) <= cells


def test_a_column_ends_where_a_line_lacks_it():
    assert aligned("a\tb\tc\nlonger than ten\nd\te\tf\n") == "a         b         c\nlonger than ten\nd         e         f\n"
    assert aligned("looooooooooong\tb\nx\nd\te") == "looooooooooong   b\nx\nd         e"


def test_a_cell_may_take_a_word_or_be_nothing():
    labels = {"com.example.app-tier": "front"}
    rows = [{"Name": "a", "Platform": None, "Label": lambda name: labels.get(name, "")}]
    fields = {"Name": "NAME", "Platform": "PLATFORM", "Label": label_header}
    template = 'table {{.Name}}\\t{{.Platform}}\\t{{.Label "com.example.app-tier"}}'
    assert rows_text(template, fields, rows, "") == "NAME      PLATFORM   app tier\na         <nil>      front\n"
    assert rows_text("{{.Platform}}", fields, rows, "") == "<nil>\n"
    assert rows_text("json", fields, rows, "") == '{"Name":"a","Platform":null}\n'
