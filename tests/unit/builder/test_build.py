"""Whole builds, without RUN: the phases, and what is done before and after the steps."""

import os
import time
from pathlib import Path
from typing import NoReturn

import pytest

from firkin.builder import build as flow
from firkin.builder.build import run_build
from firkin.builder.request import BuildRequest, BuildResult, Output
from firkin.content.cached import LostLayer
from firkin.errors import DockerfileError, FirkinError, HostError, StepFailed, StoreError, UsageError
from firkin.events import Completed, Event, Finished, Planned, Started, Warned
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


# Phases


class Built:
    """A build of one small context, with what it said."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.events: list[Event] = []
        (place / "context").mkdir()
        (place / "context/file").write_text("content\n")

    def run(self, text: str, **fields: object) -> BuildResult:
        self.events.clear()
        request = BuildRequest(
            str(self.place / "context"), str(self.place / "store"), dockerfile_text=text, now_s=1.0, **fields  # type: ignore[arg-type]
        )
        return run_build(request, self.events.append, Cancel(), no_run)

    def ids(self, kind: type[Started | Finished]) -> list[str]:
        return [event.id for event in self.events if isinstance(event, kind)]

    def plans(self) -> list[list[tuple[str, str]]]:
        planned = [event for event in self.events if isinstance(event, Planned)]
        return [[(vertex.id, vertex.stage) for vertex in event.vertices] for event in planned]


@pytest.fixture
def small(tmp_path: Path) -> Built:
    return Built(tmp_path)


COPY = "FROM scratch\nCOPY file /\n"


def test_a_wrong_file_is_told_of_with_its_text_before_anything_is_done(small: Built) -> None:
    with pytest.raises(DockerfileError):
        small.run("FROM scratch\nCOPPY file /\n")
    (planned,) = small.events
    assert isinstance(planned, Planned) and planned.source is not None and "COPPY" in planned.source.text


def test_places_are_looked_at_before_steps_run(small: Built) -> None:
    (small.place / "file").write_text("")
    with pytest.raises(UsageError):
        small.run(COPY, outputs=(Output("local", dest=str(small.place / "file/out")),))
    assert small.ids(Finished) == []


def test_a_warning_that_the_file_calls_an_error_comes_before_steps(small: Built) -> None:
    with pytest.raises(FirkinError, match="lint"):
        small.run("# check=error=true\nFROM scratch\nCOPY file /\nMAINTAINER me\n")
    assert [event.code for event in small.events if isinstance(event, Warned)] == ["MaintainerDeprecated"]
    assert small.ids(Finished) == []


def test_every_platform_is_built_and_its_steps_have_its_name(small: Built) -> None:
    result = small.run(COPY, platforms=("linux/amd64", "linux/arm64"), tags=("app",))
    assert [image.platform for image in result.images] == ["linux/amd64", "linux/arm64"]
    assert len(result.steps) == 2
    steps = [[vertex for vertex in plan if "/" in vertex[0]] for plan in small.plans()]
    names = {id.partition(" ")[0] for plan in steps for id, _ in plan}
    assert names == {"linux/amd64", "linux/arm64"}
    assert {stage.partition(" ")[0] for plan in steps for _, stage in plan} == names
    assert isinstance(small.events[-1], Completed)


def test_one_platform_needs_no_name(small: Built) -> None:
    result = small.run(COPY, platforms=("linux/arm64",))
    assert result.image.platform == "linux/arm64"
    assert not any("/" in id for plan in small.plans() for id, _ in plan)


def test_other_targets_are_built_too_and_nothing_comes_of_them(small: Built) -> None:
    text = "FROM scratch AS other\nCOPY file /other\nFROM scratch AS last\nCOPY file /last\n"
    result = small.run(text, target="last", also_targets=("other",))
    assert [step.title.split()[-1] for step in result.steps] == ["/last", "/other"]
    assert len(result.images) == 1
    assert any(id.startswith(" other ") for plan in small.plans() for id, _ in plan)
    with pytest.raises(FirkinError):
        small.run(text.replace("file /other", "nothing /other"), target="last", also_targets=("other",))


def test_a_plan_names_the_steps_and_does_nothing(small: Built) -> None:
    place = small.place / "out"
    result = small.run(
        COPY, plan_only=True, tags=("app",), platforms=("linux/amd64", "linux/arm64"),
        outputs=(Output("local", dest=str(place)),),
    )  # fmt: skip
    assert (result.image.digest, result.images, result.steps) == ("", (), ())
    assert [bool(plan) for plan in small.plans()] == [False, True, True]
    assert small.ids(Started) == small.ids(Finished) == []
    assert not any(isinstance(event, Completed) for event in small.events)
    assert not place.exists() and os.listdir(small.place / "store/trees") == []


def test_a_layer_that_a_cache_lost_is_made_after_all_but_once(small: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [LostLayer("layer", StoreError("it is gone"))]
    make = flow.make_images

    def make_images(*arguments: object) -> object:
        if lost:
            raise lost.pop()
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(flow, "make_images", make_images)
    assert small.run(COPY).image.digest
    warned = [event for event in small.events if isinstance(event, Warned)]
    assert [event.code for event in warned] == ["cache-refused"] and "it is gone" in warned[0].message
    lost += [LostLayer("layer", StoreError("it is gone"))] * 2
    with pytest.raises(LostLayer):
        small.run(COPY)
