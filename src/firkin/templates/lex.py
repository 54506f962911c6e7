"""Cuts the text of a template into tokens. Pure. Mirrors: text/template/parse lex.go.

Kinds: `text`, `{{`, `}}`, `space`, `field`, `variable`, `word`, `number`, `char`, `string`, and `.` `(` `)` `|` `,`
`:=` `=` for themselves. `end` comes last.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from firkin.templates.failure import TemplateError, broken
from firkin.tuples import NamedTuple

_SPACES = " \t\r\n"
_LEFT, _RIGHT = "{{", "}}"
_NUMBER = frozenset("+-0123456789")
_OF_NUMBER = frozenset("0123456789abcdefABCDEFxXoOpP_.+-i")


class Token(NamedTuple):
    """A piece of a template and where it begins."""

    kind: str
    text: str
    at: int


def tokens_of(text: str) -> Iterator[Token]:
    """Yield the tokens of a template. Raises TemplateError."""
    at = 0
    trim = False
    while True:
        start = text.find(_LEFT, at)
        plain = text[at : start if start >= 0 else len(text)]
        trims = start >= 0 and _trims_before(text, start + 2)
        plain = plain.lstrip(_SPACES) if trim else plain
        plain = plain.rstrip(_SPACES) if trims else plain
        if plain:
            yield Token("text", plain, at)
        if start < 0:
            yield Token("end", "", len(text))
            return
        inside = start + (4 if trims else 2)
        if text.startswith("/*", inside):
            at, trim = _comment(text, inside)
            continue
        yield Token("{{", _LEFT, start)
        at = yield from _action(text, inside)
        width = _closing(text, at)
        yield Token("}}", _RIGHT, at)
        trim = width > 2
        at += width


def _action(text: str, at: int) -> Generator[Token, None, int]:
    """Yield the tokens of an action, return where it ends."""
    depth = 0
    while not _closing(text, at):
        if at >= len(text):
            raise broken(text, at, "unclosed action")
        token = _token(text, at)
        depth += (token.kind == "(") - (token.kind == ")")
        if depth < 0:
            raise broken(text, at, "unexpected right paren")
        yield token
        at += len(token.text)
    if depth:
        raise broken(text, at, "unclosed left paren")
    return at


def _trims_before(text: str, at: int) -> bool:
    return text.startswith("-", at) and text[at + 1 : at + 2] in tuple(_SPACES)


def _closing(text: str, at: int) -> int:
    """Return how long the end of an action is that begins here: 0 for none, 2 for `}}`, 4 for ` -}}`."""
    if text.startswith(_RIGHT, at):
        return 2
    return 4 if text.startswith("-}}", at + 1) and text[at] in _SPACES else 0


def _comment(text: str, at: int) -> tuple[int, bool]:
    """Return where a comment ends, and whether the space after it is trimmed."""
    end = text.find("*/", at + 2)
    if end < 0:
        raise broken(text, at, "unclosed comment")
    width = _closing(text, end + 2)
    if not width:
        raise broken(text, at, "comment ends before closing delimiter")
    return end + 2 + width, width > 2


def _token(text: str, at: int) -> Token:
    char = text[at : at + 1]
    if char in _SPACES:
        return Token("space", _spaces(text, at), at)
    if char in "\"'`":
        return _quoted(text, at)
    if char in "|(),=" or text.startswith(":=", at):
        sign = ":=" if char == ":" else char
        return Token(sign, sign, at)
    if char in _NUMBER or (char == "." and text[at + 1 : at + 2].isdecimal()):
        return Token("number", _number(text, at), at)
    return _ended(text, _name(text, at))


def _name(text: str, at: int) -> Token:
    """Return a word, a field, a variable or the dot."""
    char = text[at]
    if char in ".$":
        name = char + _word(text, at + 1)
        return Token("." if name == "." else "variable" if char == "$" else "field", name, at)
    word = _word(text, at)
    if not word:
        raise broken(text, at, _why_not(char))
    return Token("word", word, at)


def _why_not(char: str) -> str:
    if char == ":":
        return "expected :="
    if "!" <= char <= "~":
        return f'unexpected "{char}" in command'
    return f"unrecognized character in action: {_named(char)}"


def _named(char: str) -> str:
    shown = f" '{char}'" if char.isprintable() else ""
    return f"U+{ord(char):04X}{shown}"


def _ended(text: str, token: Token) -> Token:
    """Return the token if what follows may follow a word. Raises TemplateError."""
    after = token.at + len(token.text)
    char = text[after : after + 1]
    if char and char not in f"{_SPACES}.,|:()=" and not text.startswith(_RIGHT, after):
        raise broken(text, after, f"bad character {_named(char)}")
    return token


def _spaces(text: str, at: int) -> str:
    """Return the blanks that begin here, without the one that belongs to ` -}}`."""
    end = at
    while end < len(text) and text[end] in _SPACES and not _closing(text, end):
        end += 1
    return text[at:end]


def _word(text: str, at: int) -> str:
    end = at
    while end < len(text) and (text[end] == "_" or text[end].isalnum()):
        end += 1
    return text[at:end]


def _number(text: str, at: int) -> str:
    end = at + 1
    while end < len(text) and text[end] in _OF_NUMBER:
        if text[end] in "+-" and text[end - 1] not in "eEpP":
            break
        end += 1
    if text[end : end + 1].isalnum():
        raise bad_number(text, at, text[at : end + 1])
    return text[at:end]


def bad_number(text: str, at: int, number: str) -> TemplateError:
    """Return the error for a number that is none."""
    return broken(text, at, f'bad number syntax: "{number}"')


def _quoted(text: str, at: int) -> Token:
    quote = text[at]
    end = at + 1
    while end < len(text) and text[end] != quote:
        if text[end] == "\n" and quote != "`":
            break
        end += 2 if text[end] == "\\" and quote != "`" else 1
    if not text.startswith(quote, end):
        what = {'"': "quoted string", "'": "character constant", "`": "raw quoted string"}[quote]
        raise broken(text, at, f"unterminated {what}")
    return Token("char" if quote == "'" else "string", text[at : end + 1], at)
