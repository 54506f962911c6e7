"""Rules of containers that hold for any input: policies, health, waits, signals, texts of mounts and filters."""

from hypothesis import given
from hypothesis import strategies as st

from firkin.containers.documents.filter import KEYS, read_filter
from firkin.containers.documents.lifecycle import restarts, restored, status_of
from firkin.containers.documents.mount_words import check_target, parse_bind, parse_volumes_from
from firkin.containers.documents.record import ZERO_TIME, State
from firkin.containers.documents.signals import parse_signal
from firkin.containers.monitor.clock import next_wait
from firkin.containers.monitor.health import HEALTHY, STARTING, UNHEALTHY, Health
from firkin.errors import ContainerError

FLAGS = st.booleans()
STATES = st.builds(
    State, running=FLAGS, paused=FLAGS, restarting=FLAGS, removing=FLAGS, dead=FLAGS, by_hand=FLAGS,
    exit_code=st.integers(0, 255), retries=st.integers(0, 9),
    started_at=st.sampled_from((ZERO_TIME, "2026-01-01T00:00:00Z")),
)  # fmt: skip
TEXTS = st.text(st.sampled_from("ab/.:,-=roz\0 ü")) | st.text()


@given(st.sampled_from(("no", "always", "unless-stopped", "on-failure")), st.integers(0, 3), STATES)
def test_a_policy_restarts_only_what_it_may(policy: str, most: int, state: State) -> None:
    again = restarts(policy, most, state)
    if again:
        assert policy != "no"
        assert policy != "on-failure" or (state.exit_code != 0 and (most == 0 or state.retries < most))
        assert policy != "unless-stopped" or not state.by_hand
    if restored(policy, 0, state):
        assert policy != "no" and state.started_at != ZERO_TIME and not state.removing
    assert (status_of(state) in ("running", "paused", "restarting")) is state.running


@given(st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_waits_stay_between_a_tenth_and_a_minute_and_double(runs: list[float]) -> None:
    before = 0.0
    for ran_s in runs:
        wait = next_wait(before, ran_s)
        assert 0.1 <= wait <= 60
        assert wait == (0.1 if before == 0 or ran_s >= 10 else min(60, 2 * before))
        before = wait


@given(st.lists(st.tuples(st.floats(0.1, 20), FLAGS), max_size=30), st.integers(1, 4), st.sampled_from((0, 15, 60)))
def test_health_follows_from_the_last_probes(probes: list[tuple[float, bool]], retries: int, start_period: int) -> None:
    settings = {"interval": 30, "timeout": 30, "start_period": start_period, "start_interval": 5, "retries": retries}
    health = Health(settings, None)
    health.begin(100.0)
    now, streak, status = 100.0, 0, STARTING
    for step, well in probes:
        now += step
        before = status
        if well:
            streak, status = 0, HEALTHY
        elif status != STARTING or now - 100 >= start_period:
            streak += 1
            status = UNHEALTHY if streak >= retries else status
        assert health.probed(now, {"ExitCode": 0 if well else 1}) == (status if status != before else "")
        assert (health.document["Status"], health.document["FailingStreak"]) == (status, streak)
        assert len(health.document["Log"]) <= 5
    health.begin(now)
    assert (health.document["Status"], health.document["FailingStreak"]) == (STARTING, 0)


@given(TEXTS)
def test_any_text_is_a_mount_or_an_error(text: str) -> None:
    try:
        bind = parse_bind(text)
    except ContainerError as error:
        assert error.kind == "invalid"
    else:
        assert bind.target.startswith("/") and bind.target != "/" and ".." not in bind.target.split("/")
        assert check_target(bind.target, "again") == bind.target
    try:
        assert parse_volumes_from(text)[0]
    except ContainerError as error:
        assert error.kind == "invalid"


@given(TEXTS | st.integers().map(str))
def test_any_text_is_a_signal_or_an_error(text: str) -> None:
    try:
        assert 1 <= parse_signal(text) <= 64
    except ContainerError as error:
        assert error.kind == "invalid"


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), st.lists(TEXTS, max_size=3).map(tuple), max_size=4))
def test_any_filters_choose_or_are_refused(values: dict[str, tuple[str, ...]]) -> None:
    try:
        read_filter(values, lambda text, record: False)
    except ContainerError as error:
        assert error.kind == "invalid"
    else:
        assert values.keys() <= set(KEYS)
