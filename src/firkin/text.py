"""Texts and numbers as strangers write them, made fit for encoders and the kernel. Pure; anybody may import it.

What is read as UTF-8 keeps other bytes as surrogates (PEP 383), so that files and their names survive.
No such text can be encoded again as it is: JSON and SQLite get `valid_text` of it.
"""

from __future__ import annotations

LARGEST_ID = 0x7FFFFFFF
"""Of a user or group, as moby/sys/user has it; the kernel has one bit more, and (uid_t)-1 means "leave it"."""
FIRST_S, LATEST_S = -62167219200, 253402300799
"""The first second of the year 0 and the last one of 9999: RFC 3339, so JSON, has no other times."""

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
    """Return the number that ASCII digits write, None for anything else and beyond `largest`.

    Nothing is converted that is longer than it may be: `int` takes up to 4300 digits, slowly.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(largest)):
        return None
    number = int(digits)
    return number if number <= largest else None
