"""The Python API starts a worker, hands events on, raises its errors, stops it."""

import os
import threading
import time

import pytest
from support.small_engine import WORKER

import firkin
from firkin import api, errors
from firkin.events import Started
from firkin.request import BuildRequest, Output


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(api, "_WORKER", ["-c", WORKER])
    monkeypatch.setenv("FIRKIN_ROOT", str(tmp_path / "store"))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_build_returns_its_result_and_tells_its_events():
    events = []
    result = firkin.build("done", tags=["app:1"], on_event=events.append)
    assert result.image.names == ("app:1",) and events == [Started(1.0, "a")]


def test_errors_are_raised_as_what_they_are_and_nothing_stays_open():
    firkin.build("done")
    before = descriptors()
    with pytest.raises(errors.StepFailed) as caught:
        firkin.build("failed")
    assert caught.value.exit_code == 7
    with pytest.raises(errors.InternalError, match="KeyError"):
        firkin.build("bug")
    with pytest.raises(errors.InternalError, match="without a result"):
        firkin.build("die")
    assert descriptors() == before


def test_threads_build_at_the_same_time():
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(firkin.build("done", tags=[n]).image.names))
               for n in ("a", "b", "c")]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [("a",), ("b",), ("c",)]


def test_an_event_stops_the_build_when_the_caller_raises():
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        firkin.build("wait", on_event=stop)


def test_cancel_and_timeout():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(errors.Cancelled) as caught:
        firkin.build("wait", cancel=stop)
    assert caught.value.exit_code == 143
    began = time.monotonic()
    with pytest.raises(errors.Cancelled, match="time limit"):
        firkin.build("wait", timeout_s=0.3)
    assert time.monotonic() - began < 5


def test_standard_input_and_output_belong_to_the_caller():
    for arguments in ({"context": "-"}, {"outputs": [Output("tar", dest="-")]}):
        with pytest.raises(errors.UsageError):
            firkin.build(**arguments)


def test_a_request_can_be_run_as_it_is(tmp_path):
    assert api.run(BuildRequest(context="done", store_root=str(tmp_path), tags=("x",))).image.names == ("x",)
