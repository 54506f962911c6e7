"""What images, archives and registries say reaches a terminal without its power over it, and a pipe as it is."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from firkin.cli.run import write_message, write_out
from firkin.cli.store import warn_plainly
from firkin.render.text import safe_lines

HOSTILE = "\x1b]0;title\x07a\x1b[2J\x9b31m\u202eb\x08\rc\td\n\x1b[31me\x1b[0m"


def on_terminal(descriptor: int, write: Callable[[], None]) -> str:
    """Return what a function writes to one of its standard descriptors, which is a terminal meanwhile."""
    primary, secondary = os.openpty()
    kept = os.dup(descriptor)
    try:
        os.dup2(secondary, descriptor)
        write()
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(secondary)
    try:
        return os.read(primary, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(primary)


@pytest.mark.parametrize("descriptor, write", [
    (1, write_out), (2, write_message), (2, lambda text: warn_plainly("code", text)),
])  # fmt: skip
def test_on_a_terminal_nothing_moves_the_cursor(descriptor: int, write: Callable[[str], None]) -> None:
    shown = on_terminal(descriptor, lambda: write(HOSTILE))
    assert "c\td\n\x1b[31me\x1b[0m" in shown
    assert not {"\x07", "\x08", "\r", "\x9b", "\u202e"} & set(shown) and "\x1b]" not in shown and "[2J" not in shown


def test_a_pipe_gets_what_was_said(capfd: pytest.CaptureFixture[str]) -> None:
    write_out("\x1b[2Ja\tb\x9b\n")
    assert capfd.readouterr().out == "\x1b[2Ja\tb\x9b\n"


def test_lines_and_tabs_stay() -> None:
    assert safe_lines("a\tb\n\n{\n    \"c\": 1\n}\n") == "a\tb\n\n{\n    \"c\": 1\n}\n"
