"""Lines of a Dockerfile: directives, continuations, comments, heredocs. Pure.

Mirrors: buildkit frontend/dockerfile/parser/parser.go (Parse). Anybody in `dockerfile/` may import it.
"""

from __future__ import annotations

import msgspec

from firkin.source import Source, Span


class Warning(msgspec.Struct, frozen=True):
    """Something that is accepted but may not be meant; `rule` is a build check's name, or ""."""

    rule: str
    message: str
    span: Span
    url: str = ""


class Heredoc(msgspec.Struct, frozen=True):
    """A here-document; `content` as it stands between its words, line ends included.

    `expand` False: some part of the word was quoted. `chomp`: written `<<-`.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int

    @property
    def body(self) -> str:
        """The content, leading tabs removed where `<<-` asks for it."""
        raise NotImplementedError


class RawInstruction(msgspec.Struct, frozen=True):
    """One logical line, split into keyword, flags and the rest."""

    keyword: str  # lower case
    original_keyword: str
    text: str  # whole logical line, continuations joined
    flags: tuple[str, ...]  # `--name` or `--name=value`, quotes removed
    rest: str  # what follows keyword and flags, trimmed
    heredocs: tuple[Heredoc, ...]
    span: Span
    prev_comment: tuple[str, ...] = ()
    escape: str = "\\"


class Directives(msgspec.Struct, frozen=True):
    """Parser directives; `spans` are (name, where) in order of appearance."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""
    spans: tuple[tuple[str, Span], ...] = ()


class Lines(msgspec.Struct, frozen=True):
    """A Dockerfile as logical lines."""

    directives: Directives
    instructions: tuple[RawInstruction, ...]
    warnings: tuple[Warning, ...]


def read_dockerfile(source: Source) -> Lines:
    """Split a Dockerfile into logical lines; raises DockerfileError with a position."""
    raise NotImplementedError


def read_instruction(text: str, span: Span, escape: str = "\\") -> RawInstruction:
    """Read one instruction from text (an ONBUILD trigger, heredocs included); its span is `span`."""
    raise NotImplementedError


def parse_heredoc(word: str) -> Heredoc | None:
    """Read `[fd]<<[-]WORD` (content empty), or None where the word is no heredoc. COPY and ADD sources."""
    raise NotImplementedError
