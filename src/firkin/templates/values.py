"""Data that templates are about, and how Go prints and encodes it. Pure.

Data is what JSON has: None, bool, int, float, str, lists and mappings. A Record is a mapping with a fixed set of names,
as a Go struct; an Absent is a value of a known type that is not there. A mapping's value may be a function; it takes
the words that follow its name (`{{.Label "version"}}`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from firkin.text import valid_text

MOST_CHARACTERS = 1 << 24
"""The longest text that a function may return, and that a template may write."""


_EXPONENT = 6


class Record(dict[str, Any]):
    """A mapping in which an unknown name is an error. Names are found in any case, as `.ID` and `.Id`.

    `filled` are names that are there for templates only: as Go's empty fields, JSON does not have them.
    """

    filled: Collection[str] = ()


class Row(Record):
    """A line of a list. Its JSON has `<`, `>` and `&` escaped, as docker's."""


class Absent:
    """A value that is not there, printed as Go prints nil of its type; in JSON it is null."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


NO_MAP: Final = Absent("map[]")
NO_LIST: Final = Absent("[]")
NO_POINTER: Final = Absent("<nil>")


def is_list(value: object) -> bool:
    """Say whether a value is a list for templates."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def length(value: object) -> int | None:
    """Return the number of elements, or of bytes in a text, None for what has no length. Mirrors: len."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if value is NO_MAP or value is NO_LIST:
        return 0
    return len(value) if isinstance(value, (Mapping, Sequence)) and not isinstance(value, Record) else None


def is_true(value: object) -> bool:
    """Say whether `if` takes the value for true. Mirrors: text/template IsTrue."""
    if isinstance(value, Absent):
        return False
    return True if isinstance(value, Record) else bool(value)


def sorted_items(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return names and values of a mapping as Go prints them: sorted, those of a Record in its own order."""
    return list(value.items()) if isinstance(value, Record) else sorted(value.items())


def type_name(value: object) -> str:
    """Return the name of the Go type that encoding/json reads such a value into."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if value is NO_MAP or (isinstance(value, Mapping) and not isinstance(value, Record)):
        return "map[string]interface {}"
    return "struct" if isinstance(value, Record) or value is NO_POINTER else "[]interface {}"


def float_text(value: float) -> str:
    """Return the shortest text of a fraction; from a million on with an exponent. Mirrors: strconv 'g', -1."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = _parts(value)
    if -5 < exponent < _EXPONENT:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
        whole = digits[: exponent + 1].ljust(exponent + 1, "0")
        fraction = digits[exponent + 1 :]
        return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
    point = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _parts(value: float) -> tuple[str, str, int]:
    """Return the sign, the shortest digits and the exponent of the first of them."""
    mantissa, _, exponent = f"{value!r}".lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = f"{whole}{'' if fraction == '0' else fraction}"
    shift = len(digits) - len(digits.lstrip("0"))
    shown = digits.strip("0") or "0"
    return sign, shown, (len(whole) - 1 - shift + int(exponent or 0)) if shown != "0" else 0


def text_of(value: object) -> str:
    """Return a value as Go's `%v` prints it: `[a b]`, `map[name:value]`, `<nil>`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) or is_list(value):
        return collection_text(value, text_of)
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    return value.text if isinstance(value, Absent) else str(value)


def collection_text(value: object, text: Callable[[object], str]) -> str:
    """Return a list or a mapping with each element printed by `text`."""
    if isinstance(value, Record):
        return f"{{{' '.join(text(item) for item in value.values() if not callable(item))}}}"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{text(name)}:{text(item)}' for name, item in sorted_items(value))}]"
    assert isinstance(value, Sequence)
    return f"[{' '.join(map(text, value))}]"


def shown(value: object) -> str:
    """Return what `{{VALUE}}` writes."""
    return "<no value>" if value is None else text_of(value)


def json_text(value: object, *, indent: int = 0) -> str:
    """Return a value as encoding/json writes it. Names keep their order.

    Raises TypeError for a value that is no data.
    """
    import msgspec

    raw = msgspec.json.encode(_plain(value))
    if indent:
        raw = msgspec.json.format(raw, indent=indent)
    text = raw.decode()
    if not text.isascii():
        text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if isinstance(value, Row):
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _plain(value: object) -> object:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, Absent):
        return None
    if isinstance(value, Mapping):
        filled = value.filled if isinstance(value, Record) else ()
        return {
            valid_text(name): _plain(item)
            for name, item in value.items()
            if name not in filled and not callable(item)
        }
    if is_list(value):
        assert isinstance(value, Sequence)
        return list(map(_plain, value))
    return value
