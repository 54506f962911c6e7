"""The table of states: what each call does in each of them, and which ends are followed by a start."""

import pytest

from firkin.containers.lifecycle import answer, restarts, restored, status_of
from firkin.containers.record import State

RAN = "2026-01-01T00:00:00Z"
STATES = {
    "created": State(),
    "running": State(running=True, started_at=RAN),
    "paused": State(running=True, paused=True, started_at=RAN),
    "restarting": State(running=True, restarting=True, started_at=RAN),
    "exited": State(started_at=RAN),
    "removing": State(removing=True, started_at=RAN),
    "dead": State(dead=True, started_at=RAN),
}
# HTTP's numbers, as the Engine API answers: 204 done, 304 it is so already, 409 not in this state, 500 cannot.
CODES = {"do": 204, "nothing": 304, "conflict": 409, "fail": 500}
TABLE = {
    #           created running paused restarting exited removing dead
    "start":    (204, 304, 409, 304, 204, 409, 409),
    "stop":     (304, 204, 204, 204, 304, 304, 304),
    "restart":  (204, 204, 204, 204, 204, 500, 500),
    "kill":     (409, 204, 204, 204, 409, 409, 409),
    "pause":    (409, 204, 409, 409, 409, 409, 409),
    "unpause":  (500, 500, 204, 500, 500, 500, 500),
    "remove":   (204, 409, 409, 409, 204, 409, 204),
    "exec":     (409, 204, 409, 409, 409, 409, 409),
    "attach":   (204, 204, 409, 409, 204, 204, 204),
    "logs":     (204, 204, 204, 204, 204, 409, 409),
    "resize":   (409, 204, 204, 409, 409, 409, 409),
    "top":      (409, 204, 204, 409, 409, 409, 409),
    "update":   (204, 204, 204, 204, 204, 500, 500),
    "export":   (204, 204, 204, 204, 204, 409, 409),
    "commit":   (204, 204, 204, 204, 204, 409, 409),
}  # fmt: skip


@pytest.mark.parametrize("call", TABLE)
def test_each_call_in_each_state(call: str) -> None:
    assert tuple(CODES[answer(call, state)] for state in STATES.values()) == TABLE[call]


def test_the_status_follows_from_the_flags_in_one_order() -> None:
    assert {status: status_of(state) for status, state in STATES.items()} == {name: name for name in STATES}
    every = State(running=True, paused=True, restarting=True, removing=True, dead=True)
    assert status_of(every) == "paused"
    assert status_of(State(running=True, restarting=True, removing=True, dead=True)) == "restarting"
    assert status_of(State(removing=True, dead=True)) == "removing"


@pytest.mark.parametrize(
    ("policy", "most", "code", "retries", "by_hand", "again"),
    [
        ("no", 0, 1, 0, False, False),
        ("always", 0, 0, 9, True, True),
        ("unless-stopped", 0, 0, 9, False, True),
        ("unless-stopped", 0, 1, 0, True, False),
        ("on-failure", 0, 0, 0, False, False),
        ("on-failure", 0, 1, 1000, False, True),
        ("on-failure", 3, 1, 2, False, True),
        ("on-failure", 3, 1, 3, False, False),
    ],
)
def test_a_policy_after_an_end(policy: str, most: int, code: int, retries: int, by_hand: bool, again: bool) -> None:
    state = State(exit_code=code, retries=retries, by_hand=by_hand, started_at=RAN)
    assert restarts(policy, most, state) is again


def test_what_never_ran_is_not_started_with_the_machine() -> None:
    for policy in ("always", "unless-stopped", "on-failure"):
        assert restored(policy, State(exit_code=127)) is False
    assert restored("always", State(started_at=RAN, by_hand=True)) is True
