"""Sizes, durations and times as go-units and Go have them."""

import time

import pytest

from firkin.render.units import ago, binary_size, go_time, rfc3339, short_id, size3, size4
from firkin.text import duration, seconds_of

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(("size", "three", "four"), [
    (0, "0B", "0B"), (999, "999B", "999B"), (1000, "1kB", "1kB"), (13_300, "13.3kB", "13.3kB"),
    (1_234_567, "1.23MB", "1.235MB"), (999_500_000, "1e+03MB", "999.5MB"), (1 << 40, "1.1TB", "1.1TB"),
    (10**27, "1e+03YB", "1000YB"),
])  # fmt: skip
def test_sizes(size, three, four):
    assert (size3(size), size4(size)) == (three, four)


def test_binary_sizes():
    assert [binary_size(size) for size in (0, 1023, 1 << 20, 8_321_499_136)] == ["0B", "1023B", "1MiB", "7.75GiB"]


@pytest.mark.parametrize(("seconds", "text"), [
    (-5, "Less than a second"), (0.9, "Less than a second"), (1, "1 second"), (59.9, "59 seconds"), (60, "About a minute"),
    (119, "About a minute"), (59 * MINUTE, "59 minutes"), (HOUR, "About an hour"), (1.49 * HOUR, "About an hour"),
    (1.5 * HOUR, "2 hours"), (47.4 * HOUR, "47 hours"), (2 * DAY, "2 days"), (13.9 * DAY, "13 days"),
    (14 * DAY, "2 weeks"), (59 * DAY, "8 weeks"), (60 * DAY, "2 months"), (729 * DAY, "24 months"), (730 * DAY, "2 years"),
    (56 * 365 * DAY, "56 years"),
])  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
    assert ago(seconds) == f"{text} ago"


def test_ids():
    assert short_id("sha256:" + "0123456789abcdef" * 4) == "0123456789ab"
    assert short_id("0123456789abcdef") == "0123456789ab"


@pytest.fixture(params=["UTC", "Asia/Kathmandu"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_times_are_in_the_local_zone(zone):
    there = zone != "UTC"
    assert go_time(1704207845) == ("2024-01-02 20:49:05 +0545 +0545" if there else "2024-01-02 15:04:05 +0000 UTC")
    assert rfc3339(1704207845.9) == ("2024-01-02T20:49:05+05:45" if there else "2024-01-02T15:04:05Z")


@pytest.mark.parametrize(("text", "seconds"), [
    ("2024-01-02T15:04:05Z", 1704207845), ("2024-01-02T15:04:05.123456789Z", 1704207845.123456),
    ("2024-01-02T16:04:05+01:00", 1704207845), ("0001-01-01T00:00:00Z", None), ("", None), ("soon", None),
])  # fmt: skip
def test_times_of_images(text, seconds):
    assert seconds_of(text) == seconds


def test_a_time_outside_of_the_calendar_is_an_error():
    with pytest.raises(ValueError):
        go_time(1e15)
