"""What a state is in words, letter by letter docker's."""

import pytest

from firkin.containers.documents.record import Health, State
from firkin.containers.documents.status import health_of, status_words
from firkin.text import seconds_of

THEN = "2026-01-02T03:04:05.123456789Z"
NOW_S = (seconds_of(THEN) or 0) + 125


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(), "Created"),
        (State(running=True, started_at=THEN), "Up 2 minutes"),
        (State(running=True, started_at=THEN, health=Health()), "Up 2 minutes (health: starting)"),
        (State(running=True, started_at=THEN, health=Health("healthy")), "Up 2 minutes (healthy)"),
        (State(running=True, started_at=THEN, health=Health("unhealthy")), "Up 2 minutes (unhealthy)"),
        (State(running=True, paused=True, started_at=THEN, health=Health("healthy")), "Up 2 minutes (Paused)"),
        (
            State(running=True, restarting=True, started_at=THEN, finished_at=THEN, exit_code=3),
            "Restarting (3) 2 minutes ago",
        ),
        (State(started_at=THEN, finished_at=THEN, exit_code=137), "Exited (137) 2 minutes ago"),
        (State(started_at=THEN, finished_at=THEN, health=Health("unhealthy")), "Exited (0) 2 minutes ago"),
        (State(started_at=THEN, dead=True), "Dead"),
        (State(dead=True, error="its record cannot be read"), "Dead (its record cannot be read)"),
        (State(started_at=THEN, removing=True), "Removal In Progress"),
    ],
)
def test_words(state, words):
    assert status_words(state, NOW_S) == words


def test_a_clock_that_went_back_is_no_negative_time():
    assert status_words(State(running=True, started_at=THEN), NOW_S - 1000) == "Up Less than a second"


def test_health():
    assert health_of(State()) == "none"
    assert health_of(State(health=Health("healthy"))) == "healthy"
