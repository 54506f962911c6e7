"""Words: quoting, `${}` expansion, splitting, JSON arrays, nearest word. Pure.

Mirrors: buildkit frontend/dockerfile/shell/lex.go and parser/line_parsers.go. Anybody in `dockerfile/`
may import it; it knows no spans, so it raises ValueError and callers add the position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from firkin.builder.dockerfile.shellpattern import parse_pattern, replace, trim_prefix, trim_suffix
from firkin.decode import decode_json
from firkin.text import valid_text

BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's unicode.IsSpace calls a space (str.isspace knows four more)."""

_BLANK_SET: Final = frozenset(BLANKS)
_TO_SPACE: Final = str.maketrans(dict.fromkeys(BLANKS, " "))
_LINE_BLANKS_TO_SPACE: Final = str.maketrans(dict.fromkeys("\t\v\f\r", " "))
_SPECIAL_PARAMETERS: Final = frozenset("@*#?-$!0")
_HEX: Final = frozenset("0123456789abcdef")
_MAX_DEPTH: Final = 100
_MAX_EXPANDED: Final = 16 * 1024 * 1024


class Expanded(msgspec.Struct, frozen=True):
    """An expanded text; names that were used and found, and names that were not set."""

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

        A byte order mark at its beginning goes, as in Go's text/scanner.
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
    """Collects words from text whose blanks separate (`add`) or do not (`add_raw`)."""

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
        self.special = frozenset("$<" + quotes + lexer.escape)

    def process(self, words: _Words | None) -> str:
        try:
            result = self.until("", self.lexer.raw_escapes, words)
        except ValueError as error:
            raise ValueError(f"failed to process {quote(self.text)}: {error}") from None
        return result

    def peek(self) -> str:
        return self.text[self.position] if self.position < self.end else ""

    def until(self, stop: str, raw_escapes: bool, words: _Words | None = None) -> str:
        """Expand up to the character `stop` ("": up to the end) and step over it."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError("substitutions are nested too deeply")
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        text, end, special = self.text, self.end, self.special
        out: list[str] = []
        size = 0
        try:
            while self.position < end:
                start = self.position
                char = text[start]
                if char == stop:
                    self.position = start + 1
                    return "".join(out)
                if char not in special:
                    at = start + 1
                    while at < end and text[at] not in special and text[at] != stop:
                        at += 1
                    self.position = at
                    piece = text[start:at]
                    out.append(piece)
                    if words is not None:
                        words.add(piece)
                    continue
                if char == "$":
                    piece = self.dollar()
                    size += len(piece)
                    if size > _MAX_EXPANDED:
                        raise ValueError("the expanded text is too long")
                    out.append(piece)
                    if words is not None:
                        words.add(piece)
                    continue
                if char == self.escape:
                    if self.raw_escapes:
                        out.append(char)
                        if words is not None:
                            words.add_raw(char)
                    if start + 1 >= end:
                        self.position = end
                        break
                    self.position = start + 2
                    piece = text[start + 1]
                elif char == "<":
                    piece = self.heredoc_mark()
                else:
                    piece = self.single_quoted() if char == "'" else self.double_quoted()
                out.append(piece)
                if words is not None:
                    words.add_raw(piece)
        finally:
            self.raw_escapes = outer
            self.depth -= 1
        if stop:
            raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(out)

    def heredoc_mark(self) -> str:
        """Take `<`, or `<<` with the blanks after it, which belong to a heredoc's word."""
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
        out = ['"'] if self.lexer.raw_quotes else []
        size = 0
        self.position += 1
        while self.position < end:
            start = self.position
            char = text[start]
            if char == '"':
                self.position = start + 1
                if self.lexer.raw_quotes:
                    out.append('"')
                return "".join(out)
            if char == "$":
                out.append(self.dollar())
                size += len(out[-1])
                if size > _MAX_EXPANDED:
                    raise ValueError("the expanded text is too long")
            elif char == self.escape:
                if self.raw_escapes:
                    out.append(char)
                self.position = start + 1
                following = self.peek()
                if following and following in '"$' + self.escape:
                    self.position += 1
                    out.append(following)
                elif following:
                    out.append(char)
            else:
                at = start + 1
                while at < end and text[at] != '"' and text[at] != "$" and text[at] != self.escape:
                    at += 1
                self.position = at
                out.append(text[start:at])
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def name(self) -> str:
        """Take a variable's name: a word, all digits, or one special parameter."""
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

    def dollar(self) -> str:
        """Take `$x` or `${x...}` and return what it stands for."""
        self.position += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.look_up(name)
            if value is None:
                return "$" + name if self.lexer.skip_unset_env else ""
            return value
        self.position += 1
        first = self.peek()
        if not first:
            raise ValueError("syntax error: missing '}'")
        if first in "{}:":
            raise ValueError("syntax error: bad substitution")
        name = self.name()
        operator = self.peek()
        self.position += 1
        if not operator:
            raise ValueError("syntax error: missing '}'")
        if operator == "}":
            value = self.look_up(name)
            if value is None:
                return f"${{{name}}}" if self.lexer.skip_unset_env else ""
            return value
        if operator == "/":
            return self.substitution(name)
        colon = ""
        if operator == ":":
            colon = ":"
            operator = self.peek()
            self.position += 1
            if not operator:
                raise ValueError("syntax error: missing '}'")
        if operator not in "+-?#%" or (colon and operator in "#%"):
            raise ValueError(f"unsupported modifier ({colon}{operator}) in substitution")
        return self.modified(name, colon, operator)

    def operand(self, stop: str, raw_escapes: bool) -> str:
        """Take the text up to `stop`, expanded."""
        try:
            return self.until(stop, raw_escapes)
        except ValueError:
            if self.position >= self.end:
                missing = "'}'" if stop == "}" else "'/' in ${}"
                raise ValueError(f"syntax error: missing {missing}") from None
            raise

    def modified(self, name: str, colon: str, operator: str) -> str:
        """Take what follows `${x-`, `${x:-` and their like."""
        word = self.operand("}", operator in "#%")
        value = self.look_up(name)
        if value is None and self.lexer.skip_unset_env:
            return f"${{{name}{colon}{operator}{word}}}"
        missing = value is None or (bool(colon) and not value)
        if operator == "-":
            return word if missing or value is None else value
        if operator == "+":
            return "" if missing else word
        if operator == "?":
            if value is None:
                raise ValueError(f"{name}: {word or 'is not allowed to be unset'}")
            if missing:
                raise ValueError(f"{name}: {word or 'is not allowed to be empty'}")
            return value
        longest = word.startswith(operator)
        if longest:
            word = word[1:]
        try:
            pattern = parse_pattern(word)
        except ValueError as error:
            raise ValueError(f"invalid pattern ({word}) in substitution: {error}") from None
        trim = trim_suffix if operator == "%" else trim_prefix
        return trim(pattern, value or "", longest)

    def substitution(self, name: str) -> str:
        """Take what follows `${x/`."""
        every = self.peek() == "/"
        if every:
            self.position += 1
        word = self.operand("/", True)
        replacement = self.operand("}", True)
        value = self.look_up(name)
        if value is None and self.lexer.skip_unset_env:
            return f"${{{name}/{word}/{replacement}}}"
        try:
            pattern = parse_pattern(word)
        except ValueError as error:
            raise ValueError(f"invalid pattern ({word}) in substitution: {error}") from None
        return replace(pattern, value or "", replacement, every)


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
    """Return where the word ends, and how many characters at its end (an escape) do not count."""
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
    """Return the strings of a JSON array (exec form), None where it is none.

    Raises ValueError for an array with anything but strings. Mirrors: parseJSON.
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
    high = quoted = False
    for index, piece in enumerate(pieces):
        unit = piece[1:5].lower() if not quoted and piece[:1] == "u" else ""
        is_half = len(unit) == 4 and unit[0] == "d" and unit[1] in "89abcdef" and _HEX.issuperset(unit)
        if is_half and unit[1] < "c":  # the first half: what follows decides
            following = pieces[index + 1][:5].lower() if len(piece) == 5 and index + 1 < len(pieces) else ""
            high = following[:2] == "ud" and following[2:3] in ("c", "d", "e", "f") and _HEX.issuperset(following[1:])
            keep = high
        else:
            keep = high or not is_half
            high = False
        quoted = not quoted and not piece
        out.append(piece if keep else "ufffd" + piece[5:])
    return "\\".join(out)


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
        elif 0xDC80 <= code <= 0xDCFF:  # a byte that is no character
            out.append(f"\\x{code - 0xDC00:02x}")
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


_ESCAPES: Final = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}
