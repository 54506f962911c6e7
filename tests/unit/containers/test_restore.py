"""Which containers are started when the machine is, and in which order."""

import pytest

from firkin.containers.documents.config import Config, HostConfig
from firkin.containers.documents.lifecycle import restored
from firkin.containers.documents.record import Record, State
from firkin.containers.restore import in_order

RUN = State(started_at="2026-01-01T00:00:00Z", finished_at="2026-01-02T00:00:00Z")


def record(name: str, created: str, **modes: str) -> Record:
    return Record(1, name * 64, name, created, "sha256:0", Config(), HostConfig(**modes), "sh", (), ())


def names(*records: Record) -> str:
    return "".join(each.name for each in in_order(records))


def test_the_oldest_starts_first() -> None:
    assert names(record("b", "2"), record("c", "3"), record("a", "1")) == "abc"


@pytest.mark.parametrize("mode", ["network_mode", "pid_mode", "ipc_mode"])
@pytest.mark.parametrize("named", ["c", "c" * 64])
def test_those_that_others_join_start_before_them(mode: str, named: str) -> None:
    joins_c, c = record("a", "1", **{mode: f"container:{named}"}), record("c", "3")
    joins_a = record("0", "0", pid_mode="container:a")
    assert names(joins_a, joins_c, record("b", "2"), c) == "ca0b"


def test_a_circle_and_a_missing_one_hold_nobody_up() -> None:
    a, b = record("a", "1", ipc_mode="container:b"), record("b", "2", ipc_mode="container:a")
    assert sorted(names(a, b, record("c", "3", pid_mode="container:gone"))) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("policy", "changes", "starts"),
    [
        ("always", {"by_hand": True}, True),
        ("unless-stopped", {"by_hand": True}, False),
        ("unless-stopped", {"exit_code": 0}, True),
        ("on-failure", {"exit_code": 0}, False),
        ("on-failure", {"exit_code": 255}, True),
        ("on-failure", {"exit_code": 255, "retries": 2}, True),
        ("on-failure", {"exit_code": 255, "retries": 3}, False),
        ("always", {"exit_code": 255, "retries": 3}, True),
        ("no", {"exit_code": 255}, False),
        ("always", {"started_at": State().started_at}, False),
        ("always", {"removing": True}, False),
    ],
)
def test_policies(policy: str, changes: dict[str, object], starts: bool) -> None:
    import msgspec

    assert restored(policy, 3, msgspec.structs.replace(RUN, **changes)) is starts
