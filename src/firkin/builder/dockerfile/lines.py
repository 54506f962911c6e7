"""Lines of a Dockerfile: directives, continuations, comments, heredocs. Pure.

Mirrors: buildkit frontend/dockerfile/parser (Parse, DirectiveParser, splitCommand). Anybody in
`dockerfile/` may import it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from firkin.builder.dockerfile.words import BLANKS, Lexer, split_json_array
from firkin.errors import DockerfileError
from firkin.source import Position, Source, Span


class ParseWarning(msgspec.Struct, frozen=True):
    """A warning about accepted text that may be a mistake; `rule` is a build check's name, or ""."""

    rule: str
    message: str
    span: Span
    url: str = ""


class Heredoc(msgspec.Struct, frozen=True):
    """A here-document; `content` is the unchanged text between its words, line ends included.

    `expand` is False if some part of the word was quoted. `chomp`: written `<<-`.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    file_descriptor: int

    @property
    def body(self) -> str:
        """The content, with leading tabs removed for `<<-`."""
        if not self.chomp or "\t" not in self.content:
            return self.content
        return "\n".join(line.lstrip("\t") for line in self.content.split("\n"))


class RawInstruction(msgspec.Struct, frozen=True):
    """One logical line, split into keyword, flags and remaining text."""

    keyword: str  # lower case
    original_keyword: str
    text: str  # whole logical line, continuations joined, trimmed at the left only
    flags: tuple[str, ...]  # `--name` or `--name=value`, quotes removed
    rest: str  # the text after keyword and flags, trimmed
    heredocs: tuple[Heredoc, ...]
    span: Span
    prev_comment: tuple[str, ...] = ()
    escape: str = "\\"


class Directives(msgspec.Struct, frozen=True):
    """Parser directives; `spans` are (name, position) in order of appearance."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""
    spans: tuple[tuple[str, Span], ...] = ()


class Lines(msgspec.Struct, frozen=True):
    """A Dockerfile as logical lines."""

    directives: Directives
    instructions: tuple[RawInstruction, ...]
    warnings: tuple[ParseWarning, ...]


EMPTY_CONTINUATION_URL: Final = "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/"
MAX_LINE_BYTES: Final = 65535
"""Bytes of a line, without its end; bufio.MaxScanTokenSize - 1."""

_HEREDOC_KEYWORDS: Final = frozenset(("add", "copy", "run"))
_DIRECTIVES: Final = frozenset(("syntax", "escape", "check"))
_ASCII_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS: Final = frozenset("0123456789")
_ASCII_WORD: Final = _ASCII_LETTERS | _DIGITS
_REGEXP_BLANKS: Final = "\t\n\f\r "  # `\s` of Go's regexp
_FIND_LEXER: Final = Lexer(raw_quotes=True, raw_escapes=True, skip_unset_env=True)
_NAME_LEXER: Final = Lexer(skip_unset_env=True)
_RAW_NAME_LEXER: Final = Lexer(raw_quotes=True, skip_unset_env=True)


def read_dockerfile(source: Source) -> Lines:
    """Split a Dockerfile into logical lines; raises DockerfileError with a position."""
    return _Reader(source.name, source.text).read()


def read_instruction(text: str, span: Span, escape: str = "\\") -> RawInstruction:
    """Read one instruction from text (an ONBUILD trigger, heredocs included); its span is `span`.

    Raises DockerfileError at `span`.
    """
    reader = _Reader(span.name, text, at=span, escape=escape)
    reader.directives_done = True
    lines = reader.read()
    if len(lines.instructions) != 1:
        raise DockerfileError(f"expected one instruction, found {len(lines.instructions)}", span=span)
    return lines.instructions[0]


def parse_heredoc(word: str) -> Heredoc | None:
    """Read `[fd]<<[-]WORD` (with empty content); return None if the word is not a heredoc. For COPY and ADD.

    Raises ValueError for a word with an unclosed quote. Mirrors: ParseHeredoc.
    """
    digits, mark, name = word.partition("<<")
    if not mark or "<" in name or not _DIGITS.issuperset(digits):
        return None
    chomp = name.startswith("-")
    name = name.removeprefix("-").lstrip(_REGEXP_BLANKS)
    if not name:
        return None
    descriptor = int(digits or "0") if len(digits) < 10 else 0
    if _ASCII_WORD.issuperset(name):
        return Heredoc(name, "", True, chomp, descriptor)
    # Some part of the word was quoted if reading it with and without quotes gives different results.
    words = _NAME_LEXER.expand_words(name, {}).words
    raw_words = _RAW_NAME_LEXER.expand_words(name, {}).words
    if len(words) != 1 or len(raw_words) != 1:
        return None
    expand = _quotes(words[0]) == _quotes(raw_words[0])
    return Heredoc(words[0], "", expand, chomp, descriptor)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


class _Reader:
    """Reads one text; `line` is the number of physical lines read so far."""

    __slots__ = (
        "at", "checks_done", "comments", "directives", "directives_done", "escape", "line", "lines",
        "name", "spans", "warnings",
    )  # fmt: skip

    def __init__(self, name: str, text: str, at: Span | None = None, escape: str = "\\") -> None:
        self.name = name
        self.at = at
        self.lines = text.removeprefix("\ufeff").split("\n")
        if not self.lines[-1]:
            self.lines.pop()
        self.line = 0
        self.escape = escape
        self.comments: list[str] = []
        self.directives: dict[str, str] = {}
        self.spans: list[tuple[str, Span]] = []
        self.directives_done = False  # for `escape`
        self.checks_done = False  # for `syntax` and `check`
        self.warnings: list[ParseWarning] = []

    def span(self, first: int, last: int) -> Span:
        if self.at is not None:
            return self.at
        return Span(self.name, Position(first), Position(last))

    def error(self, message: str, first: int, last: int) -> DockerfileError:
        return DockerfileError(message, span=self.span(max(first, 1), max(last, 1)))

    def next_line(self) -> str:
        line = self.lines[self.line]
        self.line += 1
        if len(line) > MAX_LINE_BYTES // 4 and len(line.encode("utf-8", "surrogatepass")) > MAX_LINE_BYTES:
            message = f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}"
            raise self.error(message, self.line, self.line)
        return line

    def read(self) -> Lines:
        instructions: list[RawInstruction] = []
        total = len(self.lines)
        while self.line < total:
            written = self.next_line().rstrip("\r")
            text = written.lstrip(BLANKS)
            if text.startswith("#"):
                over = self.directives_done and self.checks_done
                if over or not self.directive(text, len(text) == len(written)):
                    self.comment(text)
                continue
            self.directives_done = self.checks_done = True
            if not text:
                self.comments = []
                continue
            instructions.append(self.instruction(text))
        if not instructions:
            raise self.error("file with no instructions", total, total)
        found = self.directives
        directives = Directives(
            found.get("syntax", "").partition(" ")[0], self.escape, found.get("check", "").partition(" ")[0],
            tuple(self.spans),
        )  # fmt: skip
        return Lines(directives, tuple(instructions), tuple(self.warnings))

    def comment(self, text: str) -> None:
        words = text[1:].strip(BLANKS)
        if words:
            self.comments.append(words)
        else:
            self.comments = []

    def directive(self, text: str, unindented: bool) -> bool:
        """Read the line as a directive; return False if it is a comment, which ends the directives.

        BuildKit reads the file twice: `escape` is not found after a `#!` line but may be indented.
        `syntax` and `check` are found after a `#!` line but may not be indented.
        """
        if not unindented:
            self.checks_done = True
        if self.line == 1 and text.startswith("#!"):
            self.directives_done = True
            return False
        parsed = _split_directive(text)
        if parsed is None:
            self.directives_done = self.checks_done = True
            return False
        name, value = parsed
        if self.directives_done if name == "escape" else self.checks_done:
            return False
        if name in self.directives:
            raise self.error(f"only one {name} parser directive can be used", self.line, self.line)
        if name == "escape":
            if value not in ("`", "\\"):
                message = f"invalid escape token '{value}' does not match ` or \\"
                raise self.error(message, self.line, self.line)
            self.escape = value
        self.directives[name] = value
        self.spans.append((name, self.span(self.line, self.line)))
        return True

    def instruction(self, text: str) -> RawInstruction:
        """Read the instruction whose first physical line is `text`, with its heredocs."""
        first = self.line
        line, empty = self.joined(text) if self.escape in text else (text, False)
        if empty:
            where = self.span(self.line, self.line)
            self.warnings.append(
                ParseWarning("NoEmptyContinuation", "Empty continuation line", where, EMPTY_CONTINUATION_URL)
            )
        keyword, flags, rest = split_command(line)
        heredocs: tuple[Heredoc, ...] = ()
        lowered = keyword.lower()
        if "<<" in line and self.may_have_heredocs(lowered, rest, first):
            heredocs = self.heredocs(line, first)
        comments, self.comments = tuple(self.comments), []
        return RawInstruction(
            lowered, keyword, line, flags, rest, heredocs, self.span(first, self.line), comments, self.escape
        )

    def joined(self, text: str) -> tuple[str, bool]:
        """Return the line with its continuations, and whether an empty line is among them."""
        empty = False
        piece, more = self.continued(text)
        pieces = [piece]
        while more and self.line < len(self.lines):
            written = self.next_line().rstrip("\r")
            text = written.lstrip(BLANKS)
            if text.startswith("#"):
                continue
            if not text:
                empty = True
                continue
            piece, more = self.continued(written)
            pieces.append(piece)
        return "".join(pieces), empty

    def continued(self, text: str) -> tuple[str, bool]:
        """Remove an escape at the end, unless it follows another escape; say whether there was one."""
        cut = text.rstrip(" \t")
        if cut.endswith(self.escape) and (len(cut) == 1 or cut[-2] != self.escape):
            return cut[:-1], True
        return text, False

    def may_have_heredocs(self, keyword: str, rest: str, first: int) -> bool:
        if keyword == "onbuild":
            keyword, _, rest = split_command(rest)
            keyword = keyword.lower()
        if keyword not in _HEREDOC_KEYWORDS:
            return False
        try:
            return split_json_array(rest) is None
        except ValueError as error:
            raise self.error(str(error), first, self.line) from None

    def heredocs(self, line: str, first: int) -> tuple[Heredoc, ...]:
        """Read the bodies of all heredocs that the logical line announces."""
        try:
            words = _FIND_LEXER.expand_words(line, {}).words
        except ValueError:
            return ()  # for instance an unclosed quote, which the shell will report
        found = []
        for word in words:
            if "<<" not in word:
                continue
            try:
                heredoc = parse_heredoc(word)
            except ValueError as error:
                raise self.error(str(error), first, self.line) from None
            if heredoc is not None:
                found.append(msgspec.structs.replace(heredoc, content=self.body(heredoc, first)))
        return tuple(found)

    def body(self, heredoc: Heredoc, first: int) -> str:
        start = self.line
        total = len(self.lines)
        while self.line < total:
            end = self.next_line().rstrip("\r")
            if (end.lstrip("\t") if heredoc.chomp else end) == heredoc.name:
                return "".join(line + "\n" for line in self.lines[start : self.line - 1])
        error = self.error(f"unterminated heredoc: no line `{heredoc.name}` follows", first, first)
        for number, text in enumerate(self.lines[start:], start + 1):
            if text.strip() == heredoc.name:
                error.hints = (
                    f"line {number} has blanks beside `{heredoc.name}`: the word must be alone on its line"
                    + (" (`<<-` allows tabs before it)" if text.startswith("\t") and not heredoc.chomp else ""),
                )
                break
        raise error


def _split_directive(text: str) -> tuple[str, str] | None:
    """Read `# name = value`. Mirrors: DirectiveParser.ParseLine."""
    text = text[1:].lstrip(BLANKS)
    end = 0
    while end < len(text) and text[end] in _ASCII_WORD:
        end += 1
    name = text[:end].lower()
    if name not in _DIRECTIVES:
        return None
    after = text[end:].lstrip(_REGEXP_BLANKS)
    if not after.startswith("="):
        return None
    value = after[1:].strip(_REGEXP_BLANKS)
    return (name, value) if value else None


def split_command(line: str) -> tuple[str, tuple[str, ...], str]:
    """Return keyword, flags and remaining text. Mirrors: splitCommand."""
    line = line.strip(BLANKS)
    end, size = 0, len(line)
    while end < size and line[end] not in "\t\v\f\r ":
        end += 1
    keyword = line[:end]
    rest = line[end:].lstrip(BLANKS)
    if not rest.startswith("--"):
        return keyword, (), rest
    flags, rest = _split_flags(rest)
    return keyword, flags, rest


def _split_flags(line: str) -> tuple[tuple[str, ...], str]:
    """Return the leading words that start with `--`, without quotes, and the text after them.

    Mirrors: extractBuilderFlags.

    The escape is always a backslash here, whatever the directive says.
    """
    flags: list[str] = []
    position, size = 0, len(line)
    while position < size:
        if line[position] in BLANKS:
            position += 1
            continue
        if not line.startswith("--", position):
            return tuple(flags), line[position:]
        word: list[str] = []
        quoted = ""
        while position < size:
            char = line[position]
            if char == "\\":
                position += 1
                word.append(line[position : position + 1])
            elif quoted:
                if char == quoted:
                    quoted = ""
                else:
                    word.append(char)
            elif char in BLANKS:
                break
            elif char in "'\"":
                quoted = char
            else:
                word.append(char)
            position += 1
        flag = "".join(word)
        if flag == "--":
            return tuple(flags), line[position:].lstrip(BLANKS)
        flags.append(flag)
    return tuple(flags), ""
