"""Words: quoting, `${}` expansion, splitting, JSON arrays. Pure.

Mirrors: buildkit frontend/dockerfile/shell/lex.go and parser/line_parsers.go. Anybody in `dockerfile/`
may import it; it knows no spans, so it raises ValueError and callers add the position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from firkin.builder.dockerfile.shellpattern import Pattern, parse_pattern, replace, trim_prefix, trim_suffix
from firkin.decode import decode_json
from firkin.text import valid_text

BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that Go's unicode.IsSpace accepts (str.isspace accepts four more)."""

_BLANK_SET: Final = frozenset(BLANKS)
_TO_SPACE: Final = str.maketrans(dict.fromkeys(BLANKS, " "))
_LINE_BLANKS_TO_SPACE: Final = str.maketrans(dict.fromkeys("\t\v\f\r", " "))
_SPECIAL_PARAMETERS: Final = frozenset("@*#?-$!0")
_HEX: Final = frozenset("0123456789abcdef")
_MAX_DEPTH: Final = 100
_MAX_EXPANDED: Final = 16 * 1024 * 1024


class Expanded(msgspec.Struct, frozen=True):
    """An expanded text, with the names of variables that were used and of those that were not set."""

    text: str
    used: frozenset[str]
    unmatched: frozenset[str]


class ExpandedWords(msgspec.Struct, frozen=True):
    """An expanded text split into words."""

    words: tuple[str, ...]
    used: frozenset[str]
    unmatched: frozenset[str]


_NONE: Final[frozenset[str]] = frozenset()


class Lexer(msgspec.Struct, frozen=True):
    """Expands `$x`, `${x...}` and quotes as a shell would. Mirrors: shell.Lex."""

    escape: str = "\\"
    raw_quotes: bool = False  # keep quotes in the result
    raw_escapes: bool = False  # keep escape characters in the result
    skip_process_quotes: bool = False  # quotes are ordinary characters
    skip_unset_env: bool = False  # leave `$x` as it is where x is not set

    def expand(self, text: str, env: Mapping[str, str]) -> Expanded:
        """Return the text expanded; raises ValueError. Mirrors: ProcessWordWithMatches.

        A byte order mark at its beginning is dropped, as in Go's text/scanner.
        """
        text = text.removeprefix("\ufeff")
        if "$" not in text and "'" not in text and '"' not in text and self.escape not in text:
            return Expanded(text, _NONE, _NONE)
        run = _Expansion(self, text, env)
        result = run.process(None)
        return Expanded(result, frozenset(run.used), frozenset(run.unmatched))

    def expand_words(self, text: str, env: Mapping[str, str]) -> ExpandedWords:
        """Return the text expanded and split at unquoted blanks. Mirrors: ProcessWords."""
        run = _Expansion(self, text.removeprefix("\ufeff"), env)
        words = _Words()
        run.process(words)
        return ExpandedWords(words.finish(), frozenset(run.used), frozenset(run.unmatched))


class _Words:
    """Collects words from text whose blanks separate words (`add`) or do not (`add_raw`)."""

    __slots__ = ("in_word", "parts", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.parts: list[str] = []
        self.in_word = False

    def add(self, text: str) -> None:
        position, size = 0, len(text)
        while position < size:
            end = position
            while end < size and text[end] not in _BLANK_SET:
                end += 1
            if end > position:
                self.add_raw(text[position:end])
            if end < size and self.in_word and self.parts:
                self._close()
                self.in_word = False
            position = end + 1

    def add_raw(self, text: str) -> None:
        self.in_word = True
        if text:
            self.parts.append(text)

    def _close(self) -> None:
        if self.parts:
            self.words.append("".join(self.parts))
            self.parts = []

    def finish(self) -> tuple[str, ...]:
        self._close()
        return tuple(self.words)


class _Expansion:
    """One run of the lexer over one text."""

    __slots__ = (
        "depth", "end", "env", "escape", "lexer", "position", "raw_escapes", "special", "text", "unmatched", "used",
    )  # fmt: skip

    def __init__(self, lexer: Lexer, text: str, env: Mapping[str, str]) -> None:
        self.lexer = lexer
        self.text = text
        self.env = env
        self.escape = lexer.escape
        self.raw_escapes = lexer.raw_escapes
        self.position = 0
        self.end = len(text)
        self.depth = 0
        self.used: set[str] = set()
        self.unmatched: set[str] = set()
        quotes = "" if lexer.skip_process_quotes else "'\""
        self.special = "$<" + quotes + lexer.escape

    def process(self, words: _Words | None) -> str:
        try:
            result = self.until("", self.lexer.raw_escapes, words)
        except ValueError as error:
            raise ValueError(f"failed to process {quote(self.text)}: {error}") from None
        return result

    def peek(self) -> str:
        return self.text[self.position] if self.position < self.end else ""

    def until(self, stop: str, raw_escapes: bool, words: _Words | None = None) -> str:
        """Expand up to the character `stop` ("": up to the end) and step over it; `words` collects the pieces."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError("substitutions are nested too deeply")
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        try:
            return "".join(self.pieces(stop, words))
        finally:
            self.raw_escapes = outer
            self.depth -= 1

    def pieces(self, stop: str, words: _Words | None) -> list[str]:
        """Read the pieces of the text up to `stop`: plain text, values, quoted text."""
        text, end, special = self.text, self.end, self.special
        ordinary_until = special + stop
        out: list[str] = []
        size = 0
        while self.position < end:
            char = text[self.position]
            if char == stop:
                self.position += 1
                return out
            splits = True  # only blanks in plain text and in values separate words
            if char == "$":
                piece = self.dollar()
                size += len(piece)
                _check_expanded(size)
            elif char in special:
                piece = self.literal(char)
                splits = False
            else:
                piece = self.ordinary(ordinary_until)
            out.append(piece)
            if words is not None:
                (words.add if splits else words.add_raw)(piece)
        if stop:
            raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        return out

    def ordinary(self, special: str) -> str:
        """Read up to the next character that is in `special`."""
        text, end, start = self.text, self.end, self.position
        at = start + 1
        while at < end and text[at] not in special:
            at += 1
        self.position = at
        return text[start:at]

    def literal(self, char: str) -> str:
        """Read an escaped character, a heredoc's mark or a quoted text."""
        if char == self.escape:
            return self.escaped()
        if char == "<":
            return self.heredoc_mark()
        return self.single_quoted() if char == "'" else self.double_quoted()

    def escaped(self) -> str:
        """Read an escape and the character after it; an escape at the end of the text is dropped."""
        start = self.position
        self.position = min(start + 2, self.end)
        return self.text[start if self.raw_escapes else start + 1 : self.position]

    def heredoc_mark(self) -> str:
        """Read `<`, or `<<` with the blanks after it, which belong to a heredoc's word."""
        start = self.position
        at = start + 1
        if at < self.end and self.text[at] == "<":
            at += 1
            while at < self.end and self.text[at] in " \t\r":
                at += 1
        self.position = at
        return self.text[start:at]

    def single_quoted(self) -> str:
        close = self.text.find("'", self.position + 1)
        if close < 0:
            self.position = self.end
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        start, self.position = self.position, close + 1
        return self.text[start : close + 1] if self.lexer.raw_quotes else self.text[start + 1 : close]

    def double_quoted(self) -> str:
        text, end = self.text, self.end
        special = '"$' + self.escape
        mark = '"' if self.lexer.raw_quotes else ""
        out = [mark]
        size = 0
        self.position += 1
        while self.position < end:
            char = text[self.position]
            if char == '"':
                self.position += 1
                out.append(mark)
                return "".join(out)
            if char == "$":
                piece = self.dollar()
                size += len(piece)
                _check_expanded(size)
            elif char == self.escape:
                piece = self.escaped_in_quotes(special)
            else:
                piece = self.ordinary(special)
            out.append(piece)
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def escaped_in_quotes(self, special: str) -> str:
        """Read an escape between double quotes; it is kept before a character that needs no escape."""
        raw = self.escape if self.raw_escapes else ""
        self.position += 1
        following = self.peek()
        if not following:
            return raw
        if following not in special:
            return raw + self.escape
        self.position += 1
        return raw + following

    def name(self) -> str:
        """Read a variable's name: a word, digits, or one special parameter."""
        text, end, start = self.text, self.end, self.position
        if start >= end:
            return ""
        at = start
        if _is_digit(text[at]):
            while at < end and _is_digit(text[at]):
                at += 1
        elif text[at] in _SPECIAL_PARAMETERS:
            at += 1
        else:
            while at < end and (text[at].isalpha() or _is_digit(text[at]) or text[at] == "_"):
                at += 1
        self.position = at
        return text[start:at]

    def look_up(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unmatched if value is None else self.used).add(name)
        return value

    def value_or(self, name: str, written: str) -> str:
        """Return a variable's value. If it is not set, return `written` (with `skip_unset_env`) or ""."""
        value = self.look_up(name)
        if value is None:
            return written if self.lexer.skip_unset_env else ""
        return value

    def dollar(self) -> str:
        """Read `$x` or `${x...}` and return its value."""
        self.position += 1
        if self.peek() != "{":
            name = self.name()
            return self.value_or(name, "$" + name) if name else "$"
        self.position += 1
        if self.peek() in ("{", "}", ":"):
            raise ValueError("syntax error: bad substitution")
        name = self.name()
        operator = self.operator()
        if operator == "}":
            return self.value_or(name, f"${{{name}}}")
        if operator == "/":
            return self.substitution(name)
        if operator in "#%":
            return self.trimmed(name, operator)
        colon = ""
        if operator == ":":
            colon, operator = operator, self.operator()
        if operator not in "+-?":
            raise ValueError(f"unsupported modifier ({colon}{operator}) in substitution")
        return self.alternative(name, colon, operator)

    def operator(self) -> str:
        """Read one character after the name in `${`."""
        char = self.peek()
        if not char:
            raise ValueError("syntax error: missing '}'")
        self.position += 1
        return char

    def operand(self, stop: str, raw_escapes: bool) -> str:
        """Read the text up to `stop` and return it expanded."""
        try:
            return self.until(stop, raw_escapes)
        except ValueError:
            if self.position >= self.end:
                missing = "'}'" if stop == "}" else "'/' in ${}"
                raise ValueError(f"syntax error: missing {missing}") from None
            raise

    def alternative(self, name: str, colon: str, operator: str) -> str:
        """Read the text after `${x-`, `${x+` and `${x?`; with a `colon`, an empty value counts as unset."""
        word = self.operand("}", False)
        value = self.look_up(name)
        if value is None and self.lexer.skip_unset_env:
            return f"${{{name}{colon}{operator}{word}}}"
        present = None if colon and not value else value
        if operator == "+":
            return "" if present is None else word
        if present is not None:
            return present
        if operator == "-":
            return word
        missing = "unset" if value is None else "empty"
        raise ValueError(f"{name}: {word or f'is not allowed to be {missing}'}")

    def trimmed(self, name: str, operator: str) -> str:
        """Read the text after `${x#` and `${x%`; a second operator means the longest match."""
        word = self.operand("}", True)
        value = self.look_up(name)
        if value is None and self.lexer.skip_unset_env:
            return f"${{{name}{operator}{word}}}"
        longest = word.startswith(operator)
        pattern = _pattern(word.removeprefix(operator))
        trim = trim_suffix if operator == "%" else trim_prefix
        return trim(pattern, value or "", longest)

    def substitution(self, name: str) -> str:
        """Read the text after `${x/`."""
        every = self.peek() == "/"
        if every:
            self.position += 1
        word = self.operand("/", True)
        replacement = self.operand("}", True)
        value = self.look_up(name)
        if value is None and self.lexer.skip_unset_env:
            return f"${{{name}/{word}/{replacement}}}"
        return replace(_pattern(word), value or "", replacement, every)


def _check_expanded(size: int) -> None:
    if size > _MAX_EXPANDED:
        raise ValueError("the expanded text is too long")


def _pattern(word: str) -> Pattern:
    try:
        return parse_pattern(word)
    except ValueError as error:
        raise ValueError(f"invalid pattern ({word}) in substitution: {error}") from None


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9" or (char > "\x7f" and char.isdecimal())


class NameValue(msgspec.Struct, frozen=True):
    """A pair of ENV or LABEL; quotes and variables are still in both."""

    name: str
    value: str


class NameValues(msgspec.Struct, frozen=True):
    """The pairs of ENV or LABEL; `legacy`: written `NAME VALUE`."""

    pairs: tuple[NameValue, ...]
    legacy: bool = False


def split_words(text: str, escape: str) -> tuple[str, ...]:
    """Split at blanks outside quotes, quotes and escapes kept (ARG). Mirrors: parseWords."""
    if "'" not in text and '"' not in text and escape not in text:
        return split_blanks(text)
    words: list[str] = []
    position, size = 0, len(text)
    while position < size:
        if text[position] in _BLANK_SET:
            position += 1
            continue
        end, dropped = _word_end(text, position, escape)
        word = text[position : end - dropped]
        if word:
            words.append(word)
        position = end
    return tuple(words)


def _word_end(text: str, start: int, escape: str) -> tuple[int, int]:
    """Return the end of the word, and how many characters at its end (an escape) are dropped."""
    position, size = start, len(text)
    open_quote = ""
    while position < size:
        char = text[position]
        if char == escape and open_quote != "'":
            if position + 1 == size:
                return size, 1
            position += 2
            continue
        if open_quote:
            if char == open_quote:
                open_quote = ""
        elif char in _BLANK_SET:
            break
        elif char in "'\"":
            open_quote = char
        position += 1
    return min(position, size), 0


def split_blanks(text: str) -> tuple[str, ...]:
    """Split at runs of blanks. Mirrors: Go strings.Fields."""
    return tuple(word for word in text.translate(_TO_SPACE).split(" ") if word)


def split_name_values(text: str, escape: str, keyword: str) -> NameValues:
    """Split ENV's or LABEL's text; empty text gives no pairs. Raises ValueError. Mirrors: parseNameVal."""
    words = split_words(text, escape)
    if not words:
        return NameValues(())
    if "=" not in words[0]:
        name, blank, _ = text.translate(_LINE_BLANKS_TO_SPACE).partition(" ")
        if not blank:
            raise ValueError(f"{keyword.upper()} must have two arguments")
        return NameValues((NameValue(name, text[len(name) :].lstrip("\t\v\f\r ")),), legacy=True)
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
        pairs.append(NameValue(name, value))
    return NameValues(tuple(pairs))


def split_whitespace(text: str) -> tuple[str, ...]:
    """Split at runs of blanks, without regard to quotes (FROM, EXPOSE). Mirrors: parseStringsWhitespaceDelimited."""
    return tuple(word for word in text.translate(_LINE_BLANKS_TO_SPACE).split(" ") if word)


def split_json_array(text: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array (exec form), None if the text is not one.

    Raises ValueError for an array with other values than strings. Mirrors: parseJSON.
    """
    text = text.lstrip(BLANKS)
    if not text.startswith("["):
        return None
    if "\\u" in text:
        text = _without_half_characters(text)
    try:
        items = decode_json(valid_text(text), list)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(items)


def _without_half_characters(text: str) -> str:
    """Replace JSON escapes of half a surrogate pair, as Go's decoder does; msgspec would refuse them."""
    head, *pieces = text.split("\\")
    out = [head]
    literal = second = False  # whether the piece follows an escaped backslash; whether it is the second half of a pair
    for piece, following in zip(pieces, (*pieces[1:], "")):
        half = "" if literal else _surrogate(piece)
        pairs = half == "high" and len(piece) == 5 and _surrogate(following) == "low"
        out.append(piece if not half or pairs or second else "ufffd" + piece[5:])
        literal = not literal and not piece
        second = pairs
    return "\\".join(out)


def _surrogate(piece: str) -> str:
    """Return "high" or "low" for a piece that begins like `ud800`, the escape of half a pair; else ""."""
    unit = piece[1:5].lower()
    if piece[:1] != "u" or len(unit) < 4 or unit[0] != "d" or not _HEX.issuperset(unit):
        return ""
    if unit[1] in "89ab":
        return "high"
    return "low" if unit[1] in "cdef" else ""


def quote(text: str) -> str:
    """Return the text in double quotes, control characters escaped. Mirrors: Go's %q."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        elif code in _ESCAPES:
            out.append(_ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


_ESCAPES: Final = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}
