"""The scheduler: order, parallelism, failures, cancelling."""

from __future__ import annotations

import threading
import time

import pytest

from firkin.builder.graph.ops import MakeDir, Scratch
from firkin.builder.graph.step import Graph, ImagePlan, Step, StepId, StepMeta
from firkin.builder.solve.scheduler import Scheduler
from firkin.errors import Cancelled, StepFailed
from firkin.events import Finished, Planned, Started
from firkin.oci.config import RuntimeConfig
from firkin.oci.platform import Platform
from firkin.source import Source
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pool


def step(number: int, *inputs: int) -> Step:
    op = MakeDir(f"/{number}") if inputs else Scratch()
    meta = StepMeta(f"step {number}", "stage", number, span=Source("D", "\n" * 9).span(number + 1))
    return Step(StepId(number), op, tuple(map(StepId, inputs)), meta)


def graph(*steps: Step, target: int | None = None) -> Graph:
    last = StepId(len(steps) - 1 if target is None else target)
    return Graph(steps, (ImagePlan(last, Platform("linux", "amd64"), RuntimeConfig(), ()),))


class Runner:
    def __init__(self, found=(), actions=None):
        self.found = set(found)
        self.actions = actions or {}
        self.made = []
        self.fetched = []
        self.elsewhere = set()
        self.found_late = set()

    def look_up(self, step, inputs):
        if isinstance(step.op, Scratch) or step.id in self.found:
            return f"found {step.id}"
        return None

    def is_here(self, step, result):
        return step.id not in self.elsewhere

    def fetch(self, step, inputs):
        self.fetched.append(step.id)

    def was_found(self, step):
        return step.id in self.found_late

    def execute(self, step, inputs):
        if step.id in self.actions:
            self.actions[step.id]()
        self.made.append(step.id)
        return f"made {step.id} of {', '.join(inputs)}"


def run(runner, graph, size=4, stop=None):
    events = []
    scheduler = Scheduler(runner, Pool("step", size), events.append, stop or Cancel(), time.time)
    try:
        return scheduler.run(graph), events
    except Exception as error:
        error.events = events
        raise


def test_inputs_come_first_and_unneeded_steps_never():
    runner = Runner()
    outcome, events = run(runner, graph(step(0), step(1, 0), step(2, 0), step(3, 1), target=3))
    assert runner.made == [1, 3]
    assert outcome.results[3] == "made 3 of made 1 of found 0"
    assert [step.title for step in outcome.step_results.values()] == ["step 1", "step 3"]
    planned = next(event for event in events if isinstance(event, Planned))
    assert [vertex.title for vertex in planned.vertices] == ["step 1", "step 3"]


def test_found_steps_are_not_executed():
    runner = Runner(found=[1])
    outcome, events = run(runner, graph(step(0), step(1, 0), step(2, 1)))
    assert runner.made == [2]
    assert [step.status for step in outcome.step_results.values()] == ["cached", "done"]
    assert [event.id for event in events if isinstance(event, Started)] == ["2"]


def test_what_is_found_after_all_is_called_cached():
    runner = Runner()
    runner.found_late = {2}
    outcome, events = run(runner, graph(step(0), step(1, 0), step(2, 1)))
    assert [step.status for step in outcome.step_results.values()] == ["done", "cached"]
    assert [event.status for event in events if isinstance(event, Finished)] == ["done", "cached"]


def test_what_is_remembered_and_lies_elsewhere_is_not_called_cached():
    runner = Runner(found=[1])
    runner.elsewhere = {1}
    outcome, events = run(runner, graph(step(0), step(1, 0), step(2, 1)))
    assert [step.status for step in outcome.step_results.values()] == ["done", "done"]
    assert next(event for event in events if isinstance(event, Finished)).status == "done"


def test_a_step_begins_after_what_it_needs_was_fetched():
    seen = []

    class Slow(Runner):
        def fetch(self, step, inputs):
            seen.extend(event for event in events if isinstance(event, Started) and event.id == str(step.id))
            super().fetch(step, inputs)

    events: list = []
    runner = Slow()
    Scheduler(runner, Pool("step", 1), events.append, Cancel(), time.time).run(graph(step(0), step(1, 0)))
    assert runner.fetched == [1] and seen == []


def test_a_fetch_that_fails_is_the_steps_failure():
    class Broken(Runner):
        def fetch(self, step, inputs):
            raise StepFailed("no network")

    runner = Broken()
    with pytest.raises(StepFailed, match="no network") as caught:
        run(runner, graph(step(0), step(1, 0)))
    assert runner.made == [] and caught.value.span.start.line == 2


def test_independent_steps_run_at_the_same_time():
    barrier = threading.Barrier(2, timeout=10)
    runner = Runner(actions={1: barrier.wait, 2: barrier.wait})
    run(runner, graph(step(0), step(1, 0), step(2, 0), step(3, 1, 2)))
    assert sorted(runner.made[:2]) == [1, 2]
    assert runner.made[2] == 3


def test_first_failure_is_raised_with_its_place_and_stops_the_rest():
    stop = Cancel()
    seen = threading.Event()

    def fail():
        raise StepFailed("broken")

    def wait():
        stop.on_cancel(seen.set)
        assert seen.wait(10)
        stop.check()

    runner = Runner(actions={1: fail, 2: wait})
    with pytest.raises(StepFailed, match="broken") as caught:
        run(runner, graph(step(0), step(1, 0), step(2, 0), step(3, 1, 2)), stop=stop)
    assert caught.value.span.start.line == 2
    assert 3 not in runner.made
    states = {event.id: event.status for event in caught.value.events if isinstance(event, Finished)}
    assert states == {"1": "failed", "2": "cancelled"}


def test_cancelling_ends_the_build():
    stop = Cancel()
    runner = Runner(actions={1: lambda: stop.set(15)})
    with pytest.raises(Cancelled) as caught:
        run(runner, graph(step(0), step(1, 0), step(2, 1)), stop=stop)
    assert caught.value.exit_code == 143
    assert runner.made == [1]


def test_a_fault_of_a_step_is_raised_as_it_is():
    def fault():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Runner(actions={1: fault}), graph(step(0), step(1, 0)))
