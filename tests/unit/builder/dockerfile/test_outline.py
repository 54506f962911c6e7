"""Targets and outlines, as values and as BuildKit's documents."""

import base64
import json

import msgspec
import pytest
from support.lowering import AMD64, FakeResolver

from firkin.builder.dockerfile.lint import check_dockerfile, check_part
from firkin.builder.dockerfile.lower import LowerOptions
from firkin.builder.dockerfile.outline import Outline, list_targets, outline
from firkin.builder.dockerfile.parse import parse, parse_partly
from firkin.builder.dockerfile.report import check_report, outline_report, targets_report
from firkin.errors import DockerfileError, UsageError
from firkin.source import Source

FILE = """\
# TAG of the base
ARG TAG=3
ARG BASE=busybox:$TAG
ARG NEVER=x

# deps are fetched here
FROM ${BASE} AS deps
# MODE is fast or safe
ARG MODE=fast
ENV DIR=/cache
RUN --mount=type=cache,target=$DIR --mount=type=secret,id=token,required fetch $MODE

FROM busybox AS other
ARG ELSEWHERE

# tests run the suite
FROM deps AS Tests
ARG TAG
ARG FULL="${MODE}-${TAG}"
RUN --mount=type=ssh --mount=type=secret,id=token --mount=type=cache,id=go,target=/go check

FROM scratch
COPY --from=deps /out /
"""


def read(text: str = FILE, **options: object) -> Outline:
    settings = LowerOptions(platform=AMD64, build_platform=AMD64, **options)  # type: ignore[arg-type]
    return outline(parse(Source("Dockerfile", text)), settings)


def test_targets() -> None:
    found = [(x.name, x.default, x.description, x.base) for x in list_targets(parse(Source("Dockerfile", FILE)))]
    assert found == [
        ("deps", False, "are fetched here", "${BASE}"),
        ("other", False, "", "busybox"),
        ("tests", False, "run the suite", "deps"),
        ("", True, "", "scratch"),
    ]


def test_outline_of_a_target_has_what_its_stages_take() -> None:
    found = read(target="tests")
    assert (found.name, found.description) == ("tests", "run the suite")
    assert [(arg.name, arg.value, arg.description, arg.span.start.line) for arg in found.args] == [
        ("TAG", "3", "of the base", 2),
        ("BASE", "busybox:3", "", 3),
        ("MODE", "fast", "is fast or safe", 9),
        ("FULL", "fast-3", "", 19),
    ]
    assert [(mount.id, mount.required) for mount in found.secrets] == [("token", True)]
    assert [(mount.id, mount.required) for mount in found.ssh] == [("default", False)]


def test_outline_of_the_default_target() -> None:
    found = read()
    assert found.name == ""
    assert [arg.name for arg in found.args] == ["TAG", "BASE", "MODE"]
    assert found.ssh == ()


def test_build_arguments_replace_defaults() -> None:
    found = read(target="tests", build_args=(("TAG", "9"), ("MODE", "safe")))
    assert {arg.name: arg.value for arg in found.args} == {
        "TAG": "9", "BASE": "busybox:9", "MODE": "safe", "FULL": "safe-9",
    }  # fmt: skip


def test_arguments_are_listed_that_a_value_was_made_of_when_it_was_defined() -> None:
    text = """\
ARG R
ARG FOO=1
ARG ABC=abc
ARG UNUSED=$ABC
ARG FOO=${FOO}${ABC}
ARG BAR=${FOO}4
ARG FOO=${FOO}5${BAR}
FROM ${R}scratch AS a
ARG FOO
ARG TARGETOS
ARG NONE
FROM a
ARG FOO=in-the-stage
ARG FOO=again
"""
    listed = {arg.name: (arg.value, arg.span.start.line) for arg in read(text, target="a").args}
    assert listed == {"ABC": ("abc", 3), "BAR": ("1abc4", 6), "FOO": ("1abc51abc4", 7), "NONE": ("", 11)}
    whole = {arg.name: (arg.value, arg.span.start.line) for arg in read(text).args}
    assert whole == {**listed, "FOO": ("again", 14)}
    given = read(text, target="a", build_args=(("FOO", "x"), ("R", "")))
    assert {arg.name: arg.value for arg in given.args} == {"R": "", "FOO": "x", "NONE": ""}


def test_unknown_target_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean tests"):
        read(target="test")


def test_bad_expansion_is_an_error_with_a_place() -> None:
    with pytest.raises(DockerfileError) as caught:
        read("FROM scratch\nARG A=${B\n")
    assert caught.value.span is not None


def test_documents_have_the_keys_of_buildkit() -> None:
    source = Source("Dockerfile", FILE)
    dockerfile = parse(source)
    document = json.loads(msgspec.json.encode(outline_report(source, read(target="tests"))))
    assert document["secrets"][0]["name"] == "token"
    assert document["secrets"][0]["required"] is True
    assert "cache" not in document  # BuildKit has the field and leaves it empty
    assert base64.b64decode(document["sources"][0]).decode() == FILE
    assert document["args"][0]["location"] == {
        "sourceIndex": 0,
        "ranges": [{"start": {"line": 2, "character": 0}, "end": {"line": 2, "character": 0}}],
    }
    targets = json.loads(msgspec.json.encode(targets_report(source, list_targets(dockerfile))))["targets"]
    assert targets[0]["name"] == "deps"
    assert targets[3]["default"] is True
    assert "name" not in targets[3]


def test_check_document() -> None:
    source = Source("Dockerfile", "from busybox AS a\nRUN x\nCMD y\n")
    options = LowerOptions(platform=AMD64, build_platform=AMD64)
    result = check_dockerfile(parse(source), options, FakeResolver())
    document = json.loads(msgspec.json.encode(check_report(source, result)))
    assert "buildError" not in document
    assert document["sources"][0]["filename"] == "Dockerfile"
    assert document["sources"][0]["language"] == "Dockerfile"
    warning = document["warnings"][-1]
    assert warning["ruleName"] == "JSONArgsRecommended"
    assert warning["url"].startswith("https://docs.docker.com/go/dockerfile/rule/")
    assert warning["location"]["ranges"][0]["start"]["line"] == 3


def test_check_document_with_an_error() -> None:
    source = Source("Dockerfile", "FROM busybox\nCOPY --from=nobody/knows /a /b\n")
    options = LowerOptions(platform=AMD64, build_platform=AMD64)
    result = check_dockerfile(parse(source), options, FakeResolver())
    document = json.loads(msgspec.json.encode(check_report(source, result)))
    assert "not found" in document["buildError"]["message"]
    assert document["buildError"]["location"]["ranges"][0]["start"]["line"] == 2


def ranges(text: str, **options: object) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return what the checks' document says of each warning: its rule, and first and last line of its ranges."""
    source = Source("Dockerfile", text)
    settings = LowerOptions(platform=AMD64, build_platform=AMD64)
    dockerfile, wrong = parse_partly(source)
    result = check_dockerfile(dockerfile, settings, FakeResolver()) if wrong is None else check_part(dockerfile, wrong, settings)
    document = json.loads(msgspec.json.encode(check_report(source, result)))
    assert ("buildError" in document) == (wrong is not None)
    return [
        (found["ruleName"], [(place["start"]["line"], place["end"]["line"]) for place in found["location"]["ranges"]])
        for found in document["warnings"]
    ]


def test_a_warning_has_a_range_for_each_line() -> None:
    assert ranges("FROM scratch\nENV a \\\n# in between\n b\n") == [
        ("LegacyKeyValueFormat", [(2, 2), (3, 3), (4, 4)]),
    ]


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("FROM scratch AS ${X}", ["StageNameCasing"]),
        ("FROM scratch as Two+", ["StageNameCasing", "FromAsCasing"]),
        ("FROM --platfrom=x scratch AS Two", ["StageNameCasing"]),
        ("FROM scratch AS 2", []),
        ("FROM a b", []),
    ],
)
def test_the_case_of_names_is_told_also_where_they_are_refused(line: str, rules: list[str]) -> None:
    assert ranges(f"ARG X=a\n{line}\n") == [(rule, [(2, 2)]) for rule in rules]
