"""When a container is probed and what that makes of its health, by a clock that is handed in."""

from typing import Any

import pytest

from firkin.containers.monitor.health import Health, duration_text, shortened, timeout_text

SETTINGS = {"interval": 30.0, "timeout": 5.0, "start_period": 0.0, "start_interval": 2.0, "retries": 3}


def made(old: dict[str, Any] | None = None, **changes: float) -> Health:
    health = Health({**SETTINGS, **changes}, old)
    health.begin(100.0)
    return health


def probe(health: Health, at: float, code: int) -> str:
    return health.probed(at, {"Start": "", "End": "", "ExitCode": code, "Output": str(at)})


def test_the_first_success_makes_it_healthy_and_only_changes_are_told() -> None:
    health = made()
    assert health.document["Status"] == "starting"
    assert [probe(health, 130, 0), probe(health, 160, 0), probe(health, 190, 1)] == ["healthy", "", ""]
    assert health.document["FailingStreak"] == 1
    assert probe(health, 220, 0) == ""
    assert health.document["FailingStreak"] == 0


def test_as_many_failures_as_retries_in_a_row_make_it_unhealthy_and_one_success_healthy_again() -> None:
    health = made()
    assert [probe(health, 100 + at, 1) for at in (1, 2, 3, 4)] == ["", "", "unhealthy", ""]
    assert health.document["FailingStreak"] == 4
    assert probe(health, 105, 0) == "healthy"


def test_failures_in_the_start_period_do_not_count_before_the_first_success() -> None:
    health = made(start_period=60.0, retries=1)
    assert [probe(health, at, 1) for at in (110, 120, 159.9)] == ["", "", ""]
    assert health.document["FailingStreak"] == 0
    assert probe(health, 160, 1) == "unhealthy"


def test_failures_in_the_start_period_count_after_a_success() -> None:
    health = made(start_period=60.0, retries=1)
    assert [probe(health, 110, 0), probe(health, 120, 1)] == ["healthy", "unhealthy"]


def test_the_start_interval_is_for_starting_in_the_start_period_only() -> None:
    health = made(start_period=60.0)
    assert [health.interval(100), health.interval(159), health.interval(160)] == [2.0, 2.0, 30.0]
    probe(health, 110, 0)
    assert health.interval(111) == 30.0


def test_five_probes_are_kept_and_a_new_start_keeps_them() -> None:
    health = made()
    for at in range(8):
        probe(health, at, 0)
    assert [entry["Output"] for entry in health.document["Log"]] == ["3", "4", "5", "6", "7"]
    again = made(health.document)
    assert (again.document["Status"], len(again.document["Log"])) == ("starting", 5)


def test_an_end_or_a_pause_is_unhealthy() -> None:
    health = made()
    probe(health, 110, 0)
    health.stop()
    assert health.document["Status"] == "unhealthy"


def test_output_is_cut() -> None:
    assert shortened(b"x" * 4096) == "x" * 4096
    assert shortened(b"x" * 4097) == "x" * 4096 + "..."
    assert timeout_text(30, b"") == "Health check exceeded timeout (30s)"


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "250ms"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s")])
def test_durations_are_as_go_prints_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
