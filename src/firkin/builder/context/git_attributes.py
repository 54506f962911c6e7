"""The attributes of a path: `.gitattributes` of all directories above it, macros, patterns. Pure.

Patterns come from untrusted repositories, so matching never takes more steps than in proportion to
pattern and path. Only the git modules of context/ import it.
Spec: gitattributes(5). Mirrors: git attr.c, wildmatch.c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from firkin.errors import ContextError
from firkin.text import fits_tests

NAME = ".gitattributes"
Value = bool | bytes | None
"""Set, unset, a text, or None if explicitly unspecified."""

MAX_FILE_BYTES = 1 << 20
_MAX_KNOWN = 20_000  # directories whose rules are cached
_MAX_LINE_BYTES = 2048  # git ignores longer ones
_BLANK = b" \t\r\n"
_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_MACRO = b"[attr]"
_BINARY = ((b"diff", False), (b"merge", False), (b"text", False))
_ESCAPES = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b'"': 34}
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda c: 48 <= c <= 57 or 65 <= c & ~32 <= 90,
    b"alpha": lambda c: 65 <= c & ~32 <= 90,
    b"blank": lambda c: c in (9, 32),
    b"cntrl": lambda c: c < 32 or c == 127,
    b"digit": lambda c: 48 <= c <= 57,
    b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: 97 <= c <= 122,
    b"print": lambda c: 32 <= c < 127,
    b"punct": lambda c: 32 < c < 127 and not (48 <= c <= 57 or 65 <= c & ~32 <= 90),
    b"space": lambda c: c in (9, 10, 13, 32),
    b"upper": lambda c: 65 <= c <= 90,
    b"xdigit": lambda c: 48 <= c <= 57 or 65 <= c & ~32 <= 70,
}

States = tuple[tuple[bytes, Value], ...]
Test = Callable[[int], bool] | None
"""A test of one byte; None is a star."""


class Attributes:
    """The attributes of a tree's files, of which `names` are wanted. `read` returns a directory's text, or None."""

    def __init__(self, read: Callable[[str], bytes | None], names: Iterable[bytes]) -> None:
        self._read = read
        self._names = frozenset(names)
        self._rules: dict[str, list[tuple[Pattern, States]]] = {}
        self._parsed: dict[tuple[bytes, bool], list[tuple[Pattern, States]]] = {}  # by text: directories may share one
        self._macros: dict[bytes, States] = {b"binary": _BINARY}

    def of(self, path: str) -> dict[bytes, Value]:
        """Return a file's attributes, perhaps more than `names`. The deepest `.gitattributes` and last lines win.

        Raises ContextError for a `.gitattributes` that is too large.
        """
        values: dict[bytes, Value] = {}
        name = path.encode("utf-8", "surrogateescape")
        self._load("")  # macros are defined in the root only
        directory = path
        while directory:
            directory = directory.rpartition("/")[0]
            below = name[len(directory.encode("utf-8", "surrogateescape")) + 1 :] if directory else name
            for pattern, states in reversed(self._load(directory)):
                if pattern.match(below):
                    self._fill(values, states)
        return values

    def _fill(self, values: dict[bytes, Value], states: States) -> None:
        """Set the attributes that are not in `values` yet; macros are expanded where they stand."""
        waiting: list[Iterator[tuple[bytes, Value]]] = [reversed(states)]
        while waiting:
            for name, value in waiting[-1]:
                if name not in values:
                    values[name] = value
                    if value is True and name in self._macros:
                        waiting.append(reversed(self._macros[name]))
                        break
            else:
                waiting.pop()

    def _load(self, directory: str) -> list[tuple[Pattern, States]]:
        rules = self._rules.get(directory)
        if rules is None:
            text = self._read(directory) or b""
            if len(text) > MAX_FILE_BYTES:
                raise ContextError(f"{directory}/{NAME} is too large".lstrip("/"), code="git-attributes")
            if len(self._rules) > _MAX_KNOWN:
                self._rules.clear()
            rules = self._rules[directory] = self._parse(text, top=not directory)
        return rules

    def _parse(self, text: bytes, *, top: bool) -> list[tuple[Pattern, States]]:
        found = self._parsed.get((text, top))
        if found is None:
            rules: list[tuple[Pattern, States]] = []
            for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
                self._add(line, rules, top=top)
            # Drop rules without a wanted attribute: most rules are about diffs and archives.
            counts = self._names.union(self._macros)
            found = [rule for rule in rules if any(name in counts for name, _ in rule[1])]
            self._parsed[text, top] = found
        return found

    def _add(self, line: bytes, rules: list[tuple[Pattern, States]], *, top: bool) -> None:
        """Read a line; ignore the lines that git ignores with a warning."""
        text = line.strip(_BLANK)
        if not text or text.startswith(b"#") or len(line) > _MAX_LINE_BYTES:
            return
        if text.startswith(b'"'):
            unquoted = _unquote(text)
            if unquoted is None:
                return
            name, rest = unquoted
        else:
            name, rest = _first_word(text)
        states = _states(rest)
        if states is None:
            return
        if name.startswith(_MACRO) and name != _MACRO:
            if top and _is_attribute(name[len(_MACRO) :]):
                self._macros[name[len(_MACRO) :]] = states
        elif not name.startswith(b"!"):
            rules.append((Pattern(name), states))


def _first_word(text: bytes) -> tuple[bytes, bytes]:
    parts = text.split(None, 1)
    return (parts[0], parts[1] if len(parts) > 1 else b"") if parts else (b"", b"")


def _unquote(text: bytes) -> tuple[bytes, bytes] | None:
    """Read a pattern in C's quotes; return it and the text after it, None if it is malformed."""
    out = bytearray()
    at = 1
    while at < len(text):
        char = text[at : at + 1]
        at += 1
        if char == b'"':
            return bytes(out), text[at:]
        if char != b"\\":
            out += char
            continue
        digits = text[at : at + 3]
        if len(digits) == 3 and digits[0] in b"0123" and all(digit in b"01234567" for digit in digits):
            out.append(int(digits, 8))
            at += 3
        elif text[at : at + 1] in _ESCAPES:
            out.append(_ESCAPES[text[at : at + 1]])
            at += 1
        else:
            return None
    return None


def _is_attribute(name: bytes) -> bool:
    return bool(name) and not name.startswith((b"-", b"builtin_")) and _WORD.issuperset(name)


def _states(text: bytes) -> States | None:
    """Read `NAME`, `-NAME`, `!NAME` and `NAME=TEXT`; None if one is not an attribute."""
    found: list[tuple[bytes, Value]] = []
    for word in text.split():
        name, equals, value = word.partition(b"=")
        state: Value = value if equals else True
        if name[:1] in (b"-", b"!"):
            state = False if name[:1] == b"-" else None
            name = name[1:]
        if not _is_attribute(name):
            return None
        found.append((name, state))
    return tuple(found)


class Pattern:
    """A pattern of a `.gitattributes`. Without a slash it matches names; with a slash at its end it matches nothing."""

    def __init__(self, text: bytes) -> None:
        self._names_only = b"/" not in text
        self._segments: list[list[Test] | None] | None = None  # an item None is `**`; without a list nothing matches
        self._start = b""  # the text before any wildcard; git compares it first, so `a/b**` matches `a/b/c`
        if text.endswith(b"/") or not text:
            return
        text = text.removeprefix(b"/")
        plain = next((at for at, byte in enumerate(text) if byte in b"*?[\\"), len(text))
        if not self._names_only or plain == len(text):
            self._start, text = text[:plain], text[plain:]
        try:
            self._segments = _compile(text)
        except ValueError:
            return

    def match(self, path: bytes) -> bool:
        """Say whether the pattern matches a path, which is relative to the pattern's directory."""
        if self._names_only:
            path = path.rpartition(b"/")[2]
        if self._segments is None or not path.startswith(self._start):
            return False
        path = path[len(self._start) :]
        parts = path.split(b"/")
        here = {0}
        for number, segment in enumerate(self._segments):
            if segment is None:
                last = number == len(self._segments) - 1
                first = min(here, default=len(parts))
                if last:
                    return first < len(parts)
                here = set(range(first, len(parts)))
            else:
                here = {at + 1 for at in here if at < len(parts) and fits_tests(segment, parts[at])}
        return len(parts) in here


def _compile(text: bytes) -> list[list[Test] | None]:
    """Split a pattern into its segments; raises ValueError for a pattern that can never match."""
    segments: list[list[Test] | None] = []
    tests: list[Test] = []
    stars = 0
    at = 0
    while at <= len(text):
        char = text[at : at + 1]
        at += 1
        if char == b"\\" and text[at : at + 1] == b"/":
            continue  # an escaped slash is a slash
        if char in (b"/", b""):
            # `**` is special between slashes only.
            segments.append(None if stars > 1 and len(tests) == 1 else tests)
            tests, stars = [], 0
        elif char == b"*":
            stars += 1
            if not tests or tests[-1] is not None:
                tests.append(None)
                stars = 1
        elif char == b"?":
            tests.append(lambda byte: True)
        elif char == b"[":
            at, test = _bracket(text, at)
            tests.append(test)
        else:
            byte, at = _literal(text, at - 1)
            tests.append(byte.__eq__)
    return segments


def _literal(text: bytes, at: int) -> tuple[int, int]:
    """Read one byte, which a backslash may quote; return it and the position after it."""
    if text[at : at + 1] == b"\\":
        at += 1
        if at >= len(text):
            raise ValueError("a backslash at the end")
    return text[at], at + 1


def _bracket(text: bytes, at: int) -> tuple[int, Test]:
    """Read a set after its `[`; return the position after it, and the test."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    start = at
    singles: set[int] = set()
    classes: list[Callable[[int], bool]] = []
    low: int | None = None

    def one() -> int:
        nonlocal at
        if text[at : at + 1] == b"\\":
            at += 1
        at += 1
        return text[at - 1]  # an IndexError, caught below, means that the set does not end

    try:
        while at == start or text[at] != 0x5D:
            if text[at] == 0x2D and low is not None and text[at + 1] != 0x5D:
                at += 1
                singles.update(range(low, one() + 1))
                low = None
            elif text[at : at + 2] == b"[:":
                end = text.index(b"]", at + 2)
                if text[end - 1 : end] == b":" and end - 1 > at + 1:
                    classes.append(_CLASSES[text[at + 2 : end - 1]])
                    at, low = end + 1, None
                else:
                    low = one()
                    singles.add(low)
            else:
                low = one()
                singles.add(low)
    except (IndexError, KeyError) as error:
        raise ValueError("a set without end, or of an unknown class") from error
    return at + 1, lambda byte: (byte in singles or _any(classes, byte)) != negated


def _any(classes: Iterable[Callable[[int], bool]], byte: int) -> bool:
    return any(test(byte) for test in classes)
