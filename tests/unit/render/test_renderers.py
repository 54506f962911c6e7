"""One stream of events, drawn as lines, as JSON, on a terminal, or not at all."""

import base64
import errno
import json
import os
import re
import threading

import pytest

from firkin.events import (
    Completed,
    Finished,
    Log,
    Planned,
    Progress,
    Started,
    Vertex,
    Warned,
    decode_event,
)
from firkin.render import make_renderer
from firkin.render.trace import MAX_LINE_BYTES, Trace
from firkin.source import Source

T = 1000.0
SOURCE = Source("Dockerfile", "FROM busybox\nRUN make\nRUN test\n")
PLAN = Planned(T, (
    Vertex("b", "FROM busybox", "build", 1, 3, SOURCE.span(1)),
    Vertex("m", "RUN make", "build", 2, 3, SOURCE.span(2)),
    Vertex("t", "RUN test", "build", 3, 3, SOURCE.span(3)),
), SOURCE)  # fmt: skip
DONE = Completed(T + 5, "sha256:" + "a" * 64, "sha256:" + "b" * 64, ("docker.io/library/app:1",), 12_300_000, 4.9)


def draw(name: str, *events, failed: bool = False, terminal: bool = False) -> bytes:
    """Return what a renderer writes about events; a number stands for a tick at that time."""
    read_end, write_end = os.pipe()
    chunks: list[bytes] = []

    def collect() -> None:
        while data := os.read(read_end, 65536):
            chunks.append(data)

    reader = threading.Thread(target=collect)
    reader.start()
    try:
        renderer = make_renderer(name, write_end, terminal=terminal)
        for event in events:
            if isinstance(event, float):
                renderer.tick(event)
            else:
                renderer.event(event)
        renderer.close(failed)
        renderer.close(failed)
        assert [source.name for source in renderer.sources()] == ["Dockerfile"]
    finally:
        os.close(write_end)
        reader.join()
        os.close(read_end)
    return b"".join(chunks)


def test_plain_lines_of_one_build():
    assert draw(
        "plain", PLAN,
        Finished(T, "b", "cached"),
        Started(T + 1, "m"), Log(T + 1.25, "m", "stdout", b"gcc a\ngcc b"), Log(T + 1.5, "m", "stdout", b".c\n"),
        Log(T + 2, "m", "stderr", b"no line end"), Finished(T + 2.5, "m", "done"),
        Started(T + 3, "t"), Finished(T + 3.25, "t", "failed", "exit code: 2"),
        failed=True,
    ).decode() == """#1 [build 1/3] FROM busybox
#1 CACHED

#2 [build 2/3] RUN make
#2 0.250 gcc a
#2 0.500 gcc b.c
#2 1.500 no line end
#2 DONE 1.5s

#3 [build 3/3] RUN test
#3 ERROR: exit code: 2
"""  # fmt: skip


def test_the_final_line_names_image_digest_size_and_time():
    text = draw("plain", PLAN, Finished(T, "b", "cached"), DONE).decode()
    assert text.endswith(f"\nbuilt docker.io/library/app:1 sha256:{'a' * 64} 12.3MB compressed in 4.9s\n")


def test_parallel_steps_do_not_interleave():
    text = draw(
        "plain", PLAN, Started(T, "m"), Log(T, "m", "stdout", b"m1\n"), Started(T, "t"), Log(T, "t", "stdout", b"t1\n"),
        Log(T + 1, "m", "stdout", b"m2\n"), Finished(T + 2, "t", "done"), Log(T + 2, "m", "stdout", b"m3\n"),
        Finished(T + 2.5, "m", "done"),
    ).decode()  # fmt: skip
    assert [line.split()[-1] for line in text.splitlines() if line] == [
        "make", "m1", "m2", "m3", "2.5s", "test", "t1", "2.0s"]


def test_a_step_that_talks_for_long_lets_others_speak():
    text = draw(
        "plain", PLAN, Started(T, "m"), Log(T, "m", "stdout", b"m1\n"), Started(T, "t"), Log(T, "t", "stdout", b"t1\n"),
        T + 10, Log(T + 11, "m", "stdout", b"m2\n"),
    ).decode()  # fmt: skip
    assert text.splitlines() == ["#1 [build 2/3] RUN make", "#1 0.000 m1", "", "#2 [build 3/3] RUN test", "#2 0.000 t1",
                                 "", "#1 [build 2/3] RUN make", "#1 11.00 m2"]  # fmt: skip


def test_plain_output_is_exact_in_a_file_and_safe_on_a_terminal():
    events = (PLAN, Started(T, "m"), Log(T, "m", "stdout", b"\xff\x1b[2J\x1b[1mhi\n"), Finished(T, "m", "done"))
    assert b"#1 0.000 \xff\x1b[2J\x1b[1mhi\n" in draw("plain", *events)
    assert "#1 0.000 \ufffd\x1b[1mhi\x1b[0m\n" in draw("plain", *events, terminal=True).decode()


def test_progress_is_shown_now_and_then():
    def at(time: float, current: int) -> Progress:
        return Progress(T + time, "b", "layer", current, 30_000_000)

    text = draw("plain", PLAN, Started(T, "b"), at(0, 0), at(1, 10), at(6, 15_000_000), at(7, 20_000_000),
                at(8, 30_000_000), at(9, 30_000_000), Finished(T + 9, "b", "done")).decode()  # fmt: skip
    assert text.splitlines()[1:] == ["#1 layer 15MB / 30MB 6.0s", "#1 layer 30MB / 30MB 8.0s done", "#1 DONE 9.0s"]


def test_a_base_whose_layers_are_fetched_later_begins_again():
    fetch = [Progress(T + 2, "b", "layer", 1_000, 30_000), Progress(T + 3, "b", "layer", 30_000, 30_000)]
    text = draw("plain", PLAN, Finished(T, "b", "done"), Started(T + 1, "b"), *fetch, Finished(T + 3, "b", "done"),
                Started(T + 3, "m"), Finished(T + 4, "m", "done")).decode()  # fmt: skip
    assert text.splitlines() == [
        "#1 [build 1/3] FROM busybox", "#1 DONE 0.0s", "#1 layer 30kB / 30kB 2.0s done", "#1 DONE 2.0s",
        "", "#2 [build 2/3] RUN make", "#2 DONE 1.0s"]  # fmt: skip


def test_warnings_come_once_with_place_and_hint():
    warned = Warned(T, "FromAsCasing", "`as` and `FROM` differ in case", SOURCE.span(1), ("write `AS`",), "https://x/y")
    text = draw("plain", PLAN, warned, warned, DONE).decode()
    assert text.startswith("\nwarning: `as` and `FROM` differ in case (FromAsCasing)\n"
                           "Dockerfile:1:\n 1 | >>> FROM busybox\nhint: write `AS`\nsee https://x/y\n")  # fmt: skip
    assert text.count("warning:") == 1
    assert draw("plain", PLAN, warned, failed=True).endswith(b"see https://x/y\n\n")  # the error stands apart


def test_what_still_runs_is_written_when_the_build_ends():
    log = Log(T, "t", "stdout", b"partial")
    text = draw("plain", PLAN, Started(T, "m"), Started(T, "t"), log, failed=True).decode()
    assert "#2 0.000 partial" in text


def test_json_is_the_stream_itself():
    events = (PLAN, Started(T, "m"), Log(T, "m", "stderr", b"\xff\x00"), DONE)
    lines = draw("json", *events).splitlines()
    assert tuple(decode_event(line) for line in lines) == events


def test_quiet_speaks_about_failures_only():
    events = (PLAN, Started(T, "m"), Log(T + 1, "m", "stderr", b"cc: no input\n"), Finished(T + 1, "m", "failed", "1"))
    assert draw("quiet", *events) == b""
    assert draw("quiet", *events, failed=True).decode() == (
        "------\n > [build 2/3] RUN make:\n1.000 cc: no input\n------\n")


def test_trace_numbers_vertices_as_they_begin_and_bounds_memory():
    trace = Trace()
    for event in (PLAN, Started(T, "t"), Started(T, "b")):
        trace.apply(event)
    assert [state.vertex.id for state in trace.running()] == ["t", "b"]
    state = trace.apply(Log(T, "t", "stdout", b"x" * (3 * MAX_LINE_BYTES)))
    assert state is not None and sum(len(line) for _, line in trace.last_lines) == 2 * MAX_LINE_BYTES
    for number in range(1000):
        trace.apply(Log(T, "t", "stdout", b"%d\n" % number))
    assert len(state.tail) == 64 and state.last_lines(2) == [b"998", b"999"]


def test_events_of_unknown_vertices_are_no_error():
    trace = Trace()
    state = trace.apply(Started(T, "new"))
    assert state is not None and state.vertex.title == "new"


def on_terminal(*events, failed: bool = False) -> str:
    """Return what a real terminal gets."""
    master, slave = os.openpty()
    try:
        os.environ.pop("COLUMNS", None)
        renderer = make_renderer("tty", slave, terminal=True)
        for event in events:
            renderer.tick(event) if isinstance(event, float) else renderer.event(event)
        renderer.close(failed)
        renderer.close(failed)
    finally:
        os.close(slave)
    chunks = []
    while True:
        try:
            chunks.append(os.read(master, 65536))
        except OSError as error:
            assert error.errno == errno.EIO
            break
    os.close(master)
    return b"".join(chunks).decode()


def test_a_terminal_shows_what_ran_and_gets_its_cursor_back():
    text = on_terminal(PLAN, Finished(T, "b", "cached"), Started(T, "m"), Log(T, "m", "stdout", b"\x1b[2Jcompiling\n"),
                       T + 3, Finished(T + 4, "m", "done"), DONE)  # fmt: skip
    assert "[build 1/3] FROM busybox" in text and "cached" in text
    assert "compiling" in text and "\x1b[2J" not in text and "3.0s" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert f"built docker.io/library/app:1 sha256:{'a' * 64} 12.3MB compressed in 4.9s" in text.splitlines()[-1]


def test_a_terminal_shows_elapsed_time_and_steps_done_of_all():
    text = on_terminal(PLAN, Finished(T, "b", "cached"), Started(T + 1, "m"), T + 12.34, Finished(T + 13, "m", "done"))
    assert "[+] Building 12.3s (1/3)" in text


def test_a_terminal_shows_a_bases_bytes_under_it_and_its_line_once():
    moving = [Progress(T + 2, "b", f"sha256:{digest}", 1_000_000, 30_000_000) for digest in "ab"]
    text = on_terminal(
        PLAN, Finished(T, "b", "done"), Started(T + 1, "b"), moving[0], T + 2.0, moving[1], T + 3.0,
        *(Progress(T + 4, "b", event.what, event.total, event.total) for event in moving), T + 4.0,
        Finished(T + 5, "b", "done"), DONE,
    )  # fmt: skip
    assert "sha256:a 1MB / 30MB" in text and "2 layers, 2MB / 60MB" in text
    assert text.count("✔") == 1 and "60MB  4.0s" in text


def test_a_base_that_nothing_had_to_fetch_is_shown_in_the_end():
    text = on_terminal(PLAN, Finished(T, "b", "done"), Started(T, "m"), T + 1, Finished(T + 1, "m", "done"), DONE)
    assert text.rindex("FROM busybox") > text.rindex("RUN make")


def test_a_terminal_shows_the_end_of_a_failed_steps_output():
    log = Log(T, "m", "stdout", b"why\n")
    text = on_terminal(PLAN, Started(T, "m"), log, Finished(T, "m", "failed", "x"), failed=True)
    assert " > [build 2/3] RUN make:\r\n0.000 why\r\n------" in text


def test_a_build_that_was_stopped_says_so():
    text = on_terminal(PLAN, Started(T, "m"), failed=True)
    assert "- [build 2/3] RUN make" in text.replace("\x1b[33m- \x1b[0m", "- ")


@pytest.mark.parametrize("name", ["plain", "json"])
def test_a_reader_who_left_is_the_callers_business(name):
    read_end, write_end = os.pipe()
    os.close(read_end)
    renderer = make_renderer(name, write_end, terminal=False)
    with pytest.raises(BrokenPipeError):
        renderer.event(Finished(T, "b", "done"))
    os.close(write_end)


def test_rawjson_is_what_clients_of_buildkit_read():
    warned = Warned(T + 2, "MaintainerDeprecated", "use a label", SOURCE.span(1, 2), ("do",), "https://docs/rule")
    lines = [
        json.loads(line)
        for line in draw(
            "rawjson", PLAN,
            Finished(T, "b", "cached"),
            Started(T + 1, "m"), Log(T + 1.25, "m", "stdout", b"\xff\n"), Log(T + 1.5, "m", "stderr", b"no"),
            Progress(T + 2, "m", "sha256:12", 0, 10), Progress(T + 2.5, "m", "sha256:12", 10, 10), warned,
            Finished(T + 3.000001, "m", "done"), Started(T + 3, "t"), Finished(T + 4, "t", "failed", "exit code: 2"),
            failed=True,
        ).splitlines()
    ]  # fmt: skip
    vertexes = [vertex for line in lines for vertex in line.get("vertexes", ())]
    digests = {vertex["name"]: vertex["digest"] for vertex in vertexes}
    read, base, make, test = digests.values()
    assert list(digests) == [
        "[internal] load build definition from Dockerfile",
        "[build 1/3] FROM busybox", "[build 2/3] RUN make", "[build 3/3] RUN test",
    ]  # fmt: skip
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in digests.values())
    last = {vertex["name"]: vertex for vertex in vertexes}
    at = "1970-01-01T00:16:4"
    assert last["[build 1/3] FROM busybox"] == {
        "digest": base, "name": "[build 1/3] FROM busybox", "cached": True, "started": f"{at}0Z", "completed": f"{at}0Z",
    }  # fmt: skip
    assert last["[build 2/3] RUN make"]["completed"] == f"{at}3.000001Z"
    assert last["[build 3/3] RUN test"]["error"] == "exit code: 2"
    logs = [log for line in lines for log in line.get("logs", ())]
    assert logs == [
        {"vertex": make, "stream": 1, "data": "/wo=", "timestamp": f"{at}1.25Z"},
        {"vertex": make, "stream": 2, "data": "bm8=", "timestamp": f"{at}1.5Z"},
    ]
    statuses = [status for line in lines for status in line.get("statuses", ())]
    assert statuses == [
        {"id": "sha256:12", "vertex": make, "current": 0, "total": 10, "timestamp": f"{at}2Z", "started": f"{at}2Z"},
        {"id": "sha256:12", "vertex": make, "current": 10, "total": 10, "timestamp": f"{at}2.5Z", "started": f"{at}2Z",
         "completed": f"{at}2.5Z"},
    ]  # fmt: skip
    (warning,) = (warning for line in lines for warning in line.get("warnings", ()))
    assert base64.b64decode(warning["short"]) == b"MaintainerDeprecated: use a label"
    assert (warning["vertex"], warning["level"], warning["url"]) == (read, 1, "https://docs/rule")
    assert [base64.b64decode(detail) for detail in warning["detail"]] == [b"do"]
    assert base64.b64decode(warning["sourceInfo"]["data"]).decode() == SOURCE.text
    assert [(place["start"], place["end"]) for place in warning["range"]] == [({"line": n}, {"line": n}) for n in (1, 2)]
    assert test != read
