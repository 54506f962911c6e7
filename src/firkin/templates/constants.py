"""Reads the strings and numbers of templates. Pure. Spec: https://go.dev/ref/spec, Literals."""

from __future__ import annotations

_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}
_DIGITS = {"x": 2, "u": 4, "U": 8}
_HEX = frozenset("0123456789abcdefABCDEF")
_OCTAL = frozenset("01234567")
_INT64 = 1 << 63


def unquote(text: str) -> str:
    """Return the value of a string with its quotes; bytes that are not UTF-8 become U+FFFD. Raises ValueError."""
    quote, inner = text[0], text[1:-1]
    if quote == "`":
        return inner.replace("\r", "")
    if "\\" not in inner:
        return inner
    value = bytearray()
    at = 0
    while at < len(inner):
        if inner[at] != "\\":
            value += inner[at].encode("utf-8", "surrogatepass")
            at += 1
        else:
            piece, at = _escape(inner, at + 1, quote)
            value += piece
    return value.decode("utf-8", "replace")


def _escape(text: str, at: int, quote: str) -> tuple[bytes, int]:
    """Return what the escape sequence after a backslash means, and where it ends."""
    kind = text[at : at + 1]
    if kind in _DIGITS:
        end = at + 1 + _DIGITS[kind]
        number = _digits(text[at + 1 : end], _DIGITS[kind], 16)
        if 0xD800 <= number < 0xE000:
            raise ValueError("invalid syntax")
        return bytes([number]) if kind == "x" else chr(number).encode(), end
    if kind in _OCTAL:
        return bytes([_digits(text[at : at + 3], 3, 8)]), at + 3
    if kind not in _ESCAPES or (kind in "'\"" and kind != quote):
        raise ValueError("invalid syntax")
    return bytes([_ESCAPES[kind]]), at + 1


def _digits(digits: str, count: int, base: int) -> int:
    allowed = _HEX if base == 16 else _OCTAL
    number = int(digits, base) if len(digits) == count and allowed.issuperset(digits) else -1
    if not 0 <= number <= (0xFF if count < 4 else 0x10FFFF):
        raise ValueError("invalid syntax")
    return number


def character(text: str) -> int:
    """Return the number of a character constant such as `'a'`. Raises ValueError."""
    value = unquote(text)
    if len(value) != 1:
        raise ValueError("malformed character constant")
    return ord(value)


def number(text: str) -> int | float:
    """Return the number that Go reads. Raises ValueError."""
    digits = text.lstrip("+-")
    if not 0 < len(digits) <= 100 or len(text) - len(digits) > 1 or digits.endswith("i"):
        raise ValueError("invalid syntax")
    lower = digits.lower()
    if not lower.startswith("0x") and any(char in lower for char in ".ep"):
        value = float(text)
        if value - value != 0:
            raise ValueError("out of range")
        return value
    # Go writes octal numbers with a leading zero as well.
    whole = f"0o{digits[1:]}" if digits[0] == "0" and digits[1:2].isdecimal() else digits
    integer = int(whole, 0)
    integer = -integer if text[0] == "-" else integer
    if not -_INT64 <= integer < _INT64:
        raise ValueError("overflows int")
    return integer
