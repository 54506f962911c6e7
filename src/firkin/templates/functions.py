"""What a template can call: Go's own functions and docker's. Pure.

Mirrors: text/template funcs.go, docker/cli templates. `and` and `or` are not here: they do not look at what they need
not, so `execute` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from firkin.templates import printf
from firkin.templates.compare import COMPARISONS
from firkin.templates.values import (
    MOST_CHARACTERS,
    NO_LIST,
    NO_MAP,
    Absent,
    Record,
    is_list,
    is_true,
    json_text,
    length,
    text_of,
    type_name,
)

Call = Callable[..., Any]
_MOST_PADDING = 1_000_000
_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _print(*values: object) -> str:
    """Put a blank between two values of which neither is a text. Mirrors: fmt.Sprint."""
    parts = []
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            parts.append(" ")
        parts.append(text_of(value))
    return "".join(parts)


def _println(*values: object) -> str:
    return " ".join(map(text_of, values)) + "\n"


def _printf(form: object, *values: object) -> str:
    try:
        return printf.printf(_text(form), values)
    except printf.TooLong:
        raise ValueError("the text is too long") from None


def _html(*values: object) -> str:
    return _print(*values).translate(_HTML)


def _js(*values: object) -> str:
    return "".join(
        _JS.get(char) or (char if char.isprintable() else f"\\u{ord(char):04X}") for char in _print(*values)
    )


def _urlquery(*values: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values).encode("utf-8", "replace"), safe="")


def _len(value: object) -> int:
    size = length(value)
    if size is None:
        raise ValueError("len of nil pointer" if value is None else f"len of type {type_name(value)}")
    return size


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"cannot index slice/array with type {type_name(value)}")
    return value


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _element(value, key)
    return value


def _element(value: object, key: object) -> object:
    if isinstance(value, Record):
        raise ValueError("can't index item of type struct")
    if isinstance(value, Mapping):
        return _entry(value, _text(key))
    if value is NO_MAP or (value is None and isinstance(key, str)):
        return ""
    items = _items(value, "index")
    place = _whole(key)
    if not 0 <= place < len(items):
        raise ValueError(f"index out of range: {place}")
    return items[place]


def _entry(value: Mapping[str, object], name: str) -> object:
    # The values of Go's map[string]string are never nil; other maps give nil for what they do not have.
    return value.get(name, "" if all(isinstance(item, str) for item in value.values()) else None)


def _items(value: object, verb: str) -> Sequence[Any]:
    """Return the elements of a list, the bytes of a text."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if value is NO_LIST:
        return ()
    if not is_list(value):
        raise ValueError(f"{verb} of untyped nil" if value is None else f"can't {verb} item of type {type_name(value)}")
    assert isinstance(value, Sequence)
    return value


def _slice(value: object, *ends: object) -> object:
    places = [_whole(end) for end in ends]
    if len(places) > (2 if isinstance(value, str) else 3):
        raise ValueError(f"too many slice indexes: {len(places)}")
    items = _items(value, "slice")
    begin, end = [*places[:2], *(0, len(items))[len(places) :]]
    for place in places:
        if not 0 <= place <= len(items):
            raise ValueError(f"index out of range: {place}")
    if begin > end:
        raise ValueError(f"invalid slice index: {begin} > {end}")
    cut = items[begin:end]
    return bytes(cut).decode("utf-8", "replace") if isinstance(value, str) else cut


def _call(value: object, *values: object) -> object:
    if not callable(value):
        raise ValueError(f"non-function of type {type_name(value)}")
    return value(*values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def _json(value: object) -> str:
    return json_text(value)


def _split(text: object, separator: object) -> list[str]:
    if _text(separator) == "":
        return list(_text(text))
    return _text(text).split(_text(separator))


def _join(values: object, separator: object) -> str:
    if values is None or isinstance(values, Absent):
        return ""
    if not is_list(values):
        raise ValueError(f"expected slice, got {type_name(values)}")
    assert isinstance(values, Sequence)
    return _text(separator).join(map(text_of, values))


def _title(text: object) -> str:
    before = " "
    made = []
    for char in _text(text):
        # Mirrors strings.Title, for which `_`, letters and digits make a word.
        made.append(char if before.isalnum() or before == "_" else char.title()[:1])
        before = char
    return "".join(made)


def _pad(text: object, before: object, after: object) -> str:
    left, right = _whole(before), _whole(after)
    if min(left, right) < 0 or max(left, right) > _MOST_PADDING:
        raise ValueError("bad number of blanks")
    return f"{' ' * left}{_text(text)}{' ' * right}" if text else ""


def _truncate(text: object, size: object) -> str:
    raw = _text(text).encode("utf-8", "surrogatepass")
    wanted = _whole(size)
    if wanted < 0:
        raise ValueError("slice bounds out of range")
    return raw[:wanted].decode("utf-8", "replace") if len(raw) > wanted else _text(text)


FUNCTIONS: Mapping[str, tuple[int, int | None, Call]] = {
    **COMPARISONS,
    "not": (1, 1, lambda value: not is_true(value)),
    "len": (1, 1, _len),
    "index": (1, None, _index),
    "slice": (1, None, _slice),
    "print": (0, None, _print),
    "printf": (1, None, _printf),
    "println": (0, None, _println),
    "html": (0, None, _html),
    "js": (0, None, _js),
    "urlquery": (0, None, _urlquery),
    "call": (1, None, _call),
    "json": (1, 1, _json),
    "split": (2, 2, _split),
    "join": (2, 2, _join),
    "title": (1, 1, _title),
    "lower": (1, 1, lambda text: _text(text).lower()),
    "upper": (1, 1, lambda text: _text(text).upper()),
    "pad": (3, 3, _pad),
    "truncate": (2, 2, _truncate),
}
"""name: (fewest arguments, most, function); a function raises ValueError or TypeError."""

# In the row of headers these leave a header as it is.
_UNCHANGED: tuple[str, ...] = ("json", "split", "join", "title", "lower", "upper", "truncate")
HEADER_FUNCTIONS: Mapping[str, tuple[int, int | None, Call]] = {
    **FUNCTIONS,
    **{name: (*FUNCTIONS[name][:2], lambda text, *others: text) for name in _UNCHANGED},
}


def call(name: str, arguments: Sequence[object], table: Mapping[str, tuple[int, int | None, Call]]) -> object:
    """Call a function. Raises ValueError with the reason in Go's words."""
    fewest, most, function = table[name]
    count = len(arguments)
    if count < fewest or (most is not None and count > most):
        want = f"at least {fewest}" if most is None else str(fewest)
        raise ValueError(f"wrong number of args for {name}: want {want} got {count}")
    try:
        value = function(*arguments)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"error calling {name}: {error}") from None
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        raise ValueError(f"error calling {name}: the text is too long")
    return value
