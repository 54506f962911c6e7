"""Whatever the bytes: the front end answers, or raises DockerfileError with a position inside the text."""

import string
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lowering import build

from firkin.builder.dockerfile.flags import check_mount, mount_from, parse_mount
from firkin.builder.dockerfile.instructions import KEYWORDS
from firkin.builder.dockerfile.lines import read_dockerfile, read_instruction
from firkin.builder.dockerfile.parse import parse, parse_onbuild
from firkin.builder.dockerfile.shellpattern import parse_pattern, replace, trim_prefix, trim_suffix
from firkin.builder.dockerfile.words import (
    Lexer,
    quote,
    split_json_array,
    split_name_values,
    split_whitespace,
    split_words,
)
from firkin.errors import DockerfileError, RegistryError, UsageError
from firkin.source import Position, Source, Span, excerpt
from firkin.text import nearest

HERE = Span("Dockerfile", Position(1), Position(1))

# Pieces of the language, so that random texts get past the first word.
PIECES = st.sampled_from(
    [*KEYWORDS, *(keyword.upper() for keyword in KEYWORDS)]
    + """ \n|\\\n|\\|`|"|'|$|${|}|:-|:+|:?|#|##|%|%%|/|//|*|?|[|]|["a"]|<<A|<<-'A'|3<<|A\n|--from=x|--mount=type=cache,|
--link|--chmod=|--|=|,|AS|as|scratch|/tcp|80-90|NONE|CMD|--interval=5s|# check=skip=all\n|# escape=`\n|\r\n|\t|\ufeff|é|
\x00|\udcff|\u3000|\x85|\x0b|\x1c""".split("|")
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=40).map("".join),
    st.lists(PIECES, max_size=40).map(" ".join),
    st.text(max_size=80),
    st.binary(max_size=120).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
DOCKERFILES = st.one_of(TEXTS, TEXTS.map("FROM scratch\n{}".format), TEXTS.map("FROM a AS b\nRUN {}".format))
INSTRUCTIONS = st.builds(
    lambda keyword, pieces, between: f"{keyword} {between.join(pieces)}",
    st.sampled_from([keyword for keyword in KEYWORDS if keyword != "maintainer"]),
    st.lists(PIECES.filter(lambda piece: "\n" not in piece and "\\" not in piece), max_size=6),
    st.sampled_from(["", " ", ",", "="]),
)
FILES = st.lists(INSTRUCTIONS, min_size=1, max_size=5).map(lambda rest: "\n".join(["FROM busybox AS a", *rest, "A"]))
ENVIRONMENTS = st.dictionaries(st.sampled_from(["A", "B", "x", "1"]), TEXTS, max_size=3)


def assert_inside(error: DockerfileError, source: Source) -> None:
    span = error.span
    assert span is not None and span.name == source.name
    assert 1 <= span.start.line <= span.end.line <= max(1, len(source.text.split("\n")))
    assert excerpt(source, span)


@settings(max_examples=600, deadline=None)
@given(DOCKERFILES)
def test_parsing_raises_only_errors_with_a_position(text: str) -> None:
    source = Source("Dockerfile", text)
    try:
        parsed = parse(source)
    except DockerfileError as error:
        assert_inside(error, source)
        return
    last = 0
    for stage in parsed.stages:
        for node in (stage.base, *stage.instructions):
            assert last < node.span.start.line <= node.span.end.line <= len(text.split("\n"))
            last = node.span.end.line
        assert stage.span.end.line == last


@settings(max_examples=600, deadline=None)
@given(st.one_of(DOCKERFILES, FILES, FILES.map(lambda text: text.removesuffix("\nA"))))
def test_lowering_raises_only_errors_with_a_position(text: str) -> None:
    try:
        build(text, build_args={"A": "a", "B": ""})
    except DockerfileError as error:
        assert_inside(error, Source("Dockerfile", text))
    except (RegistryError, UsageError):
        return  # an image that does not exist, a SOURCE_DATE_EPOCH that is no number


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_lines_stand_in_the_order_of_the_text_and_read_the_same_again(text: str) -> None:
    source = Source("Dockerfile", text)
    try:
        lines = read_dockerfile(source)
    except DockerfileError as error:
        assert_inside(error, source)
        return
    last = 0
    for raw in lines.instructions:
        assert last < raw.span.start.line <= raw.span.end.line
        last = raw.span.end.line
        assert raw.keyword == raw.original_keyword.lower()
        assert raw.rest in raw.text
        if not raw.heredocs and not {"#", raw.escape, "\ufeff"} & set(raw.text) and raw.text.strip():
            again = read_instruction(raw.text, raw.span, raw.escape)
            assert (again.keyword, again.flags, again.rest) == (raw.keyword, raw.flags, raw.rest)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_triggers_raise_only_errors_at_the_place_they_are_given(text: str) -> None:
    try:
        parse_onbuild(text, HERE)
    except DockerfileError as error:
        assert error.span == HERE


@settings(max_examples=400, deadline=None)
@given(TEXTS, ENVIRONMENTS, st.sampled_from("\\`"), st.tuples(*[st.booleans()] * 4))
def test_expansion_raises_only_value_errors(
    text: str, env: Mapping[str, str], escape: str, options: tuple[bool, bool, bool, bool]
) -> None:
    lexer = Lexer(escape, *options)
    try:
        found = lexer.expand(text, env)
        words = lexer.expand_words(text, env)
    except ValueError:
        return
    assert found.used <= set(env) and not found.unmatched & set(env)
    assert (words.used, words.unmatched) == (found.used, found.unmatched)
    assert all(words.words)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.ascii_letters + " .,/=-_ä\n"), ENVIRONMENTS)
def test_plain_text_is_its_own_expansion(text: str, env: Mapping[str, str]) -> None:
    assert Lexer().expand(text, env).text == text
    assert Lexer().expand_words(text, env).words == tuple(text.split())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), ENVIRONMENTS)
def test_quoting_a_text_protects_it(text: str, env: Mapping[str, str]) -> None:
    """`'...'` protects all but its own kind; escapes protect every character."""
    if "'" not in text:
        assert Lexer().expand(f"'{text}'", env).text == text
    assert Lexer().expand("".join("\\" + char for char in text), env).text == text


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from("\\`"))
def test_splitting_never_fails_otherwise_than_by_value_error(text: str, escape: str) -> None:
    assert all(split_words(text, escape))
    split_whitespace(text)
    for split in (lambda: split_name_values(text, escape, "env"), lambda: split_json_array(text)):
        try:
            split()
        except ValueError:
            continue
    quoted = quote(text)
    assert quoted.isprintable() and quoted[0] == quoted[-1] == '"'
    assert nearest(text, KEYWORDS, case_sensitive=False) is None or len(text) <= 14


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, st.lists(st.sampled_from('type=cache|,|target=/a|"|size=1|$|from=a'.split("|"))).map("".join)))
def test_mounts_raise_only_errors_at_the_instruction(text: str) -> None:
    for run in (check_mount, mount_from, lambda t, span: parse_mount(t, lambda value: value, span)):
        try:
            run(text, HERE)
        except DockerfileError as error:
            assert error.span == HERE


def _match_prefixes(pattern: str, text: str) -> set[int]:
    """Say how much of the text a pattern of literals, `?` and `*` may take: slow and obvious."""
    if not pattern:
        return {0}
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        taken = range(len(text.split("\n")[0]) + 1)
    else:
        taken = range(1, 2) if text and (text[0] == head or (head == "?" and text[0] != "\n")) else range(0)
    return {count + more for count in taken for more in _match_prefixes(rest, text[count:])}


PATTERNS = st.text(alphabet="ab?*", max_size=6)
VALUES = st.text(alphabet="ab\n", max_size=10)


@settings(max_examples=500, deadline=None)
@given(PATTERNS, VALUES)
def test_trimming_takes_the_shortest_or_longest_match(pattern: str, value: str) -> None:
    parsed = parse_pattern(pattern)
    prefixes = _match_prefixes(pattern, value)
    assert trim_prefix(parsed, value, longest=False) == value[min(prefixes, default=0) :]
    assert trim_prefix(parsed, value, longest=True) == value[max(prefixes, default=0) :]
    size = len(value)
    suffixes = [count for count in range(size + 1) if count in _match_prefixes(pattern, value[size - count :])]
    assert trim_suffix(parsed, value, longest=False) == value[: size - min(suffixes, default=0)]
    assert trim_suffix(parsed, value, longest=True) == value[: size - max(suffixes, default=0)]


@settings(max_examples=500, deadline=None)
@given(PATTERNS, VALUES)
def test_replacing_takes_the_leftmost_longest_matches(pattern: str, value: str) -> None:
    """The rule of Go's regexp.ReplaceAll: left to right, no empty match right after a match."""
    expected, position, previous = "", 0, -1
    while position <= len(value):
        ends = _match_prefixes(pattern, value[position:])
        end = position + max(ends) if ends else -1
        if end < 0 or (end == position == previous):
            expected += value[position : position + 1]
            position += 1
            continue
        expected += "<>"
        previous = end
        if end == position:
            expected += value[position : position + 1]
            position += 1
        else:
            position = end
    assert replace(parse_pattern(pattern), value, "<>", every=True) == expected


@pytest.mark.parametrize(
    "text", ["FROM x\nRUN " + "${A:-" * 12_000, "FROM x\nCMD " + "[" * 60_000, "FROM x\nRUN " + "<<A " * 15_000]
)
def test_deep_nesting_is_an_error_at_most(text: str) -> None:
    try:
        parse(Source("Dockerfile", text))
    except DockerfileError as error:
        assert_inside(error, Source("Dockerfile", text))
