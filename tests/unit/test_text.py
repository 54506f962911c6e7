"""What strangers write, made fit for encoders and the kernel."""

import pytest

from firkin.errors import ContextError
from firkin.events import Planned, encode_line
from firkin.source import Source
from firkin.text import hide_passwords, is_valid, valid_text, whole_number
from firkin.worker.messages import failure_of


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ADD https://me:pw@host/x?y=a@b /x", "ADD https://xxxxx@host/x?y=a@b /x"),
        ("ADD http://token@host:80 HTTPS://a:b@c@d/ /x", "ADD http://xxxxx@host:80 HTTPS://xxxxx@d/ /x"),
        ("ADD ssh://git@host/x git@host:x https://host/a@b /x", "ADD ssh://git@host/x git@host:x https://host/a@b /x"),
        ("ADD ssh://git:pw@host/x /", "ADD ssh://xxxxx@host/x /"),
        ('["https://a:b@c/d", "e"]', '["https://xxxxx@c/d", "e"]'),
        ("fetch https://h/x?X-Amz-Signature=ab&n=1#a@b", "fetch https://h/x?X-Amz-Signature=xxxxx&n=1#a@b"),
        ("https://h/?TOKEN=ab&token&page=2", "https://h/?TOKEN=xxxxx&token&page=2"),
        ("fetch https://h/x?sig=ab: refused, https://a:b@c.", "fetch https://h/x?sig=xxxxx: refused, https://xxxxx@c."),
        ("cannot fetch `https://a:b@c`: no route", "cannot fetch `https://xxxxx@c`: no route"),
        ("line https://a:b@c\nnext@line", "line https://xxxxx@c\nnext@line"),
        ("https://", "https://"),
        ("a://b://c:d@e", "a://b://xxxxx@e"),
        ("no address: user:pw@host", "no address: user:pw@host"),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown
    assert hide_passwords(shown) == shown


def test_errors_and_sources_show_no_passwords() -> None:
    cause = ValueError("bad answer of https://me:hunter2@host")
    error = ContextError("cannot fetch https://me:hunter2@host/x", hints=("try https://me:hunter2@mirror",))
    error.__cause__ = cause
    source = Source("Dockerfile", "FROM scratch\nADD https://me:hunter2@host/x /\n")
    line = encode_line(failure_of(error)) + encode_line(Planned(0.0, (), source.shown()))
    assert b"hunter2" not in line and line.count(b"xxxxx") >= 4
    assert source.shown().text.count("\n") == source.text.count("\n")
