import time

import pytest

from firkin.builder.dockerfile.lines import (
    MAX_LINE_BYTES,
    Heredoc,
    Lines,
    parse_heredoc,
    read_dockerfile,
    read_instruction,
)
from firkin.errors import DockerfileError
from firkin.source import Position, Source, Span


def read(text: str) -> Lines:
    return read_dockerfile(Source("Dockerfile", text))


def texts(text: str) -> list[str]:
    return [raw.text for raw in read(text).instructions]


def refusal(text: str) -> tuple[str, int]:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    assert caught.value.span is not None
    return caught.value.message, caught.value.span.start.line


def test_an_instruction_is_split_into_its_parts() -> None:
    (raw,) = read("  Copy --from=x --link  'a b' c  \n").instructions
    assert (raw.keyword, raw.original_keyword) == ("copy", "Copy")
    assert raw.flags == ("--from=x", "--link")
    assert raw.rest == "'a b' c"
    assert raw.text == "Copy --from=x --link  'a b' c  "
    assert raw.span == Span("Dockerfile", Position(1), Position(1))


@pytest.mark.parametrize(
    ("line", "flags", "rest"),
    [
        ("COPY -- --odd.txt /d", (), "--odd.txt /d"),
        ("COPY --a -- b c", ("--a",), "b c"),
        ("COPY --a='3':\"4\" b", ("--a=3:4",), "b"),
        ('RUN --mount="type=tmpfs,target=/a b" x', ("--mount=type=tmpfs,target=/a b",), "x"),
        ("COPY --a=b\\ c d", ("--a=b c",), "d"),
        ("COPY --a", ("--a",), ""),
        ("COPY --a\\", ("--a",), ""),
        ("COPY - --a", (), "- --a"),
        ("FROM\vx", (), "x"),
        ("FROM\f--p=q\tx", ("--p=q",), "x"),
        ("CMD", (), ""),
    ],
)
def test_flags(line: str, flags: tuple[str, ...], rest: str) -> None:
    (raw,) = read(line).instructions
    assert (raw.flags, raw.rest) == (flags, rest)


def test_lines_are_continued() -> None:
    assert texts("RUN a \\\n  b\\\nc \\ \t\n d\nX") == ["RUN a   bc  d", "X"]
    assert texts("RUN a\\\r\n b\r\n") == ["RUN a b"]
    assert texts("RUN a \\") == ["RUN a "]
    assert texts("RUN a \\\\\nX") == ["RUN a \\\\", "X"]
    assert texts("RUN \\\n\\\n a") == ["RUN  a"]


def test_comments_and_empty_lines_within_a_continuation() -> None:
    found = read("RUN a \\\n  # note\n\n   \n b\nX")
    assert [raw.text for raw in found.instructions] == ["RUN a  b", "X"]
    assert found.instructions[0].span.end.line == 5
    (warning,) = found.warnings
    assert (warning.rule, warning.span.start.line) == ("NoEmptyContinuation", 5)
    assert read("RUN a \\\n# note\n b").warnings == ()


def test_a_byte_order_mark_and_indentation_do_not_matter() -> None:
    assert texts("\ufeff# c\n \t FROM x\n\u00a0RUN y") == ["FROM x", "RUN y"]


def test_comments_before_an_instruction_are_kept_for_it() -> None:
    found = read("# syntax=s\n# one\n# two\nFROM x\n# gone\n\n# three\nRUN y\n#\nCMD z").instructions
    assert [raw.prev_comment for raw in found] == [("one", "two"), ("three",), ()]


def test_directives() -> None:
    found = read("# Syntax = docker/x:1 more\n#escape=`\n# check=skip=all\nFROM x\nRUN a `\n b").directives
    assert (found.syntax, found.escape, found.check) == ("docker/x:1", "`", "skip=all")
    assert [(name, span.start.line) for name, span in found.spans] == [("syntax", 1), ("escape", 2), ("check", 3)]
    assert texts("# escape=`\nRUN a `\n b\\\nX") == ["RUN a  b\\", "X"]


@pytest.mark.parametrize(
    "start", ["# note\n", "# unknown=x\n", "\n", "FROM x\n", "#!/usr/bin/env x\n", "# escape\n", "# escape=\n"]
)
def test_directives_end_at_anything_else(start: str) -> None:
    assert read(start + "# escape=`\nRUN x").directives.escape == "\\"


def test_shebang_and_indentation_hide_different_directives() -> None:
    assert read("#!/x\n# check=skip=a\nFROM x").directives.check == "skip=a"
    indented = read("  # escape=`\n# check=skip=a\nFROM x").directives
    assert (indented.escape, indented.check) == ("`", "")


def test_heredocs() -> None:
    found = read(
        "RUN 3<<A <<-'B c'\n\ta $x\nA\n\tb\n\tB c\nCOPY <<EOF /x\r\nt\r\nEOF\r\nRUN <<  E  > f\nE\nUSER <<X\n"
    ).instructions
    assert [raw.heredocs for raw in found] == [
        (Heredoc("A", "\ta $x\n", True, False, 3), Heredoc("B c", "\tb\n", False, True, 0)),
        (Heredoc("EOF", "t\r\n", True, False, 0),),
        (Heredoc("E", "", True, False, 0),),
        (),
    ]
    assert found[0].heredocs[0].body == "\ta $x\n"
    assert found[0].heredocs[1].body == "b\n"
    assert found[0].span == Span("Dockerfile", Position(1), Position(5))


@pytest.mark.parametrize(
    "line",
    [
        "RUN \"<<A\" '<<B' \\<\\<C",
        'RUN ["<<A"]',
        "RUN echo $((1<<3)) <<<x",
        "CMD <<A",
        "RUN echo 'open <<A",
        "ONBUILD USER <<A",
        'ONBUILD COPY ["<<A", "/b"]',
    ],
)
def test_no_heredocs(line: str) -> None:
    found = read(line + "\nA").instructions
    assert len(found) == 2
    assert found[0].heredocs == ()


def test_heredocs_of_a_trigger() -> None:
    (raw,) = read("onbuild run <<A\nx\nA").instructions
    assert raw.heredocs == (Heredoc("A", "x\n", True, False, 0),)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<<EOF", Heredoc("EOF", "", True, False, 0)),
        ("7<<-EOF", Heredoc("EOF", "", True, True, 7)),
        ("<<- EOF", Heredoc("EOF", "", True, True, 0)),
        ("<<eo'f'", Heredoc("eof", "", False, False, 0)),
        ("<<eo\\'f", Heredoc("eo'f", "", True, False, 0)),
        ("<<'e'o\\'f", Heredoc("eo'f", "", False, False, 0)),
        ("<<'one two'", Heredoc("one two", "", False, False, 0)),
        ("<<$EOF", Heredoc("$EOF", "", True, False, 0)),
        ("", None),
        ("<<", None),
        ("<<-", None),
        ("<EOF", None),
        ("<<<EOF", None),
        ("<<EOF sh", None),
        ("x<<EOF", None),
        ("<<''", None),
    ],
)
def test_parse_heredoc(word: str, expected: Heredoc | None) -> None:
    assert parse_heredoc(word) == expected


@pytest.mark.parametrize("word", ["<<'EOF", '<<"EOF', "<<EOF'"])
def test_parse_heredoc_wants_closed_quotes(word: str) -> None:
    with pytest.raises(ValueError, match="unexpected end of statement"):
        parse_heredoc(word)


def test_refusals_name_the_line() -> None:
    assert refusal("FROM x\nCOPY <<EOF /x\ny\n") == ("unterminated heredoc: no line `EOF` follows", 2)
    assert refusal("# escape=`\n# escape=`\n") == ("only one escape parser directive can be used", 2)
    assert refusal("# syntax=a\n# escape=x\n") == ("invalid escape token 'x' does not match ` or \\", 2)
    assert refusal("") == ("file with no instructions", 1)
    assert refusal("# a\n\n") == ("file with no instructions", 2)
    assert refusal('FROM x\nRUN [1, "<<A"]\nA')[1] == 2
    assert "greater than max allowed size of 65535" in refusal("FROM x\nRUN " + "ä" * 32767)[0]


def test_a_line_may_be_as_long_as_the_scanner_of_buildkit_allows() -> None:
    assert len(read("RUN " + "x" * (MAX_LINE_BYTES - 4)).instructions[0].text) == MAX_LINE_BYTES
    assert len(texts("RUN " + ("x" * 60_000 + "\\\n") * 20)[0]) > 1_000_000


def test_a_trigger_keeps_the_span_it_is_given() -> None:
    span = Span("Dockerfile", Position(7), Position(7))
    raw = read_instruction("RUN <<A\n# escape=`\nA", span)
    assert (raw.span, raw.heredocs[0].content) == (span, "# escape=`\n")
    with pytest.raises(DockerfileError) as caught:
        read_instruction("RUN a\nRUN b", span)
    assert caught.value.span == span


def test_large_files_take_linear_time() -> None:
    started = time.process_time()
    line = "RUN --mount=type=cache,target=/x echo " + "x" * 60 + " \\\n  more\n"
    assert len(read("FROM x\n" + line * 10_000).instructions) == 10_001
    assert len(read("FROM x\nRUN x\\\n" + "  a \\\n\n" * 100_000).instructions) == 2
    assert len(read("RUN <<A " * 1_000 + "\n" + "A\n" * 200_000).instructions) == 199_001
    assert time.process_time() - started < 5
