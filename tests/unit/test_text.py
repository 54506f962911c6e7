"""What strangers write, made fit for encoders and the kernel."""

import pytest

from firkin.text import is_valid, valid_text, whole_number


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        ("caf\u00e9 \u4f60 \U0001f433".encode(), "caf\u00e9 \u4f60 \U0001f433"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xe2\x82", "\ufffd\ufffd"),  # a character cut short: one for each byte, as in Go
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # half a surrogate pair
        (b"\xff\xfe\0", "\ufffd\ufffd\0"),
    ],
)
def test_bytes_that_are_no_text_are_replaced_one_by_one(raw: bytes, shown: str) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    assert valid_text(text) == shown
    assert is_valid(text) == (text == shown)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("0007", 7),
        ("10", 10),
        ("11", None),
        ("0" * 9000 + "10", 10),
        ("9" * 9000, None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1 ", None),
        ("1_0", None),
        ("\u00b2", None),
        ("\u0661", None),
    ],
)
def test_whole_numbers_are_ascii_digits_within_a_limit(text: str, number: int | None) -> None:
    assert whole_number(text, 10) == number
