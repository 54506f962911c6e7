"""A record is written while a build runs, whatever happens to the build and to the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firkin.builder.graph.key import CacheKey
from firkin.builder.graph.ops import Context, Copy, PathSource, Scratch
from firkin.builder.graph.step import Step, StepId, StepMeta
from firkin.builder.history import recording as module
from firkin.builder.history.ledger import Ledger
from firkin.builder.history.names import RUNNING
from firkin.builder.history.record import BuildRecord
from firkin.builder.history.recording import Recording
from firkin.builder.history.shelf import Shelf
from firkin.builder.request import BuildRequest, BuildResult, ImageResult, Secret
from firkin.errors import Cancelled, StepFailed, UsageError
from firkin.events import Event, Finished, Log, Planned, Started, Vertex, Warned
from firkin.store.rules import HistoryRules

RESULT = BuildResult(ImageResult("sha256:1", "sha256:2", "", ("app:1",), "linux/amd64", 5), (), (), (), 1.0)
TITLE = "COPY src /app/$TOKEN"


def ledger() -> Ledger:
    """Return the notes of a build with one step, a COPY of the context onto nothing."""
    noted = Ledger()
    noted.begin("Dockerfile", b"")
    copy = Copy((PathSource(1, "/src"),), "/app/hunter2")
    meta = StepMeta("COPY src /app/hunter2", number=1, total=1, written=TITLE)
    noted.steps = {
        "0": (Step(StepId(0), Scratch(), (), StepMeta("FROM scratch")), ()),
        "1": (Step(StepId(1), Context(), (), StepMeta("load build context")), ()),
        "2": (Step(StepId(2), copy, (StepId(0), StepId(1)), meta), ("0", "1")),
    }
    parts = (("op", "copy"), ("destination", "/app/hunter2"), ("root", "scratch"), ("files", "d1"))
    noted.note("2", noted.steps["2"][0], frozenset((0,)), (CacheKey("k"), parts), "", "layer")
    noted.lists["d1"] = ["(", "1:afile 644 0 0 11\n", ")"]
    return noted


EVENTS: tuple[Event, ...] = (
    Planned(1.0, (Vertex("2", "COPY src /app/hunter2", "", 1, 1),)),
    Started(1.5, "2"),
    Log(1.6, "2", "stdout", b"s3cret and hun"),
    Log(1.7, "2", "stdout", b"ter2\n"),
    Finished(2.0, "2", "done"),
)


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    return BuildRequest(
        "/ctx/app", str(tmp_path), tags=("app:1",),
        secrets=(Secret("s", b"s3cret"),), build_args=(("TOKEN", "hunter2"),),
    )  # fmt: skip


def record(
    request: BuildRequest, end: Callable[[Recording], object], events: tuple[Event, ...] = EVENTS
) -> list[Event]:
    """Record a build that ends in some way; return what was emitted."""
    seen: list[Event] = []
    recording = Recording(request, seen.append, 1.0)
    try:
        with recording.begin(ledger()):
            for event in events:
                recording.emit(event)
            end(recording)
    except (StepFailed, Cancelled, KeyError):
        pass
    return seen


def only(request: BuildRequest) -> tuple[Shelf, BuildRecord]:
    shelf = Shelf(request.store_root)
    (found,) = shelf.records()
    return shelf, found


def complete(recording: Recording) -> None:
    recording.complete(RESULT)


def failing(error: Exception) -> Callable[[Recording], None]:
    def end(recording: Recording) -> None:
        raise error

    return end


def test_a_completed_build(request_: BuildRequest) -> None:
    assert record(request_, complete) == list(EVENTS)  # passed on as they came
    shelf, found = only(request_)
    assert (found.status, found.name, found.context) == ("completed", "app", "/ctx/app")
    assert (found.total_steps, found.completed_steps, found.cached_steps) == (1, 1, 0)
    assert found.slot == "/ctx/app|Dockerfile" and found.digest == "sha256:1" and found.names == ("app:1",)
    step = shelf.steps(found)[0]
    assert (step.title, step.key, step.layer, step.status, step.seconds) == (TITLE, "k", "layer", "done", 0.5)
    assert [(read.step, read.path) for read in step.reads] == [("1", "/src")]
    assert [event.data for event in shelf.events(found) if isinstance(event, Log)] == [b"*** and ${TOKEN}\n"]
    assert shelf.files("d1") == ["(", "1:afile 644 0 0 11\n", ")"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StepFailed("`RUN hunter2` failed", code="run-failed", exit_code=3), "failed", "run-failed"),
        (Cancelled("the build was cancelled"), "cancelled", "cancelled"),
        (KeyError("s3cret"), "failed", "bug"),
    ],
)
def test_a_build_that_failed(request_: BuildRequest, error: Exception, status: str, code: str) -> None:
    record(request_, failing(error))
    _, found = only(request_)
    assert found.error is not None
    assert (found.status, found.error.code) == (status, code)
    assert "hunter2" not in found.error.message and "s3cret" not in found.error.message


def test_no_value_is_in_any_file(request_: BuildRequest, tmp_path: Path) -> None:
    record(request_, failing(StepFailed("hunter2 s3cret")))
    shelf, found = only(request_)
    text = "".join(map(str, (found, *shelf.steps(found), *shelf.events(found))))
    for value in ("hunter2", "s3cret"):
        assert value not in text
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {0o600}


def test_a_running_build_and_a_killed_one(request_: BuildRequest, tmp_path: Path) -> None:
    recording = Recording(request_, lambda event: None, 1.0)
    recording.begin(ledger())
    for event in EVENTS[:3]:
        recording.emit(event)
    shelf, found = only(request_)
    assert (found.status, found.total_steps, found.completed_steps) == ("running", 1, 0)
    assert shelf.steps(found)[0].status == "running" and shelf.steps(found)[0].title == TITLE
    with pytest.raises(UsageError, match="is running"):
        shelf.remove(found.id)
    os.close(recording._file)  # as the kernel does when the process is killed
    _, found = only(request_)
    assert (found.status, found.ended_s) == ("killed", 1.5)
    shelf.remove(found.id)
    assert shelf.records() == ()


def test_a_record_that_is_whole_counts_before_the_running_one(request_: BuildRequest, tmp_path: Path) -> None:
    """The build was killed between writing its record and removing the other file."""
    record(request_, complete)
    _, found = only(request_)
    (tmp_path / f"builds/{found.id}{RUNNING}").write_bytes(b"{}\n")
    assert only(request_)[1] == found


@pytest.mark.parametrize("keep", [b"", b'{"id"', b"\xff\n", b'{"version":99,"id":"x","name":"y","started_s":1}\n'])
def test_damaged_records_are_not_listed_but_removed(request_: BuildRequest, tmp_path: Path, keep: bytes) -> None:
    record(request_, complete)
    shelf, found = only(request_)
    (tmp_path / "builds" / found.id).write_bytes(keep)
    assert shelf.records() == ()
    shelf.clear(1e12)
    assert not (tmp_path / "builds" / found.id).exists()


def test_a_log_that_was_cut_is_shown_as_far_as_it_goes(request_: BuildRequest, tmp_path: Path) -> None:
    record(request_, complete)
    shelf, found = only(request_)
    path = tmp_path / "builds" / found.id
    path.write_bytes(path.read_bytes()[:-9])
    assert len(list(shelf.events(found))) < len(EVENTS)
    assert shelf.records() == (found,)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A disk with room for so many bytes in each file."""
    room = {"bytes": 0}
    write = os.write

    def limited(descriptor: int, data: bytes) -> int:
        if len(data) > room["bytes"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(module.os, "write", limited)
    yield room


def test_a_full_disk_does_not_fail_the_build(request_: BuildRequest, full: dict[str, int]) -> None:
    seen = record(request_, complete)
    assert [event.code for event in seen if isinstance(event, Warned)] == ["build-record"]
    assert seen[: len(EVENTS)] != [] and Shelf(request_.store_root).records() == ()


def test_without_room_for_the_log_the_record_is_kept(request_: BuildRequest, full: dict[str, int]) -> None:
    full["bytes"] = 2500
    noise = tuple(Log(1.6, "2", "stdout", os.urandom(4000).hex().encode() + b"\n") for _ in range(4))
    record(request_, complete, (*EVENTS[:2], *noise, *EVENTS[2:]))
    shelf, found = only(request_)
    assert found.status == "completed" and found.clipped and list(shelf.events(found)) == []


def test_nothing_is_written_if_nothing_is_to_be_kept(tmp_path: Path) -> None:
    request = BuildRequest("/ctx", str(tmp_path), history=HistoryRules(0, 0))
    assert record(request, complete) == list(EVENTS)
    assert list(tmp_path.iterdir()) == []


def test_old_records_go_and_lists_with_them(tmp_path: Path) -> None:
    request = BuildRequest("/ctx", str(tmp_path), history=HistoryRules(keep_builds=4))
    for _ in range(12):
        record(request, complete)
    kept = [found.id for found in Shelf(request.store_root).records()]
    assert 4 <= len(kept) <= 5
    assert Shelf(request.store_root).files("d1")
    large = BuildRequest("/ctx", str(tmp_path), history=HistoryRules(100, 1))
    assert len(Shelf(request.store_root).trim(large.history, 1e12)) == len(kept)
    assert Shelf(request.store_root).files("d1") is None


def test_two_records_of_one_store_hash_alike_and_others_do_not(request_: BuildRequest, tmp_path: Path) -> None:
    record(request_, complete)
    record(request_, complete)
    first, second = Shelf(request_.store_root).records()
    assert first.build_args == second.build_args and first.build_args[0][0] == "TOKEN"
    (tmp_path / "builds/key").write_bytes(b"cut")  # by a crash of the machine: another key is made
    record(request_, complete)
    assert len({found.build_args for found in Shelf(request_.store_root).records()}) == 2


@pytest.mark.parametrize(
    ("context", "file", "target", "args", "name"),
    [
        (".", "", "", (), "shop"), ("sub/app", "", "", (), "app"), (".", "docker/api.Dockerfile", "", (), "shop"),
        (".", "docker/api.txt", "dev", (), "shop/docker/api.txt (dev)"), ("-", "", "", (), "-"),
        ("https://me:pass@host.example/r.git", "", "", (), "https://host.example/r.git"),
        (".", "", "", (("BUILDKIT_BUILD_NAME", "nightly"),), "nightly"),
    ],
)  # fmt: skip
def test_the_name_of_a_build(
    tmp_path: Path, context: str, file: str, target: str, args: tuple[tuple[str, str], ...], name: str
) -> None:
    request = BuildRequest(
        context, str(tmp_path), cwd="/home/shop", dockerfile=file, target=target, build_args=args
    )
    record(request, complete)
    assert only(request)[1].name == name
