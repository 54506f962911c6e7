"""Words: quoting, `${}` expansion, splitting, JSON arrays, nearest word. Pure.

Mirrors: buildkit frontend/dockerfile/shell/lex.go and parser/line_parsers.go. Anybody in `dockerfile/`
may import it; it knows no spans, so it raises ValueError and callers add the position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


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


class Lexer(msgspec.Struct, frozen=True):
    """Expands `$x`, `${x...}` and quotes as a shell would. Mirrors: shell.Lex."""

    escape: str = "\\"
    raw_quotes: bool = False  # keep quotes in the result
    raw_escapes: bool = False  # keep escape characters in the result
    skip_process_quotes: bool = False  # quotes are ordinary characters
    skip_unset_env: bool = False  # leave `$x` as it is where x is not set

    def expand(self, text: str, env: Mapping[str, str]) -> Expanded:
        """Return the text expanded; raises ValueError. Mirrors: ProcessWordWithMatches."""
        raise NotImplementedError

    def expand_words(self, text: str, env: Mapping[str, str]) -> ExpandedWords:
        """Return the text expanded and split at unquoted blanks. Mirrors: ProcessWords."""
        raise NotImplementedError


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
    raise NotImplementedError


def split_name_values(text: str, escape: str, keyword: str) -> NameValues:
    """Split ENV's or LABEL's text; empty text gives no pairs. Raises ValueError. Mirrors: parseNameVal."""
    raise NotImplementedError


def split_whitespace(text: str) -> tuple[str, ...]:
    """Split at runs of blanks, without regard to quotes (FROM, EXPOSE). Mirrors: parseStringsWhitespaceDelimited."""
    raise NotImplementedError


def split_json_array(text: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array (exec form), None where it is none.

    Raises ValueError for an array with anything but strings. Mirrors: parseJSON.
    """
    raise NotImplementedError


def nearest(word: str, known: Iterable[str], case_sensitive: bool = True) -> str | None:
    """Return the known word that was probably meant, or None. Mirrors: util/suggest."""
    raise NotImplementedError
