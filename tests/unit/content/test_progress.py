"""The bytes of a base image are shown under its FROM, from the first to the last."""

import pytest

from firkin.content.progress import FetchProgress
from firkin.errors import Cancelled, RegistryError
from firkin.events import Finished, Started
from firkin.oci.digest import Digest

ONE, TWO, OTHER = Digest("sha256:1"), Digest("sha256:2"), Digest("sha256:3")


@pytest.fixture
def events():
    return []


@pytest.fixture
def fetching(events):
    made = FetchProgress(events.append, lambda: 5.0)
    made.belongs(ONE, "base")
    made.belongs(TWO, "base")
    return made


def test_a_blob_is_shown_under_the_base_that_claimed_it_first(fetching):
    fetching.belongs(ONE, "another")
    assert fetching.vertex(ONE, "waiting") == "base"
    assert fetching.vertex(OTHER, "waiting") == "waiting"


def test_a_base_begins_once_and_ends_once_however_many_layers_move(fetching, events):
    with fetching.shown((ONE, TWO, OTHER)):
        with fetching.shown((ONE,)), fetching.shown((TWO,)):
            pass
        assert events == [Started(5.0, "base")]
    assert events == [Started(5.0, "base"), Finished(5.0, "base", "done")]
    with fetching.shown((OTHER,)):
        pass
    assert len(events) == 2
    with fetching.shown((ONE,)):  # later, another step needs more of it
        pass
    assert len(events) == 4


@pytest.mark.parametrize(("error", "status"), [
    (RegistryError("gone"), "failed"), (Cancelled("stopped"), "cancelled"), (KeyError("x"), "failed"),
])
def test_what_ends_the_fetch_ends_the_line(fetching, events, error, status):
    with pytest.raises(type(error)), fetching.shown((ONE,)):
        raise error
    assert [event.status for event in events if isinstance(event, Finished)] == [status]
