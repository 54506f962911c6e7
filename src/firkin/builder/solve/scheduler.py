"""Runs a graph: looks steps up, executes those that miss, in parallel where inputs allow. Does I/O.

One coordinator (the caller's thread) owns all tables. A step is looked up as soon as its inputs have
results; a hit costs no thread. After the first failure no step starts; the scheduler asks running steps
to stop and waits for them, so nothing of a build outlives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from firkin.builder.graph.ops import Context, Pull, Scratch
from firkin.builder.graph.step import Graph, Step, StepId
from firkin.builder.request import StepResult
from firkin.errors import Cancelled, FirkinError
from firkin.events import Emit, Finished, Planned, Started, Vertex
from firkin.source import Source
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pool

T = TypeVar("T")


class StepRunner(Protocol[T]):
    """Finds and makes the results of steps for the scheduler."""

    def look_up(self, step: Step, inputs: tuple[T, ...]) -> T | None:
        """Return the remembered result, or None; called by the coordinator, must be quick."""

    def is_here(self, step: Step, result: T) -> bool:
        """Tell whether all of a remembered result is on this machine."""

    def fetch(self, step: Step, inputs: tuple[T, ...]) -> None:
        """Fetch what the step needs, before its `Started` event; called in the pool of steps."""

    def execute(self, step: Step, inputs: tuple[T, ...]) -> T:
        """Make the result; called in the pool of steps."""

    def was_found(self, step: Step) -> bool:
        """Tell whether `execute` found a remembered result after all."""


class Outcome(msgspec.Struct, Generic[T]):
    """The results of all steps of a graph, and how the shown steps ended, in the order of the plan."""

    results: dict[StepId, T]
    step_results: dict[StepId, StepResult]


_HIDDEN = (Scratch, Context)


class _Queue:
    """The steps that can start: each as soon as all of its inputs have results."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._users: dict[StepId, list[Step]] = {step.id: [] for step in steps}
        self._missing: dict[StepId, int] = {}
        for step in steps:
            inputs = set(step.inputs)
            self._missing[step.id] = len(inputs)
            for step_id in inputs:
                self._users[step_id].append(step)
        self._ready = deque(step for step in steps if not step.inputs)

    def __bool__(self) -> bool:
        return bool(self._ready)

    def pop(self) -> Step:
        """Take the step that has been ready longest."""
        return self._ready.popleft()

    def release(self, step: Step) -> None:
        """Note that a step has its result."""
        for user in self._users[step.id]:
            self._missing[user.id] -= 1
            if not self._missing[user.id]:
                self._ready.append(user)


class Scheduler(Generic[T]):
    """Runs one graph once."""

    def __init__(
        self, runner: StepRunner[T], pool: Pool, emit: Emit, stop: Cancel, clock: Callable[[], float]
    ) -> None:
        self._runner = runner
        self._pool = pool
        self._emit = emit
        self._stop = stop
        self._clock = clock
        self._results: dict[StepId, T] = {}
        self._step_results: dict[StepId, StepResult] = {}
        self._messages: SimpleQueue[tuple[Step, float, T | None, BaseException | None]] = SimpleQueue()
        self._error: BaseException | None = None

    def run(self, graph: Graph, source: Source | None = None) -> Outcome[T]:
        """Run all steps that the targets need.

        Raises what the first failing step raised (with the step's span), or Cancelled.
        """
        steps = graph.needed()
        self._emit(Planned(self._clock(), vertices_of(graph), source))
        queue = _Queue(steps)
        running = self._start_ready(queue)
        while running:
            self._settle(queue)
            running += self._start_ready(queue) - 1
        if self._error is not None:
            raise self._error
        self._stop.check()
        ordered = {step.id: self._step_results[step.id] for step in steps if step.id in self._step_results}
        return Outcome(self._results, ordered)

    def _failed(self) -> bool:
        return self._error is not None or self._stop()

    def _start_ready(self, queue: _Queue) -> int:
        """Start every ready step; return how many of them are running now."""
        started = 0
        while queue and not self._failed():
            step = queue.pop()
            if self._start(step):
                started += 1
            elif step.id in self._results:
                queue.release(step)
        return started

    def _settle(self, queue: _Queue) -> None:
        """Wait until a running step has ended, and take its result or error."""
        step, seconds, result, error = self._messages.get()
        if error is not None:
            self._fail(step, error)
        else:
            self._finish(step, result, "cached" if self._runner.was_found(step) else "done", seconds)
            queue.release(step)

    def _start(self, step: Step) -> bool:
        """Return True if the step is now running, False if its result was remembered."""
        inputs = tuple(self._results[step_id] for step_id in step.inputs)
        began = self._clock()
        try:
            found = self._runner.look_up(step, inputs)
        except FirkinError as error:
            self._fail(step, error)
            return False
        if found is not None:
            status: Literal["done", "cached"] = "cached" if self._runner.is_here(step, found) else "done"
            self._finish(step, found, status, self._clock() - began)
            return False
        self._pool.submit(lambda: self._work(step, inputs))
        return True

    def _work(self, step: Step, inputs: tuple[T, ...]) -> None:
        began = self._clock()
        try:
            self._stop.check()
            self._runner.fetch(step, inputs)
            began = self._clock()
            if is_shown(step):
                self._emit(Started(began, str(step.id)))
            self._stop.check()
            result = self._runner.execute(step, inputs)
        except BaseException as error:  # the coordinator decides  # noqa: BLE001
            self._messages.put((step, self._clock() - began, None, error))
        else:
            self._messages.put((step, self._clock() - began, result, None))

    def _finish(self, step: Step, result: T | None, done: Literal["done", "cached"], seconds: float) -> None:
        assert result is not None
        self._results[step.id] = result
        if is_shown(step):
            self._emit(Finished(self._clock(), str(step.id), done))
            self._step_results[step.id] = StepResult(step.meta.title, step.meta.stage, done, seconds)

    def _fail(self, step: Step, error: BaseException) -> None:
        cancelled = isinstance(error, Cancelled)
        if is_shown(step):
            option = (error.option if isinstance(error, FirkinError) else None) or msgspec.UNSET
            status: Literal["cancelled", "failed"] = "cancelled" if cancelled else "failed"
            self._emit(Finished(self._clock(), str(step.id), status, str(error), option))
        if isinstance(error, FirkinError) and error.span is None and not cancelled:
            error.span = step.meta.span
        if self._error is None or (isinstance(self._error, Cancelled) and not cancelled):
            self._error = error
        self._stop.set(15)


def vertices_of(graph: Graph) -> tuple[Vertex, ...]:
    """Return the shown steps that the graph's targets need."""
    return tuple(map(_vertex, filter(is_shown, graph.needed())))


def is_shown(step: Step) -> bool:
    """Tell whether progress shows a step; empty roots, contexts and pulls without a title are not shown."""
    return not isinstance(step.op, _HIDDEN) and not (isinstance(step.op, Pull) and not step.meta.title)


def _vertex(step: Step) -> Vertex:
    meta = step.meta
    return Vertex(str(step.id), meta.title, meta.stage, meta.number, meta.total, meta.span)
