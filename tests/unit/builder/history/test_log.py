"""The kept log is bounded and redacted, whichever way the output comes."""

from __future__ import annotations

import pytest

from firkin.builder.history import log as module
from firkin.builder.history.log import KeptLog
from firkin.builder.history.redact import Redactor
from firkin.events import Event, Finished, Log, Planned, Progress, Vertex
from firkin.source import Source


def kept(log: KeptLog, *events: Event) -> list[Event]:
    return [item for event in events for item in log.take(event)]


def data(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Log))


def out(text: bytes, id: str = "1") -> Log:
    return Log(1.0, id, "stdout", text)


def test_output_is_kept_in_whole_lines() -> None:
    log = KeptLog(Redactor([b"secret"], ()))
    assert data(kept(log, out(b"a sec"))) == b""
    assert data(kept(log, out(b"ret\nrest"))) == b"a ***\n"
    assert data(kept(log, Finished(2.0, "1", "done"))) == b"rest"


def test_streams_and_steps_do_not_mix() -> None:
    log = KeptLog(Redactor((), ()))
    events = kept(log, out(b"a"), Log(1.0, "1", "stderr", b"b"), out(b"c", "2"), *(out(b"\n", id) for id in "12"))
    assert [(event.id, event.data) for event in events if isinstance(event, Log)] == [("1", b"a\n"), ("2", b"c\n")]


def test_the_middle_of_much_output_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_BYTES", 100)
    monkeypatch.setattr(module, "TAIL_BYTES", 50)
    log = KeptLog(Redactor((), ()))
    lines = [b"%09d\n" % number for number in range(100)]
    found = data(kept(log, *map(out, lines), Finished(2.0, "1", "failed")))
    assert log.clipped
    assert found == b"".join(lines[:10]) + b"[850 bytes of output are not kept]\n" + b"".join(lines[-5:])


def test_all_output_together_is_bounded_but_a_failing_step_has_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    log = KeptLog(Redactor((), ()))
    first = data(kept(log, out(b"x" * 99 + b"\n"), Finished(2.0, "1", "done")))
    assert len(first) == 100
    assert b"not kept" in data(kept(log, out(b"more\n", "2"), Finished(2.0, "2", "done")))
    assert data(kept(log, out(b"the error\n", "3"), Finished(2.0, "3", "failed"))) == b"the error\n"


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    log = KeptLog(Redactor((), ()))
    found = data(kept(log, *[out(b"x" * 1000) for _ in range(100)]))
    assert len(found) >= 65536


def test_progress_and_the_text_of_the_dockerfile_are_not_kept() -> None:
    log = KeptLog(Redactor((), (("TOKEN", "hunter2"),)))
    planned = Planned(1.0, (Vertex("1", "RUN hunter2"),), Source("Dockerfile", "FROM x"))
    assert kept(log, planned, Progress(1.0, "1", "x", 1)) == [Planned(1.0, (Vertex("1", "RUN ${TOKEN}"),))]


def test_what_is_left_comes_at_the_end() -> None:
    log = KeptLog(Redactor((), ()))
    kept(log, out(b"no end"))
    assert data(log.close(2.0)) == b"no end" and log.close(2.0) == []
