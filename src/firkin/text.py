"""Texts and numbers from outside, checked and converted for encoders and the kernel. Pure. Any module may import it.

Text that is read as UTF-8 keeps invalid bytes as surrogates (PEP 383), so that files and their names survive.
Such a text cannot be encoded as JSON or for SQLite; those get `valid_text` of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    _Item = TypeVar("_Item")
    NameTests = list[Callable[[str], bool] | None]
    """A pattern as tests of one character each; None is a star."""

Pairs = tuple[tuple[str, str], ...]
"""Names with their values, in order."""

LARGEST_ID = 0x7FFFFFFF
"""The largest id of a user or group, as in moby/sys/user. The kernel has one bit more; (uid_t)-1 means no change."""
FIRST_S, LATEST_S = -62167219200, 253402300799
"""The first second of the year 0 and the last one of 9999: RFC 3339, and so JSON, has no other times."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def valid_text(text: str) -> str:
    """Return the text with U+FFFD for each byte that is not UTF-8, as Go's JSON encoder writes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def is_valid(text: str) -> bool:
    """Say whether the text is UTF-8 as a whole."""
    return valid_text(text) is text


def whole_number(text: str, largest: int) -> int | None:
    """Return the number of a text of ASCII digits, None for anything else and above `largest`.

    A text with too many digits is not converted: `int` takes up to 4300 digits, slowly.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(largest)):
        return None
    number = int(digits)
    return number if number <= largest else None


def parse_bool(text: str) -> bool:
    """Read a boolean as strconv.ParseBool does; raises ValueError."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f"`{text}` is not a boolean")


def parse_integer(text: str) -> int:
    """Read an int64 as strconv.ParseInt does in base 0 (`0x10`, `0b1`, `010`, `1_000`); raises ValueError."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits[:1].isdigit() and len(digits) < 80):
        raise ValueError(f"`{text[:40]}` is no number")
    if (digits[0] == "0" and digits[1:2].isdigit()) or (digits[1:2] == "_" and digits[0] == "0"):
        digits = f"0o{digits[1:]}"
    try:
        number = int(digits, 0)
    except ValueError:
        raise ValueError(f"`{text}` is no number") from None
    number = -number if text[0] == "-" else number
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"`{text}` is out of range")
    return number


_INT64 = 1 << 63
_BINARY_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_FLOAT = frozenset("0123456789.eE+-")


def parse_size(text: str) -> int:
    """Return the bytes of `64m`, `1.5GiB`, `1 kb` or `100`; raises ValueError. Mirrors: go-units RAMInBytes."""
    cut = next((at for at in range(len(text) - 1, -1, -1) if text[at] in "0123456789. "), -1)
    number, suffix = (text[:cut], text[cut + 1 :]) if text[cut : cut + 1] == " " else (text[: cut + 1], text[cut + 1 :])
    suffix = suffix.lower()
    shift = _BINARY_UNITS.get(suffix[:1], -1)
    if suffix in ("", "b"):
        shift = 0
    elif suffix[1:] not in ("", "b", "ib"):
        shift = -1
    try:
        size = float(number) * 2**shift if shift >= 0 and number and _FLOAT.issuperset(number) else -1.0
    except ValueError:
        size = -1.0
    if not 0 <= size < _INT64:
        raise ValueError(f"`{text[:40]}` is not a size")
    return int(size)


_SECRET_PARAMETERS = frozenset(
    "access_token api_key apikey auth authorization client_secret code credential key password passwd pwd secret sig "
    "signature token x-amz-credential x-amz-security-token x-amz-signature x-goog-credential x-goog-signature".split()
)
_ADDRESS_ENDS = frozenset(" \t\r\n\"'`<>")


def hide_passwords(text: str, user: str = "xxxxx@") -> str:
    """Return the text with `xxxxx` in place of the credentials in its URLs (`SCHEME://…`).

    These are the user information, which is replaced by `user` (a user name alone in ssh and git URLs stays), and the
    values of query parameters whose names suggest a secret. Texts go through here when they are stored: errors,
    events, titles, records, images.
    """
    if "://" not in text:
        return text
    before, *others = text.split("://")
    shown = [before]
    for rest in others:
        scheme = before[-8:].lower()
        end = next((at for at, char in enumerate(rest) if char in _ADDRESS_ENDS), len(rest))
        end = len(rest[:end].rstrip(":,;."))  # these belong to the sentence around the URL
        before = rest
        shown.append(_without_secrets(rest[:end], scheme, user) + rest[end:])
    return "://".join(shown)


def _without_secrets(address: str, scheme: str, shown_user: str) -> str:
    end = next((at for at, char in enumerate(address) if char in "/?#"), len(address))
    user, at, host = address[:end].rpartition("@")
    if at and user and (":" in user or not scheme.endswith(("ssh", "git"))):
        host = shown_user + host
    else:
        host = address[:end]
    path, mark, query = address[end:].partition("?")
    if not mark:
        return host + path
    query, hash, fragment = query.partition("#")
    pairs = [pair.partition("=") for pair in query.split("&")]
    shown = "&".join(
        f"{name}=xxxxx" if equals and name.lower() in _SECRET_PARAMETERS else f"{name}{equals}{value}"
        for name, equals, value in pairs
    )
    return f"{host}{path}?{shown}{hash}{fragment}"


def parse_duration_s(text: str) -> float | None:
    """Return the seconds of `90s`, `30m`, `24h`, `7d`, `1h30m` or `0`, None for anything else.

    Mirrors: Go's time.ParseDuration, and days.
    """
    total, digits = 0.0, ""
    for char in text.strip():
        if char.isdigit() or char == ".":
            digits += char
            continue
        seconds = _SECONDS.get(char)
        if seconds is None or not digits.replace(".", "", 1).isdigit() or not digits.isascii():
            return None
        total += float(digits) * seconds
        digits = ""
    return total if text.strip() and (not digits or digits == "0") else None


def nearest(word: str, known: Iterable[str], case_sensitive: bool = True, limit: int = 2) -> str | None:
    """Return the known word that was probably meant, or None. Mirrors: util/suggest.

    At most `limit` edits away; None, too, when `word` itself is known. Ignoring case, the answer takes
    the case of `word`.
    """
    wanted = word if case_sensitive else word.lower()
    best, best_distance = None, limit + 1
    for option in known:
        candidate = option if case_sensitive else option.lower()
        if candidate == wanted:
            return None
        distance = _edit_distance(wanted, candidate, best_distance)
        if distance < best_distance:
            best, best_distance = candidate, distance
    if best is not None and not case_sensitive and word == word.upper():
        return best.upper()
    return best


def _edit_distance(left: str, right: str, limit: int) -> int:
    """Return the edit distance if it is below the limit, else any number >= limit.

    Swapping two neighbours counts as one edit, unlike in BuildKit: it is the most likely typing error.
    """
    if abs(len(left) - len(right)) >= limit:
        return limit
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, char in enumerate(left, 1):
        above, row = row, [i]
        for j, other in enumerate(right, 1):
            distance = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (char != other))
            if i > 1 and j > 1 and char == right[j - 2] and other == left[i - 2]:
                distance = min(distance, before[j - 2] + 1)
            row.append(distance)
        if min(row) >= limit:
            return limit
        before = above
    return row[-1]


def clean(path: str) -> str:
    """Return a path relative to the root without empty, `.` and `..` parts; `..` stops at the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/".join(parts)


def fits_tests(tests: Sequence[Callable[[_Item], bool] | None], name: Sequence[_Item]) -> bool:
    """Match a name with a wildcard pattern, given as one test for each character (or byte); None is a star.

    A star that failed takes one character more, and only the last star is tried again.
    """
    at = step = 0
    star, star_at = -1, 0
    while at < len(name):
        test = tests[step] if step < len(tests) else _never
        if test is None:
            star, star_at = step, at
            step += 1
        elif test(name[at]):
            step += 1
            at += 1
        elif star >= 0:
            star_at += 1
            step, at = star + 1, star_at
        else:
            return False
    return all(test is None for test in tests[step:])


def _never(item: object) -> bool:
    return False


def match_name(pattern: str, name: str) -> bool:
    """Match one path component. Raises ValueError for a malformed pattern. Mirrors: Go filepath.Match."""
    return fits_tests(name_tests(pattern), name)


def name_tests(pattern: str) -> NameTests:
    """Return a pattern of one path component as tests; raises ValueError for a malformed one."""
    tokens: NameTests = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "*":
            tokens.append(None)
            at += 1
        elif letter == "?":
            tokens.append(lambda _: True)
            at += 1
        elif letter == "[":
            test, at = _class_at(pattern, at + 1)
            tokens.append(test)
        else:
            literal, at = _character_at(pattern, at)
            tokens.append(literal.__eq__)
    return tokens


def _class_at(pattern: str, at: int) -> tuple[Callable[[str], bool], int]:
    """Read a class after its `[`; return its test and where it ends."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _bound_at(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _bound_at(pattern, at + 1)
        ranges.append((low, high))
    return _class(tuple(ranges), negated), at + 1


def _bound_at(pattern: str, at: int) -> tuple[str, int]:
    """Read one end of a range in a class; the class must go on after it."""
    if pattern.startswith(("-", "]"), at):
        raise ValueError("syntax error in pattern")
    bound, at = _character_at(pattern, at)
    if at >= len(pattern):
        raise ValueError("syntax error in pattern")
    return bound, at


def _character_at(pattern: str, at: int) -> tuple[str, int]:
    """Read one character, which a backslash may quote."""
    if pattern.startswith("\\", at):
        at += 1
    if at >= len(pattern):
        raise ValueError("syntax error in pattern")
    return pattern[at], at + 1


def _class(ranges: tuple[tuple[str, str], ...], negated: bool) -> Callable[[str], bool]:
    return lambda letter: any(low <= letter <= high for low, high in ranges) != negated


def match_path(pattern: str, path: str) -> bool:
    """Match a path, whose `/` no star crosses. Raises ValueError for a malformed pattern. Mirrors: Go path.Match."""
    patterns, parts = pattern.split("/"), path.split("/")
    fits = [match_name(one, part) for one, part in zip(patterns, parts, strict=False)]
    return len(patterns) == len(parts) and all(fits)


def seconds_of(time: str) -> float | None:
    """Return the Unix time of an RFC 3339 text, None for one that is none or says year 1 (Go's zero)."""
    from _datetime import datetime, timezone  # the module `datetime` itself takes 2 ms to load

    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    if moment.year <= 1:
        return None
    stamp: float = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return stamp


def duration(seconds: float) -> str:
    """Return a duration in words: `2 hours`. Mirrors: units.HumanDuration."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return f"{whole} second{'s' * (whole != 1)}"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for most, hours_each, word in ((24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months")):
        if hours < most:
            return f"{hours // hours_each} {word}"
    return f"{whole // 86400 // 365} years"
