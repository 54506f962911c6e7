"""Patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: literals, `?` and `*`. Pure. Words imports it.

Matching works on sets of positions, each held in one integer (bit i: the text up to i is consumed).
There is no backtracking, so each element of a pattern takes one linear pass over the text.
Mirrors: buildkit frontend/dockerfile/shell/lex.go (convertShellPatternToRegex, trimPrefix, trimSuffix).
"""

from __future__ import annotations

from typing import Final

ANY: Final = ""  # `?`; a literal is its character
STAR: Final = "*"

Pattern = tuple[tuple[bool, str], ...]
"""Elements (literal?, character): `(False, ANY)`, `(False, STAR)` or `(True, "x")`."""

_ANY: Final = (False, ANY)
_STAR: Final = (False, STAR)
_ALNUM: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def parse_pattern(text: str) -> Pattern:
    """Read a pattern; a backslash quotes `*`, `?`, `\\`, `}` and `/`. Raises ValueError for any other."""
    out: list[tuple[bool, str]] = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*":
            if not out or out[-1] != _STAR:
                out.append(_STAR)
        elif char == "?":
            out.append(_ANY)
        elif char == "\\":
            following = text[position : position + 1]
            if following not in ("}", "/", "*", "?", "\\") or not following:
                raise ValueError(f"invalid escape '\\{following}'")
            out.append((True, following))
            position += 1
        else:
            out.append((True, char))
    return tuple(out)


class _Text:
    """A text that caches the set of positions of each requested character."""

    __slots__ = ("masks", "passable", "size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text)
        self.masks: dict[str, int] = {}
        # `.` of Go's regular expressions matches no line feed, so `?` and `*` do not either.
        self.passable = ((1 << self.size) - 1) & ~self.mask("\n")

    def mask(self, char: str) -> int:
        found = self.masks.get(char)
        if found is None:
            found = 0
            if char in self.text:
                found = int("".join("1" if x == char else "0" for x in reversed(self.text)), 2)
            self.masks[char] = found
        return found

    def ends(self, pattern: Pattern, starts: int) -> int:
        """Return the positions where a match that begins in `starts` may end."""
        state = starts
        for element in pattern:
            if not state:
                break
            if element == _STAR:
                # The addition carries each start to the end of its run of passable characters.
                state |= ((state & self.passable) + self.passable) ^ self.passable
            else:
                state = (state & (self.passable if element == _ANY else self.mask(element[1]))) << 1
        return state


def _prefix_length(pattern: Pattern, text: str, longest: bool) -> int:
    """Return how many characters at the start match; -1 if the pattern does not match there."""
    ends = _Text(text).ends(pattern, 1)
    if not ends:
        return -1
    return ends.bit_length() - 1 if longest else (ends & -ends).bit_length() - 1


def trim_prefix(pattern: Pattern, text: str, longest: bool) -> str:
    """Remove the shortest (or longest) match at the start of the text."""
    length = _prefix_length(pattern, text, longest)
    return text if length < 0 else text[length:]


def trim_suffix(pattern: Pattern, text: str, longest: bool) -> str:
    """Remove the shortest (or longest) match at the end of the text."""
    length = _prefix_length(pattern[::-1], text[::-1], longest)
    return text if length < 0 else text[: len(text) - length]


def replace(pattern: Pattern, text: str, replacement: str, every: bool) -> str:
    """Replace the first, or every, match; each is the leftmost and then the longest.

    With `every` the replacement is a template of Go's regexp.Expand, as in BuildKit: `$0` is the match and any
    other `$name` is empty.
    """
    reverse = _Text(text[::-1])
    # A match read backwards ends at its start, so one backward pass finds all starts.
    backward = reverse.ends(pattern[::-1], (1 << (len(text) + 1)) - 1)
    bits = f"{backward:0{len(text) + 1}b}"  # character i says whether a match starts at i
    out: list[str] = []
    done = 0
    previous_end = -1
    start = bits.find("1")
    while start >= 0:
        end = _longest_end(pattern, text, start)
        if end == start == previous_end:  # an empty match right after a match does not count
            start = bits.find("1", start + 1)
            continue
        out.append(text[done:start])
        out.append(_fill(replacement, text[start:end]) if every else replacement)
        done = previous_end = end
        if not every:
            break
        start = bits.find("1", end if end > start else start + 1)
    out.append(text[done:])
    return "".join(out)


def _longest_end(pattern: Pattern, text: str, start: int) -> int:
    """Return the end of the longest match that begins at `start`, where there is one."""
    if _STAR not in pattern:
        return start + len(pattern)
    # A star never matches a line feed, so a match extends over a known number of lines at most.
    stop = start - 1
    for _ in range(sum(element == (True, "\n") for element in pattern) + 1):
        stop = text.find("\n", stop + 1)
        if stop < 0:
            stop = len(text)
            break
    return start + _prefix_length(pattern, text[start:stop], longest=True)


def _fill(template: str, match: str) -> str:
    """Expand `$0`, `$name`, `${name}` and `$$`. Mirrors: Go regexp.Expand with no groups."""
    if "$" not in template:
        return template
    pieces = template.split("$")
    out = [pieces[0]]
    position = 1
    while position < len(pieces):
        piece = pieces[position]
        position += 1
        if not piece and position < len(pieces):
            out.append("$" + pieces[position])  # `$$`
            position += 1
        else:
            out.append(_reference(piece, match))
    return "".join(out)


def _reference(piece: str, match: str) -> str:
    """Expand `$` and the text after it: `$0` is the match, any other name is empty."""
    braced = piece.startswith("{")
    end = begin = 1 if braced else 0
    while end < len(piece) and (piece[end] in _ALNUM or piece[end].isalpha()):
        end += 1
    name = piece[begin:end]
    if not name or (braced and piece[end : end + 1] != "}"):
        return "$" + piece
    value = match if not name.strip("0") and len(name) < 9 else ""
    return value + piece[end + 1 if braced else end :]
