import re
import time

import pytest
from support.timing import quickest, seconds

from firkin.builder.dockerfile.parse import parse, parse_onbuild
from firkin.errors import DockerfileError
from firkin.source import Position, Source, Span


def refusal(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", text))
    assert caught.value.span is not None
    return caught.value


def test_a_file_becomes_arguments_and_stages() -> None:
    found = parse(Source("Dockerfile", "ARG A=1\nARG B\nFROM x AS One\nRUN y\n\nARG C\nFROM --platform=$P one\n"))
    assert [[item.name for item in arg.items] for arg in found.args] == [["A"], ["B"]]
    first, second = found.stages
    assert (first.name, first.index, first.base.image, first.base.written_name) == ("one", 0, "x", "One")
    assert [node.keyword for node in first.instructions] == ["run", "arg"]
    assert first.span == Span("Dockerfile", Position(3), Position(6))
    assert (second.name, second.index, second.base.platform, second.instructions) == ("", 1, "$P", ())


def test_warnings_of_lines_are_kept() -> None:
    (warning,) = parse(Source("Dockerfile", "FROM x\nRUN a \\\n\n b\n")).warnings
    assert warning.rule == "NoEmptyContinuation"


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "the Dockerfile (Dockerfile) cannot be empty", 1),
        ("# only\n\n# comments\n", "file with no instructions", 3),
        ("ARG A\n", "dockerfile contains no stages to build", 1),
        ("ARG A\nRUN x\nFROM y", "no build stage in current context: RUN stands before the first FROM", 2),
        ("FROM x\nFORM y", "dockerfile parse error on line 2: unknown instruction: FORM (did you mean FROM?)", 2),
        ("FROM x\n\nruun y", "dockerfile parse error on line 3: unknown instruction: ruun (did you mean run?)", 3),
        ("FROM x\nFETCH y", "dockerfile parse error on line 2: unknown instruction: FETCH", 2),
        ("FROM x\n\\\n", "dockerfile parse error on line 2: unknown instruction: ", 2),
        ("FROM x\nCOPY --form=y a b", "dockerfile parse error on line 2: unknown flag: --form (did you mean --from?)", 2),
    ],
)
def test_refusals(text: str, message: str, line: int) -> None:
    error = refusal(text)
    assert (error.message, error.span and error.span.start.line) == (message, line)


def test_triggers() -> None:
    span = Span("Dockerfile", Position(4), Position(4))
    node = parse_onbuild("COPY <<A /x\nhello\nA", span)
    assert (node.keyword, node.span) == ("copy", span)
    for text, message in (
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("MAINTAINER x", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN x", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("RNU x", "unknown instruction: RNU (did you mean RUN?)"),
        ("RUN <<A", "unterminated heredoc: no line `A` follows"),
    ):
        with pytest.raises(DockerfileError) as caught:
            parse_onbuild(text, span)
        assert (caught.value.message, caught.value.span) == (message, span)


def test_ten_thousand_instructions_take_less_than_a_second() -> None:
    kinds = (
        "RUN --mount=type=cache,target=/x echo " + "word " * 20,
        "COPY --from=a --chown=1:2 one two 'three' /there/" + "x" * 60,
        'ENV A="b c" D=e\\ f G=' + "h" * 80,
        "LABEL a.b.c=\"d e\" f='g'" + " x=y" * 20,
        'CMD ["one", "two", "three", "' + "z" * 70 + '"]',
    )
    text = "FROM x AS a\n" + "\n".join(kinds[number % len(kinds)] for number in range(10_000)) + "\n"
    assert len(text) > 1_000_000

    def read() -> None:
        assert len(parse(Source("Dockerfile", text)).stages[0].instructions) == 10_000

    assert quickest(lambda: seconds(read, time.process_time), 1) < 1


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("FROM scratch\nENV\xa0a=b", r"contains characters that cannot be seen: U\+00A0"),
        ("\u200bFROM scratch", r"cannot be seen: U\+200B"),
        ("FROM scratch\n\udcffENV a=b", "a byte that is not UTF-8"),
        ("FROM scratch # base", "a comment needs a line of its own"),
        ("FROM scratch\nENV a=b # c", "a comment needs a line of its own"),
        ("FROM scratch\nENV a=b c", "quotes around a value"),
        ("FROM a b", "FROM IMAGE AS NAME"),
        ("FROM scratch\nHEALTHCHECK --interval=5 CMD x", "a duration has units"),
        ("FROM scratch\nCOPY <<EOF /x\na\n EOF\n", "line 4 has blanks beside `EOF`"),
        ("FROM scratch\nCOPY <<EOF /x\na\n\tEOF\n", "`<<-` allows tabs before it"),
    ],
)
def test_errors_tell_the_way_out(text: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", text))
    (found,) = caught.value.hints
    assert re.search(hint, found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FORM a", "dockerfile parse error on line 1: unknown instruction: FORM (did you mean FROM?)"),
        ("FROM a\nRUN x\n\nENV \\\n", "dockerfile parse error on line 4: ENV requires at least one argument"),
        ("FROM a\nCOPY --nope=1 a b", "dockerfile parse error on line 2: unknown flag: --nope"),
        ("RUN x\nFROM a", "no build stage in current context: RUN stands before the first FROM"),
    ],
)
def test_errors_have_the_words_that_scripts_look_for(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", text))
    assert caught.value.message.startswith(message)
