"""Whole builds, without RUN: what is done before and after the steps."""

import os
import time
from pathlib import Path
from typing import NoReturn

import pytest

from firkin.builder.build import run_build
from firkin.builder.request import BuildRequest
from firkin.errors import HostError, StepFailed
from firkin.events import Completed, Event, Finished, Warned
from firkin.store.rules import GcRules
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel


def no_run() -> NoReturn:
    raise HostError("no RUN here")


def build(place: Path, text: str, gc: GcRules) -> list[Event]:
    (place / "context").mkdir(exist_ok=True)
    (place / "context/file").write_text("content\n")
    events: list[Event] = []
    request = BuildRequest(
        str(place / "context"), str(place / "store"), dockerfile_text=text, now_s=time.time(), tags=("app",), gc=gc
    )
    run_build(request, events.append, Cancel(), no_run)
    return events


def test_the_rules_of_the_store_are_kept_after_a_build(tmp_path: Path) -> None:
    old = "FROM scratch AS a\nCOPY file /a\nFROM scratch\nCOPY --from=a /a /b\n"
    build(tmp_path, old, GcRules())
    with Store(str(tmp_path / "store"), time.time) as store:
        before = set(os.listdir(store.layout.trees))
        with store.records.transaction() as connection:
            for table in ("trees", "records", "blobs"):
                connection.execute(f"UPDATE {table} SET used = used - 100000")
    assert before
    new = "FROM scratch AS a\nCOPY file /c\nFROM scratch\nCOPY --from=a /c /d\n"
    events = build(tmp_path, new, GcRules(max_used_bytes=1 << 40))
    assert not any(isinstance(event, Finished) and event.id == "gc" for event in events)
    events = build(tmp_path, new, GcRules(keep_age_s=3600.0))
    assert [event.status for event in events if isinstance(event, Finished) and event.id == "gc"] == ["done"]
    assert isinstance(events[-1], Completed)
    left = set(os.listdir(tmp_path / "store/trees"))
    assert left and not left & before


@pytest.mark.parametrize("step", ["COPY --chown=daemon file /f", "ADD --chown=0:daemon file /f", "USER daemon\nWORKDIR /w"])
def test_names_of_owners_need_a_layer_below(tmp_path: Path, step: str) -> None:
    with pytest.raises(StepFailed, match="in `FROM scratch`"):
        build(tmp_path, f"FROM scratch\nWORKDIR /\n{step}\n", GcRules())
    (tmp_path / "context/empty").mkdir()
    for before in ("COPY empty/ /", "COPY file /"):  # BuildKit has something to look into then, if not the file
        events = build(tmp_path, f"FROM scratch\n{before}\n{step}\n", GcRules())
        assert [event.code for event in events if isinstance(event, Warned)] in (["unknown-user"], ["unknown-group"])
