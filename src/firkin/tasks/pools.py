"""The threads of a build: three pools, steps → transfers → cpu, and one for SSH agents. Does I/O. No thread starts
elsewhere.

A task may wait only for tasks of a pool to its right, so no pool can wait for itself. A task for an
agent (one for each ssh mount of a step) waits only for the end of its step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


_MOST_AGENTS = 256


class Task(Generic[T]):
    """A call that a pool runs."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._followers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run the call (the pool does it)."""
        try:
            self._value = self._call()
        except BaseException as error:  # raised by `result`  # noqa: BLE001
            self._error = error
        finally:
            self._end()

    def skip(self, error: BaseException) -> None:
        """End a task that never ran."""
        self._error = error
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._done.set()
            followers, self._followers = self._followers, []
        for follower in followers:
            follower()

    def when_done(self, follower: Callable[[], None]) -> None:
        """Call `follower` when the task has ended (at once if it has); it must not wait or raise."""
        with self._lock:
            if not self._done.is_set():
                self._followers.append(follower)
                return
        follower()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self) -> None:
        """Wait until the task has ended, in whatever way."""
        self._done.wait()

    def result(self) -> T:
        """Wait, then return the value or raise what the call raised."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


def finished(value: T) -> Task[T]:
    """Return a task that has its value already."""
    task = Task(lambda: value)
    task.run()
    return task


class Pool:
    """Up to `size` threads, started when there is work; daemonic, so that a crash ends them."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._condition = threading.Condition()
        self._queue: deque[Task[object]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Queue a call; returns at once. Raises RuntimeError when the pool is closed."""
        task: Task[T] = Task(call)
        with self._condition:
            if self._closed:
                raise RuntimeError(f"pool {self._name} is closed")
            self._queue.append(task)  # type: ignore[arg-type]
            if self._idle:
                # The thread counts as busy now, not when it wakes: the next call must not rely on the same thread.
                self._idle -= 1
                self._condition.notify()
            elif self._threads < self._size:
                self._threads += 1
                threading.Thread(
                    target=self._work, name=f"{self._name}-{self._threads}", daemon=True
                ).start()
        return task

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._queue:
                    if self._closed:
                        return
                    self._idle += 1
                    self._condition.wait()
                task = self._queue.popleft()
            task.run()

    def close(self, error: BaseException) -> None:
        """Refuse new work and skip what has not started; running tasks end on their own."""
        with self._condition:
            self._closed = True
            while self._queue:
                self._queue.popleft().skip(error)
            self._condition.notify_all()


class Pools:
    """The pools of one build."""

    def __init__(self, steps: int, transfers: int, cpu: int) -> None:
        self.steps = Pool("step", steps)
        self.transfers = Pool("transfer", transfers)
        self.cpu = Pool("cpu", cpu)
        self.agents = Pool("agent", _MOST_AGENTS)

    def close(self, error: BaseException) -> None:
        """Close all of them, left to right."""
        for pool in (self.steps, self.transfers, self.cpu, self.agents):
            pool.close(error)
