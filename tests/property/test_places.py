"""Any word is a place, which is written as it was read, or a UsageError."""

from hypothesis import given
from hypothesis import strategies as st

from firkin.errors import UsageError
from firkin.images.copy.places import TRANSPORTS, Place, parse_place

names = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8})?(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8})?", fullmatch=True)
paths = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.text(max_size=60) | st.builds("{}:{}".format, st.sampled_from(TRANSPORTS), st.text(max_size=40)))
def test_arbitrary_text_raises_only_usage_errors(text: str) -> None:
    try:
        place = parse_place(text)
    except UsageError:
        return
    assert parse_place(str(place) if place.transport != "docker" else text) == place


@given(st.sampled_from(("oci", "oci-archive", "docker-archive")), paths, names | st.none(), st.integers(0, 1000))
def test_places_in_files_survive(transport: str, path: str, name: str | None, number: int) -> None:
    place = Place(transport, path, name or "", None if name else number)  # type: ignore[arg-type]
    assert parse_place(str(place)) == place
