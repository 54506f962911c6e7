"""`printf` of templates. Pure. Mirrors: Go's fmt, for the values that templates have.

A verb that does not fit its value is no error but a note in the text, as in Go: `%!d(string=hi)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from firkin.templates.values import (
    MOST_CHARACTERS,
    Absent,
    collection_text,
    float_text,
    is_list,
    text_of,
    type_name,
)
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    import re

_SPEC = r"(?s)%([+\-# 0]*)(\*|\d+)?(?:(\.)(\*|\d*))?(.?)"
_WIDEST = 1_000_000
_BASES = {"d": (10, ""), "b": (2, "0b"), "o": (8, "0"), "O": (8, "0o"), "x": (16, "0x"), "X": (16, "0X")}
_ESCAPES = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 34: '\\"', 92: "\\\\"}


class TooLong(Exception):
    """The text would be longer than a template may write."""


class _Spec(NamedTuple):
    """One verb with its flags; a precision of -1 was not given."""

    verb: str
    flags: str
    width: int
    precision: int


def printf(form: str, values: Sequence[object]) -> str:
    """Return the text of a format with its values. Raises TooLong."""
    import re

    parts: list[str] = []
    used, at, size = 0, 0, 0
    for match in re.finditer(_SPEC, form):
        parts.append(form[at : match.start()])
        at = match.end()
        spec, notes, used = _spec(match, values, used)
        if spec.verb == "%":
            parts.append("%")
        elif not spec.verb:
            parts.append("%!(NOVERB)")
        elif used >= len(values):
            parts.append(f"{notes}%!{spec.verb}(MISSING)")
        else:
            parts.append(notes + _formatted(spec, values[used]))
            used += 1
        size += len(parts[-1]) + len(parts[-2])
        if size > MOST_CHARACTERS:
            raise TooLong
    parts.append(form[at:])
    if used < len(values):
        extra = ", ".join(_typed(value) for value in values[used:])
        parts.append(f"%!(EXTRA {extra})")
    return "".join(parts)


def _typed(value: object) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={text_of(value)}"


def _spec(match: re.Match[str], values: Sequence[object], used: int) -> tuple[_Spec, str, int]:
    """Return a verb, notes about what is wrong with its numbers, and how many values are used now."""
    flags, wide, point, exact, verb = match.groups()
    width, used = _given(wide, values, used)
    precision, used = _given(exact if point else None, values, used)
    notes = ("%!(BADWIDTH)" if width is None else "") + ("%!(BADPREC)" if precision is None else "")
    if wide == "*" and width is not None and width < 0:
        flags += "-"
        width = -width
    return _Spec(verb, flags, max(width or 0, 0), -1 if precision is None else precision), notes, min(used, len(values))


def _given(text: str | None, values: Sequence[object], used: int) -> tuple[int | None, int]:
    """Return a width or a precision, -1 for none and None for a bad one, and how many values are used now."""
    if text is None:
        return -1, used
    number: object = int(text[:8] or "0") if text != "*" else values[used] if used < len(values) else None
    number = number if type(number) is int and abs(number) <= _WIDEST else None
    return number, used + (text == "*")


def _formatted(spec: _Spec, value: object) -> str:
    if spec.verb == "T":
        return _padded(spec, type_name(value))
    if isinstance(value, Absent):
        return _padded(spec, value.text)
    if isinstance(value, Mapping) or is_list(value):
        return collection_text(value, lambda item: _formatted(spec, item))
    text = _single(spec, value)
    if text is None:
        return f"%!{spec.verb}({_typed(value)})"
    return text


def _single(spec: _Spec, value: object) -> str | None:
    """Return a text or a number in its form, None if the verb does not fit."""
    if spec.verb == "v":
        return _value(spec, value)
    if isinstance(value, str):
        return _string(spec, value)
    if isinstance(value, bool):
        return _padded(spec, text_of(value)) if spec.verb == "t" else None
    if isinstance(value, float):
        return _fraction(spec, value) if spec.verb in "eEfFgG" else None
    return _integer(spec, value) if isinstance(value, int) else None


def _value(spec: _Spec, value: object) -> str:
    if "#" in spec.flags and isinstance(value, str):
        return _padded(spec, quoted(value))
    if isinstance(value, float):
        return _fraction(spec._replace(verb="g"), value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(spec, value, 10, "")
    text = text_of(value)
    return _padded(spec, text[: spec.precision] if spec.precision >= 0 and isinstance(value, str) else text)


def _string(spec: _Spec, value: str) -> str | None:
    cut = value[: spec.precision] if spec.precision >= 0 else value
    if spec.verb == "s":
        return _padded(spec, cut)
    if spec.verb == "q":
        return _padded(spec, f"`{cut}`" if "#" in spec.flags and "`" not in cut and cut.isprintable() else quoted(cut))
    if spec.verb in "xX":
        return _padded(spec, _hex(spec, value.encode("utf-8", "surrogatepass")))
    return None


def _hex(spec: _Spec, raw: bytes) -> str:
    cut = raw[: spec.precision] if spec.precision >= 0 else raw
    digits = cut.hex(" ") if " " in spec.flags else cut.hex()
    text = f"0x{digits}" if "#" in spec.flags and digits else digits
    return text.upper() if spec.verb == "X" else text


def _integer(spec: _Spec, value: int) -> str | None:
    if spec.verb in _BASES:
        return _number(spec, value, *_BASES[spec.verb])
    known = 0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000
    if spec.verb == "c":
        return _padded(spec, chr(value) if known else "\ufffd")
    if spec.verb == "q":
        return _padded(spec, _quoted_rune(value if known else 0xFFFD))
    return _padded(spec, f"U+{value:04X}") if spec.verb == "U" and value >= 0 else None


def _number(spec: _Spec, value: int, base: int, prefix: str) -> str:
    size = abs(value)
    digits = {2: f"{size:b}", 8: f"{size:o}", 10: str(size), 16: f"{size:x}"}[base]
    if spec.verb == "X":
        digits = digits.upper()
    if spec.precision >= 0:
        digits = "" if spec.precision == value == 0 else digits.rjust(spec.precision, "0")
    shown = prefix if "#" in spec.flags or spec.verb == "O" else ""
    sign = _sign(spec, value < 0)
    if "0" in spec.flags and "-" not in spec.flags and spec.precision < 0:
        digits = digits.rjust(spec.width - len(sign), "0")
    return _padded(spec._replace(flags=spec.flags.replace("0", "")), sign + shown + digits)


def _fraction(spec: _Spec, value: float) -> str:
    if spec.precision < 0 and spec.verb in "gG":
        text = float_text(value)
        text = text.upper() if spec.verb == "G" else text
    else:
        precision = 6 if spec.precision < 0 else min(spec.precision, 1000)
        text = f"{value:.{precision}{spec.verb}}"
        text = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text.lower(), text)
    digits = text.lstrip("+-")
    sign = _sign(spec, text.startswith("-")) or text[: text.startswith("+")]
    if "0" in spec.flags and "-" not in spec.flags and digits[:1].isdecimal():
        digits = digits.rjust(spec.width - len(sign), "0")
    return _padded(spec._replace(flags=spec.flags.replace("0", "")), sign + digits)


def _sign(spec: _Spec, negative: bool) -> str:
    return "-" if negative else "+" if "+" in spec.flags else " " if " " in spec.flags else ""


def _padded(spec: _Spec, text: str) -> str:
    if "-" in spec.flags:
        return text.ljust(spec.width)
    return text.rjust(spec.width, "0" if "0" in spec.flags else " ")


def quoted(text: str) -> str:
    """Return a text as a Go string. Mirrors: strconv.Quote."""
    return f'"{"".join(_escaped(char) for char in text)}"'


def _escaped(char: str) -> str:
    code = ord(char)
    if code in _ESCAPES:
        return _ESCAPES[code]
    if char.isprintable():
        return char
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _quoted_rune(code: int) -> str:
    inner = "\\'" if code == 39 else '"' if code == 34 else _escaped(chr(code))
    return f"'{inner}'"
