"""Parts of the monitor that take and return values: frames, JSON, times, back-off, policies."""

import ast
import itertools
import json
from pathlib import Path

import pytest
from support.places import REPOSITORY

from firkin.containers.documents import lifecycle
from firkin.containers.documents.record import State
from firkin.containers.link import program
from firkin.containers.monitor import clock, wire
from firkin.sandbox import parts

SOURCE = REPOSITORY / "src/firkin"


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    sent = [(1, b"hello"), (2, b""), (16, b"x" * 70000)]
    stream = b"".join(wire.frame(kind, payload) for kind, payload in sent)
    for step in (1, 7, 8, 4096, len(stream)):
        frames = wire.Frames()
        found = [each for start in range(0, len(stream), step) for each in frames.feed(stream[start : start + step])]
        assert found == sent


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        wire.Frames().feed(b"\0\0\0\0\xff\xff\xff\xff")


def test_json_is_what_the_module_json_understands() -> None:
    value = {"a": [1, 2.5, None, True, "ü\n\"\\\u2028"], "b": {"c": {}}}
    assert json.loads(wire.to_json(value)) == value
    assert wire.from_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a"', "\x00", '{"a": tru}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        wire.from_json(text.encode())


def test_times_have_nine_digits_in_logs_and_go_form_in_states() -> None:
    assert clock.time_text(1_500_000_000_000_000_001) == "2017-07-14T02:40:00.000000001Z"
    assert clock.short_time_text(1_500_000_000_120_000_000) == "2017-07-14T02:40:00.12Z"
    assert clock.short_time_text(1_500_000_000_000_000_000) == "2017-07-14T02:40:00Z"


def test_the_text_of_a_second_is_kept_for_that_second_alone() -> None:
    second = 1_500_000_000
    times = [(second, 0), (second, 999_999_999), (second + 1, 0), (second, 5), (0, 0)]
    assert [clock.time_text(at * 1_000_000_000 + ns) for at, ns in times] == [
        "2017-07-14T02:40:00.000000000Z", "2017-07-14T02:40:00.999999999Z", "2017-07-14T02:40:01.000000000Z",
        "2017-07-14T02:40:00.000000005Z", "1970-01-01T00:00:00.000000000Z",
    ]  # fmt: skip


def test_back_off_doubles_to_a_minute_and_begins_anew_after_a_long_run() -> None:
    waits = [0.0]
    for _ in range(12):
        waits.append(clock.next_wait(waits[-1], 0.5))
    assert waits[1:5] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == waits[-2] == 60
    assert clock.next_wait(60, 10.0) == 0.1
    assert clock.next_wait(60, 9.9) == 60


def test_the_monitor_restarts_when_the_table_of_states_says_so() -> None:
    policies = ("", "no", "always", "unless-stopped", "on-failure")
    for name, most, code, retries, by_hand in itertools.product(policies, (0, 2), (0, 1), (0, 2), (False, True)):
        state = State(exit_code=code, retries=retries, by_hand=by_hand)
        assert clock.wants_restart(name, most, code, retries, by_hand) == lifecycle.restarts(name, most, state)


def test_no_part_redefines_a_name_of_another() -> None:
    """All parts are loaded into one set of global names. A twin, of a part that others run without, may do the same."""
    owners: dict[str, tuple[str, str]] = {}
    paths = [Path(path) for path in parts.FOR_CONTAINERS]
    paths += [SOURCE / "linux" / f"{name}.py" for name in program._SHARED]
    paths += [SOURCE / "containers" / "monitor" / f"{name}.py" for name in program._PARTS]
    for path in paths:
        for node in ast.parse(path.read_text()).body:
            names = [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
            if isinstance(node, ast.Assign):
                names = [each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)]
            elif isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                del node.body[0]
            for name in names:
                if name != "TYPE_CHECKING":
                    owner, does = owners.setdefault(name, (path.name, ast.dump(node)))
                    assert owner == path.name or does == ast.dump(node), f"{name}: {owner} and {path.name}"
