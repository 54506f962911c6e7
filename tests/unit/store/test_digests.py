"""Digests of a context's files: kept from build to build, whatever the order in which they are asked for."""

import os

import pytest

from firkin.store.digests import StoredDigests
from firkin.store.layout import StoreLayout

HEX = "ab" * 32
STAT = (5, -1, 1_700_000_000_000_000_001, 2**63 + 1, 66)


@pytest.fixture
def layout(tmp_path):
    with StoreLayout(str(tmp_path / "store")) as opened:
        yield opened


def test_a_digest_is_found_again_for_the_same_stat_only(layout):
    digests = StoredDigests(layout, "context")
    digests.put("/c/a", *STAT, HEX)
    assert digests.get("/c/a", *STAT) == HEX
    for position in range(5):
        other = list(STAT)
        other[position] += 1
        assert digests.get("/c/a", *other) is None
    assert digests.get("/c/b", *STAT) is None
    digests.save()
    again = StoredDigests(layout, "context")
    assert again.get("/c/a", *STAT) == HEX
    assert StoredDigests(layout, "other context").get("/c/a", *STAT) is None


def test_a_capability_stays_with_its_digest(layout):
    digests = StoredDigests(layout, "context")
    digests.put("/c/ping", *STAT, f"{HEX}+0100000200")
    digests.save()
    assert StoredDigests(layout, "context").get("/c/ping", *STAT) == f"{HEX}+0100000200"


def test_many_directories_in_any_order(layout):
    for known in (StoredDigests(layout, "context"), StoredDigests(layout, "context")):
        for number in range(300):
            path = f"/c/d{number % 100}/f{number}"
            if known.get(path, *STAT) is None:
                known.put(path, *STAT, f"{number:064x}")
        known.save()
    known = StoredDigests(layout, "context")
    assert [known.get(f"/c/d{number % 100}/f{number}", *STAT) for number in range(300)] == [
        f"{number:064x}" for number in range(300)
    ]


def test_names_that_are_no_text_are_not_kept(layout):
    digests = StoredDigests(layout, "context")
    for path in ("/c/\udcff", "/c/\udcff/a", "/c/ä"):
        digests.put(path, *STAT, HEX)
        assert digests.get(path, *STAT) == HEX
    digests.save()
    again = StoredDigests(layout, "context")
    assert [again.get(path, *STAT) for path in ("/c/\udcff", "/c/\udcff/a", "/c/ä")] == [None, None, HEX]


@pytest.mark.parametrize("damage", [b"", b"\x00", b"{}", bytes(100)])
def test_a_damaged_file_is_no_knowledge(layout, damage):
    digests = StoredDigests(layout, "context")
    digests.put("/c/a", *STAT, HEX)
    digests.save()
    (name,) = os.listdir(layout.digests)
    with open(f"{layout.digests}/{name}", "r+b") as file:
        whole = file.read()
        file.seek(0)
        file.truncate()
        file.write(damage or whole.replace(b"\xa1a", b"\xc1a"))
    assert StoredDigests(layout, "context").get("/c/a", *STAT) is None
