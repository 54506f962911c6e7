"""Keys that detach: docker's grammar, and what the command gets of what is typed."""

import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.cli.containers.attaching import DEFAULT_KEYS as DEFAULT
from firkin.cli.containers.session import terminal_size
from firkin.cli.terminal import DEFAULT_KEYS, DetachKeys, RawTerminal, parse_keys
from firkin.errors import UsageError


@pytest.mark.parametrize(("text", "keys"), [
    ("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-@", b"\0"), ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
    ("a,b", b"ab"), ("DEL", b"\x7f"), ("ctrl-a,d", b"\x01d"),
])  # fmt: skip
def test_grammar(text, keys):
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-A", "ab", "a,", "ctrl-é", "é"])
def test_what_are_no_keys(text):
    with pytest.raises(UsageError, match="Invalid detach keys"):
        parse_keys(text)


@pytest.mark.parametrize(("pieces", "passed", "detached"), [
    ([b"ls\r"], b"ls\r", False),
    ([b"\x10\x11"], b"", True),
    ([b"ab\x10", b"\x11cd"], b"ab", True),
    ([b"\x10", b"x"], b"\x10x", False),
    ([b"\x10\x10\x11"], b"\x10", True),
    ([b"\x10"], b"", False),
    ([b"\x11\x10"], b"\x11", False),
])
def test_keys_are_kept_back_until_others_follow(pieces, passed, detached):
    keys, got, over = DetachKeys(b"\x10\x11"), b"", False
    for piece in pieces:
        more, over = keys.pass_on(piece)
        got += more
    assert (got, over) == (passed, detached)


@given(st.lists(st.binary(max_size=8), max_size=6))
def test_nothing_is_lost_but_the_keys(pieces):
    """What is passed on and what is kept back are what was typed, in order, up to the keys."""
    keys, got = DetachKeys(b"ab"), b""
    for piece in pieces:
        more, over = keys.pass_on(piece)
        got += more
        if over:
            break
    typed = b"".join(pieces)
    assert typed.startswith(got) and typed[len(got) :][:1] in (b"", b"a")


def test_a_terminal_is_restored():
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with pytest.raises(ZeroDivisionError), RawTerminal(slave):
            raw = termios.tcgetattr(slave)
            assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG) and not raw[1] & termios.OPOST
            raise ZeroDivisionError
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_what_is_no_terminal_stays_as_it_is():
    read_end, write_end = os.pipe()
    with RawTerminal(read_end):
        assert terminal_size(read_end) == (0, 0)
    os.close(read_end)
    os.close(write_end)


def test_the_default_needs_no_parser():
    assert parse_keys(DEFAULT_KEYS) == DEFAULT
