"""What docker's `inspect` commands print."""

import pytest

from firkin.cli.run import dockers_exit_code
from firkin.render.documents import documents_text
from firkin.templates.failure import TemplateError
from firkin.templates.values import NO_LIST, NO_MAP, NO_POINTER

DOCUMENTS = [{"Id": "1", "Config": {"Cmd": ["sh"], "Labels": {"a": "<b>"}}}, {"Id": "2", "Config": {"Labels": None}}]
SHAPE = {
    "Id": "", "Comment": "", "Size": 0,
    "Config": {"Cmd": NO_LIST, "Labels": NO_MAP, "Volumes": NO_MAP, "Healthcheck": NO_POINTER},
}  # fmt: skip


def test_arrays():
    assert documents_text("", DOCUMENTS[:1]) == (
        '[\n    {\n        "Id": "1",\n        "Config": {\n            "Cmd": [\n                "sh"\n            ],\n'
        '            "Labels": {\n                "a": "<b>"\n            }\n        }\n    }\n]\n'
    )
    assert documents_text("json", DOCUMENTS[1:]) == '[{"Id":"2","Config":{"Labels":null}}]\n'


def test_nothing_found_is_an_empty_array_or_line():
    """Trap 17: scripts rely on the array beside the error."""
    assert documents_text("", []) == "[]\n"
    assert documents_text("json", []) == "[]\n"
    assert documents_text("{{.Id}}", []) == "\n"


def test_a_template_is_written_for_each():
    assert documents_text("{{.Id}} {{.ID}}", DOCUMENTS) == "1 1\n2 2\n"
    assert documents_text("{{json .Config.Labels}}", DOCUMENTS) == '{"a":"<b>"}\nnull\n'
    assert documents_text("a\\tb", DOCUMENTS[:1]) == "a\\tb\n"


def test_json_has_what_the_document_has():
    """As encoding/json leaves empty fields out: what a template finds in the shape is no part of it."""
    assert documents_text("{{json .Config}}", DOCUMENTS, SHAPE) == (
        '{"Cmd":["sh"],"Labels":{"a":"<b>"}}\n{"Labels":null}\n'
    )
    assert documents_text("{{json .}}", DOCUMENTS[1:], SHAPE) == '{"Id":"2","Config":{"Labels":null}}\n'


def test_what_a_document_lacks_is_what_its_shape_says():
    template = "{{.Comment}}|{{.Size}}|{{.Config.Cmd}}|{{.Config.Labels}}|{{.Config.Volumes}}|{{.Config.Healthcheck}}"
    assert documents_text(template, DOCUMENTS, SHAPE) == "|0|[sh]|map[a:<b>]|map[]|<nil>\n|0|[]|map[]|map[]|<nil>\n"
    assert documents_text('{{index .Config.Labels "x"}}|{{.Config.Labels.x}}', DOCUMENTS, SHAPE) == "|<no value>\n" * 2
    assert documents_text("{{range .Config.Cmd}}x{{end}}{{json .Config.Cmd}}", DOCUMENTS[1:], SHAPE) == "null\n"


@pytest.mark.parametrize(("template", "exit_code", "written"), [
    ("{{.Nope}}", 1, "\n"), ("{{.Config.Nope}}", 1, "\n"), ("{{.Id", 64, ""),
])
def test_a_template_that_cannot_be_read_ends_with_64_and_one_that_does_not_fit_with_1(template, exit_code, written):
    with pytest.raises(TemplateError) as caught:
        documents_text(template, DOCUMENTS, SHAPE)
    assert caught.value.written == written
    assert dockers_exit_code(caught.value) == exit_code


def test_what_was_written_before_an_error_is_kept():
    with pytest.raises(TemplateError) as caught:
        documents_text("{{index .Config.Cmd 0}}", DOCUMENTS, SHAPE)
    assert caught.value.written == "sh\n"
