"""Two keys differ exactly where a difference is told, and records of them compare as they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firkin.builder.graph.explain import differences, explain, in_words
from firkin.builder.graph.key import Part
from firkin.builder.history.redact import Redactor, kept_parts

NAMES = ("op", "command", "environment", "workdir", "files", "mounted files", "root", "mount", "destination", "odd")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
PARTS = st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=8).map(tuple)
KEY = b"k" * 32
REDACTOR = Redactor([b"secret"], (("TOKEN", "hunter2"),))


@given(PARTS, PARTS)
def test_a_difference_is_found_exactly_if_there_is_one(old: tuple[Part, ...], new: tuple[Part, ...]) -> None:
    assert bool(differences(old, new)) == (old != new)
    assert differences(old, old) == ()
    assert all(in_words(difference) for difference in differences(old, new))
    assert bool(explain(old, new)) == (old != new)


@given(PARTS, PARTS)
def test_kept_parts_are_equal_exactly_if_the_parts_are(old: tuple[Part, ...], new: tuple[Part, ...]) -> None:
    kept = [kept_parts(parts, KEY, REDACTOR) for parts in (old, new)]
    names = {name for name, value in (*old, *new) if name == "environment" and "=" not in value}
    assert names or (kept[0] == kept[1]) == (old == new)
    assert [name for name, _ in kept[0]] == [name for name, _ in old]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_value_survives(before: bytes, after: bytes) -> None:
    for value in (b"secret", b"hunter2"):
        found = REDACTOR.data(before + value + after)
        assert value not in found or value in before + after or value not in REDACTOR.data(value)
