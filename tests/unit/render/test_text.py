"""Sizes, times, titles; and strangers' output that must not take a terminal over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.events import Vertex
from firkin.render.text import human_size, safe, stamp, vertex_title


@pytest.mark.parametrize(("size", "text"), [
    (0, "0B"), (999, "999B"), (1000, "1kB"), (12_345, "12.3kB"), (123_456, "123kB"), (999_600, "1MB"),
    (29_100_000, "29.1MB"), (5_000_000_000, "5GB"), (7_200_000_000_000, "7.2TB"),
])
def test_sizes(size, text):
    assert human_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.000"), (0.0123, "0.012"), (0.5, "0.500"), (12.375, "12.38"),
                                               (1234.5, "1234.")])
def test_stamps(seconds, text):
    assert stamp(seconds) == text


def test_titles():
    assert vertex_title(Vertex("1", "RUN npm ci", "build", 2, 5)) == "[build 2/5] RUN npm ci"
    assert vertex_title(Vertex("1", "RUN a\n  b", "", 1, 1)) == "[1/1] RUN a b"
    assert vertex_title(Vertex("1", "load context", "internal")) == "[internal] load context"
    assert vertex_title(Vertex("1", "exporting")) == "exporting"


@pytest.mark.parametrize(("raw", "shown"), [
    ("plain", "plain"), ("a\tb", "a    b"), ("\x1b[2Jgone", "gone"), ("\x1b[1;31mred\x1b[0m", "red"),
    ("10%\r50%\r100%", "100%"), ("line\r", "line"), ("\x1b]0;title\x07text", "text"), ("\x1b]8;;u\x1b\\link", "link"),
    ("\x9b2Jx", "x"), ("bell\x07", "bell"), ("\x1bc", ""), ("\x1b(0x", "x"), ("\x1b", ""), ("\x1b[", ""),
    ("\x1bPdcs\x1b\\after", "after"), ("back\x08space", "backspace"), ("ümläut 漢", "ümläut 漢"), ("\u202eabc", "abc"),
])
def test_output_is_made_safe(raw, shown):
    assert safe(raw) == shown


def test_colours_may_stay_and_are_ended():
    assert safe("\x1b[1;31mred", colours=True) == "\x1b[1;31mred\x1b[0m"
    assert safe("\x1b[2J\x1b[3mx", colours=True) == "\x1b[3mx\x1b[0m"


@given(st.text(alphabet=st.sampled_from("\x1b\x9b[];?0m2JHPX^_\\\x07\r\n abc"), max_size=60))
def test_nothing_that_controls_a_terminal_survives(text):
    assert safe(text).isprintable()
    kept = safe(text, colours=True)
    for part in kept.split("\x1b")[1:]:
        head, m, _ = part.partition("m")
        assert part[0] == "[" and m and set(head[1:]) <= set("0123456789;:")
