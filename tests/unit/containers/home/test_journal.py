"""The journal of events: whole lines beside many writers, a bounded size, and readers that miss nothing."""

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from firkin.containers.home.journal import EventFilter, follow_events, past_events
from firkin.errors import ContainerError
from firkin.store import journal
from firkin.store.journal import append, event_line, write_line

ID = "ab" * 32


def box(action: str, **attributes: str) -> dict[str, object]:
    known = {"image": "box:1", "name": "web", **attributes}
    return json.loads(event_line("container", action, ID, known, 1_500_000_000))


def _write(path: str, writer: int) -> None:
    for number in range(40):
        write_line(path, json.dumps({"writer": writer, "number": number, "fill": "x" * 200}).encode() + b"\n", 20_000)


def test_lines_of_many_writers_are_whole_and_the_size_is_bounded(tmp_path: Path) -> None:
    path = str(tmp_path / "events.jsonl")
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write, args=(path, number)) for number in range(50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(os.listdir(tmp_path)) in (["events.jsonl", "events.jsonl.1"], ["events.jsonl.1"])
    for name in os.listdir(tmp_path):
        assert (tmp_path / name).stat().st_size < 20_400
        for line in (tmp_path / name).read_bytes().splitlines():
            assert len(json.loads(line)["fill"]) == 200


def test_an_event_has_what_old_and_new_clients_read() -> None:
    assert box("die", exitCode="3") == {
        "status": "die", "id": ID, "from": "box:1", "Type": "container", "Action": "die",
        "Actor": {"ID": ID, "Attributes": {"image": "box:1", "name": "web", "exitCode": "3"}},
        "scope": "local", "time": 1, "timeNano": 1_500_000_000,
    }  # fmt: skip
    assert "status" not in json.loads(event_line("volume", "create", "data", {}, 1))


def test_a_span_of_time_is_replayed_over_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LIMIT_BYTES", 300)
    for number in range(1, 8):
        line = event_line("volume", "create", f"v{number}", {}, number)
        write_line(journal.journal_path(str(tmp_path)), line, 500)
    found = [event["Actor"]["ID"] for event in past_events(str(tmp_path))]
    assert found[-1] == "v7" and found == sorted(found) and len(found) >= 4
    assert [event["Actor"]["ID"] for event in past_events(str(tmp_path), 6, 6)] == ["v6"]


def test_an_event_of_large_labels_goes_without_them(tmp_path: Path) -> None:
    root = str(tmp_path)
    append(root, "container", "create", "one", {"name": "web"}, labels={"a": "b"})
    append(root, "container", "commit", "one", {"name": "web", "comment": "x" * (1 << 20)}, labels={"a": "y" * (10 << 20)})
    first, second = past_events(root)
    assert first["Actor"]["Attributes"] == {"a": "b", "name": "web"}
    assert second["Actor"]["Attributes"] == {"name": "web", "comment": "x" * 4096}


def test_no_journal_is_no_events(tmp_path: Path) -> None:
    assert list(past_events(str(tmp_path))) == []
    assert list(follow_events(str(tmp_path), 0, until_ns=1)) == []


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    append(str(tmp_path), "volume", "create", "one", {})
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"Type": 1}\nnothing\n[' + b"[" * 100_000 + b"\n")
    append(str(tmp_path), "volume", "create", "two", {})
    assert [event["Actor"]["ID"] for event in past_events(str(tmp_path))] == ["one", "two"]


def test_a_follower_misses_nothing_while_the_journal_is_renamed(tmp_path: Path) -> None:
    path = journal.journal_path(str(tmp_path))
    seen: list[str] = []
    ready = threading.Event()

    def follow() -> None:
        events = follow_events(str(tmp_path), 0, time.time_ns() + 20 * 10**9)
        for event in events:
            seen.append(event["Actor"]["ID"])
            ready.set()
            if event["Action"] == "destroy":
                return

    write_line(path, event_line("volume", "create", "first", {}, time.time_ns()))
    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(10)
    for number in range(200):
        write_line(path, event_line("volume", "create", str(number), {}, time.time_ns()), 2000)
        time.sleep(0.001)  # a reader that is slower than two renamings may miss lines, as a ring would
    write_line(path, event_line("volume", "destroy", "last", {}, time.time_ns()))
    thread.join(20)
    assert seen == ["first", *map(str, range(200)), "last"]


@pytest.mark.parametrize(("wanted", "fits"), [
    ({}, True),
    ({"type": ("container",)}, True),
    ({"type": ("image",)}, False),
    ({"event": ("die",)}, True),
    ({"event": ("died",)}, False),
    ({"container": (ID[:12],)}, True),
    ({"container": ("web",)}, True),
    ({"container": ("/web",)}, True),
    ({"container": ("eb",)}, False),
    ({"image": ("box",)}, True),
    ({"image": ("box:1",)}, True),
    ({"image": ("box:2",)}, False),
    ({"label": ("tier=gold", "name")}, True),
    ({"label": ("tier=tin",)}, False),
    ({"event": ("start", "die"), "type": ("container",)}, True),
    ({"event": ("die",), "type": ("volume",)}, False),
    ({"scope": ("local",)}, True),
])  # fmt: skip
def test_filters(wanted: dict[str, tuple[str, ...]], fits: bool) -> None:
    assert EventFilter(wanted).fits(box("die", tier="gold")) is fits


def test_actions_with_a_value_are_found_by_their_beginning() -> None:
    for action in ("health_status: healthy", "exec_create: sh -c true", "exec_start: sh"):
        assert EventFilter({"event": (action.partition(":")[0],)}).fits(box(action))
    assert EventFilter({"event": ("health_status: healthy",)}).fits(box("health_status: healthy"))
    assert not EventFilter({"event": ("exec",)}).fits(box("exec_create: sh"))


def test_an_unknown_filter_is_an_error() -> None:
    with pytest.raises(ContainerError, match="invalid filter 'died'") as caught:
        EventFilter({"died": ("1",)})
    assert caught.value.kind == "invalid"
