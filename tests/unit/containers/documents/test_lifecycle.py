"""States of containers: what they are called, and what calls and policies do in them."""

import pytest

from firkin.containers.documents.lifecycle import Status, answer, restarts, restored, status_of
from firkin.containers.documents.record import State

STARTED = "2026-01-01T00:00:00Z"
STATES: dict[Status, State] = {
    "created": State(),
    "running": State(running=True, started_at=STARTED),
    "paused": State(running=True, paused=True, started_at=STARTED),
    "restarting": State(running=True, restarting=True, started_at=STARTED),
    "exited": State(started_at=STARTED),
    "removing": State(removing=True, started_at=STARTED),
    "dead": State(dead=True),
}


@pytest.mark.parametrize("status", STATES)
def test_flags_are_a_status(status: Status) -> None:
    assert status_of(STATES[status]) == status


@pytest.mark.parametrize(
    ("call", "done", "nothing"),
    [
        ("start", {"created", "exited"}, {"running", "restarting"}),
        ("stop", {"running", "paused", "restarting"}, {"created", "exited", "removing", "dead"}),
        ("kill", {"running", "paused", "restarting"}, set()),
        ("pause", {"running"}, set()),
        ("unpause", {"paused"}, set()),
        ("remove", {"created", "exited", "dead"}, set()),
        ("exec", {"running"}, set()),
    ],
)
def test_calls(call: str, done: set[str], nothing: set[str]) -> None:
    answers = {status: answer(call, state) for status, state in STATES.items()}
    assert {status for status, said in answers.items() if said == "do"} == done
    assert {status for status, said in answers.items() if said == "nothing"} == nothing


@pytest.mark.parametrize(
    ("policy", "most", "state", "again"),
    [
        ("no", 0, State(exit_code=1), False),
        ("always", 0, State(by_hand=True), True),
        ("unless-stopped", 0, State(by_hand=True), False),
        ("unless-stopped", 0, State(), True),
        ("on-failure", 0, State(exit_code=0), False),
        ("on-failure", 0, State(exit_code=1, retries=99), True),
        ("on-failure", 3, State(exit_code=1, retries=2), True),
        ("on-failure", 3, State(exit_code=1, retries=3), False),
    ],
)
def test_policies(policy: str, most: int, state: State, again: bool) -> None:
    assert restarts(policy, most, state) is again


@pytest.mark.parametrize(
    ("policy", "fields", "again"),
    [
        ("always", {"by_hand": True}, True),
        ("unless-stopped", {"by_hand": True}, False),
        ("on-failure", {"exit_code": 255}, True),
        ("on-failure", {"exit_code": 255, "by_hand": True}, False),
        ("no", {}, False),
        ("always", {"removing": True}, False),
        ("always", {"started_at": State().started_at}, False),
    ],
)
def test_after_the_machine_was_down(policy: str, fields: dict[str, object], again: bool) -> None:
    assert restored(policy, 3, State(**{"started_at": STARTED, **fields})) is again  # type: ignore[arg-type]
