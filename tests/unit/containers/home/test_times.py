"""Times as the Engine API has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.home.times import time_ns, time_text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000_120_000_000, "2017-07-14T02:40:00.12Z"),
        (1_500_000_000_000_000_001, "2017-07-14T02:40:00.000000001Z"),
    ],
)
def test_zeros_at_the_end_are_left_out(ns: int, text: str) -> None:
    assert time_text(ns) == text


@given(st.integers(0, 250_000_000_000 * 10**9))
def test_a_text_is_read_as_the_time_it_was_made_of(ns: int) -> None:
    assert time_ns(time_text(ns)) == ns
