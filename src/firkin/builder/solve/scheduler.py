"""Runs a graph: looks steps up, executes those that miss, in parallel where inputs allow. Does I/O.

One coordinator (the caller's thread) owns all tables. A step is looked up as soon as its inputs are
there; a hit costs no thread. The first failure stops the rest; what was already running is told to
stop and waited for, so nothing of a build outlives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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
    """What the scheduler does not know: how to find and how to make a step's result."""

    def look_up(self, step: Step, inputs: tuple[T, ...]) -> T | None:
        """Return the remembered result, or None; called by the coordinator, must be quick."""

    def is_here(self, step: Step, result: T) -> bool:
        """Tell whether all of a remembered result is on this machine."""

    def fetch(self, step: Step, inputs: tuple[T, ...]) -> None:
        """Fetch what the step needs, before it is said to begin; called in the pool of steps."""

    def execute(self, step: Step, inputs: tuple[T, ...]) -> T:
        """Make the result; called in the pool of steps."""

    def was_found(self, step: Step) -> bool:
        """Tell whether `execute` found a remembered result after all."""


class Outcome(msgspec.Struct, Generic[T]):
    """Results of all steps of a graph, and how those that people wrote ended, in the order of the plan."""

    results: dict[StepId, T]
    step_results: dict[StepId, StepResult]


_HIDDEN = (Scratch, Context)


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
        users: dict[StepId, list[Step]] = {step.id: [] for step in steps}
        missing: dict[StepId, int] = {}
        for step in steps:
            inputs = set(step.inputs)
            missing[step.id] = len(inputs)
            for step_id in inputs:
                users[step_id].append(step)
        ready = deque(step for step in steps if not missing[step.id])
        running = 0
        while ready or running:
            while ready and not self._failed():
                step = ready.popleft()
                if self._start(step):
                    running += 1
                else:
                    ready.extend(self._release(step, users, missing))
            if not running:
                break
            step, seconds, result, error = self._messages.get()
            running -= 1
            if error is not None:
                self._fail(step, error)
            else:
                self._finish(step, result, "cached" if self._runner.was_found(step) else "done", seconds)
                ready.extend(self._release(step, users, missing))
        if self._error is not None:
            raise self._error
        self._stop.check()
        ordered = {step.id: self._step_results[step.id] for step in steps if step.id in self._step_results}
        return Outcome(self._results, ordered)

    def _failed(self) -> bool:
        return self._error is not None or self._stop()

    def _start(self, step: Step) -> bool:
        """Return True if the step is now running, False if its result was at hand."""
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

    def _release(self, step: Step, users: dict[StepId, list[Step]], missing: dict[StepId, int]) -> list[Step]:
        if step.id not in self._results:
            return []
        freed = []
        for user in users[step.id]:
            missing[user.id] -= 1
            if not missing[user.id]:
                freed.append(user)
        return freed

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
    """Return the steps that the graph's targets need, as people see them."""
    return tuple(map(_vertex, filter(is_shown, graph.needed())))


def is_shown(step: Step) -> bool:
    """Tell whether people see a step: it is written in the Dockerfile, or does what is worth a line."""
    return not isinstance(step.op, _HIDDEN) and not (isinstance(step.op, Pull) and not step.meta.title)


def _vertex(step: Step) -> Vertex:
    meta = step.meta
    return Vertex(str(step.id), meta.title, meta.stage, meta.number, meta.total, meta.span)
