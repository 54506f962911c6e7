"""`--filter`: keys and values, labels, times."""

import time

import pytest

from firkin.cli.filters import parse_filters, parse_when
from firkin.errors import UsageError

KNOWN = ("dangling", "label", "label!", "reference", "until")
NOW = 1_700_000_000.0


def test_values_of_one_key_are_alternatives():
    filters = parse_filters(["reference=a", " Reference = b ", "reference=a", ""], KNOWN)
    assert filters.of("reference") == ("a", "b")
    assert filters.has("reference", "b") and not filters.has("reference", "c") and filters.has("dangling", "anything")


def test_labels_must_all_fit():
    labels = {"a": "1", "b": "2", "empty": ""}
    for words, fit in (
        (["label=a"], True), (["label=a=1", "label=b"], True), (["label=a=2"], False), (["label=a", "label=c"], False),
        (["label!=a"], False), (["label!=c", "label!=a=2"], True), (["label!=c", "label!=b"], False),
        (["label=empty="], True), (["label=a="], False),
    ):  # fmt: skip
        assert parse_filters(words, KNOWN).labels_fit(labels) is fit, words


@pytest.mark.parametrize(("words", "value"), [
    ([], None), (["dangling=true"], True), (["dangling=1"], True), (["dangling=False"], False), (["dangling=0"], False),
])  # fmt: skip
def test_booleans(words, value):
    assert parse_filters(words, KNOWN).flag("dangling") is value


@pytest.mark.parametrize("words", [["dangling=maybe"], ["dangling=true", "dangling=false"]])
def test_what_is_no_boolean_is_an_invalid_filter(words):
    with pytest.raises(UsageError, match="invalid filter 'dangling="):
        parse_filters(words, KNOWN).flag("dangling")


def test_unknown_keys_are_named():
    with pytest.raises(UsageError, match=r"^invalid filter 'x'$") as caught:
        parse_filters(["x=1"], KNOWN)
    assert "dangling, label" in str(caught.value.hints)
    with pytest.raises(UsageError, match="invalid filter 'dangling'") as caught:
        parse_filters(["dangling"], KNOWN)
    assert caught.value.code == "option"  # a malformed option: exit code 125


@pytest.mark.parametrize(("text", "seconds"), [
    ("24h", NOW - 86400), ("1h30m", NOW - 5400), ("1.5h", NOW - 5400), ("300ms", NOW - 0.3), ("2m10s", NOW - 130),
    ("-1h", NOW + 3600), ("7d", NOW - 604800), ("0s", NOW), ("1136073845", 1136073845), ("1136073845.5", 1136073845.5),
    ("0", 0), ("2024-01-02T15:04:05Z", 1704207845), ("2024-01-02T15:04:05.5+01:00", 1704204245.5),
    ("2024-01-02Z", 1704153600), ("2024-01-02T15:04Z", 1704207840),
])  # fmt: skip
def test_times(text, seconds):
    assert parse_when(text, NOW) == pytest.approx(seconds, abs=1e-3)


def test_dates_without_a_zone_are_local(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert parse_when("2024-01-02", NOW) == parse_when("2024-01-02T00:00:00+05:45", NOW)
        assert parse_when("2024-01-02T15", NOW) == parse_when("2024-01-02T15:00:00+05:45", NOW)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "soon", "5", "24", "1x", "h", "1h ", "2024-13-01", "2024-01-02T25:00:00Z", "٣h", "9" * 40])
def test_what_is_no_time(text):
    if text.isascii() and text.isdigit() and len(text) < 3:
        assert parse_when(text, NOW) == int(text)  # Unix seconds, as in docker
        return
    with pytest.raises(UsageError, match="is no time"):
        parse_when(text, NOW)


def test_the_earliest_time_counts():
    assert parse_filters(["until=1h", "until=2h"], KNOWN).before_s(NOW) == NOW - 7200
    assert parse_filters([], KNOWN).before_s(NOW) is None
