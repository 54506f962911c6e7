"""Parses logical lines into a syntax tree, by the table of instructions. Pure.

Mirrors: buildkit frontend/dockerfile/instructions/parse.go (Parse). build, lint and the command line
import it.
"""

from __future__ import annotations

from firkin.builder.dockerfile.instructions import KEYWORDS, row_of
from firkin.builder.dockerfile.instructions.from_ import casing
from firkin.builder.dockerfile.lines import Lines, ParseWarning, RawInstruction, read_dockerfile, read_instruction
from firkin.builder.dockerfile.syntax import Arg, Dockerfile, From, Instruction, Stage
from firkin.builder.dockerfile.words import quote
from firkin.errors import DockerfileError
from firkin.source import Source, Span
from firkin.text import nearest

_LONGEST_SHOWN = 60


def parse(source: Source) -> Dockerfile:
    """Parse a Dockerfile; raises DockerfileError with a position. Mirrors: instructions.Parse."""
    found, error = parse_partly(source)
    if error is not None:
        raise error
    return found


def parse_partly(source: Source) -> tuple[Dockerfile, DockerfileError | None]:
    """Return the tree before the first invalid instruction (perhaps without a stage), and the error there.

    Raises DockerfileError where the text cannot be split into instructions at all.
    """
    if not source.text:
        raise DockerfileError(f"the Dockerfile ({source.name}) cannot be empty", span=source.span(1))
    lines = read_dockerfile(source)
    args: list[Arg] = []
    stages: list[Stage] = []
    warnings = lines.warnings
    error: DockerfileError | None = None
    try:
        _parse_lines(lines, args, stages)
    except DockerfileError as raised:
        error = raised
        for raw in lines.instructions:
            if raw.span == error.span and raw.keyword == "from":
                warnings += tuple(ParseWarning(rule, message, raw.span) for rule, message in casing(raw))
    return Dockerfile(source, lines.directives, tuple(args), tuple(stages), warnings), error


def _parse_lines(lines: Lines, args: list[Arg], stages: list[Stage]) -> None:
    """Parse into `args` and `stages`; a stage with an error is added up to that error. Raises DockerfileError."""
    base: From | None = None
    body: list[Instruction] = []
    try:
        for raw in lines.instructions:
            try:
                node = parse_instruction(raw)
            except DockerfileError as error:  # scripts look for this wording. Mirrors: parseError
                error.message = f"dockerfile parse error on line {raw.span.start.line}: {error.message}"
                raise
            if isinstance(node, From):
                if base is not None:
                    stages.append(_stage(base, body, len(stages)))
                base, body = node, []
            elif base is not None:
                body.append(node)
            elif isinstance(node, Arg):
                args.append(node)
            else:
                raise DockerfileError(
                    f"no build stage in current context: {raw.original_keyword} stands before the first FROM",
                    hints=("begin the file with FROM; only ARG may precede it",),
                    span=raw.span,
                )
    finally:
        if base is not None:
            stages.append(_stage(base, body, len(stages)))
    if base is None:
        raise DockerfileError(
            "dockerfile contains no stages to build",
            hints=("add a FROM instruction",),
            span=lines.instructions[-1].span,
        )


def _stage(base: From, body: list[Instruction], index: int) -> Stage:
    last = body[-1] if body else base
    return Stage(base.name, base, tuple(body), Span(base.span.name, base.span.start, last.span.end), index)


def parse_instruction(raw: RawInstruction) -> Instruction:
    """Parse one logical line by its keyword; raises DockerfileError."""
    if raw.keyword not in KEYWORDS:
        message = f"unknown instruction: {_shown(raw.original_keyword)}"
        match = nearest(raw.original_keyword, KEYWORDS, case_sensitive=False)
        if match:
            message += f" (did you mean {match}?)"
        raise DockerfileError(message, hints=_odd_characters(raw.original_keyword), span=raw.span)
    return row_of(raw.keyword).parse(raw)


def _shown(word: str) -> str:
    """Return a keyword on one short line, with `.` for unprintable characters."""
    shown = "".join(char if char.isprintable() else "." for char in word[:_LONGEST_SHOWN])
    return shown + "…" if len(word) > _LONGEST_SHOWN else shown


def _odd_characters(word: str) -> tuple[str, ...]:
    """Return hints about invisible characters of a keyword; text copied from a web page may have them."""
    word = word[:_LONGEST_SHOWN]
    if "\0" in word:
        return ("the file seems to be UTF-16: save it as UTF-8 (in PowerShell: `Set-Content -Encoding utf8`)",)
    odd = dict.fromkeys(char for char in word if not "!" <= char <= "~" and (not char.isprintable() or char.isspace()))
    names = ", ".join("a byte that is not UTF-8" if "\udc80" <= x <= "\udcff" else f"U+{ord(x):04X}" for x in odd)
    return (f"{quote(word)} contains characters that cannot be seen: {names}",) if odd else ()


def parse_onbuild(text: str, span: Span) -> Instruction:
    """Parse an ONBUILD trigger of a base image; its span is that of the FROM that runs it.

    Raises DockerfileError, also for a trigger that ONBUILD does not allow.
    """
    raw = read_instruction(text, span, "\\")
    if raw.keyword in ("onbuild", "from", "maintainer"):
        raise DockerfileError(f"{raw.keyword.upper()} isn't allowed as an ONBUILD trigger", span=span)
    return parse_instruction(raw)
