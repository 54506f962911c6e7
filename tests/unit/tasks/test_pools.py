"""Threads of a build: as many calls run side by side as a pool has places, whatever its threads did before."""

from __future__ import annotations

import threading
import time

import pytest

from firkin.errors import Cancelled
from firkin.tasks.pools import Pool, Pools, Task, finished

LIMIT_S = 10.0


def meet(barrier: threading.Barrier) -> int:
    """Return once everybody that the barrier expects is there; raises BrokenBarrierError after LIMIT_S."""
    return barrier.wait(LIMIT_S)


def wait_until_idle(pool: Pool, threads: int) -> None:
    """Return when `threads` threads of the pool wait for work."""
    deadline_s = time.monotonic() + LIMIT_S
    while pool._idle != threads:
        assert time.monotonic() < deadline_s, f"{pool._idle} threads are idle, not {threads}"
        time.sleep(0.001)


@pytest.mark.parametrize("name", ["steps", "transfers", "cpu", "agents"])
@pytest.mark.parametrize("idle", [0, 1, 2])
def test_calls_run_side_by_side(name: str, idle: int) -> None:
    """Two calls can meet in every pool, also when they are submitted in a row to threads that are idle."""
    pools = Pools(steps=2, transfers=2, cpu=2)
    pool: Pool = getattr(pools, name)
    if idle:
        barrier = threading.Barrier(idle)
        for task in [pool.submit(lambda: meet(barrier)) for _ in range(idle)]:
            task.result()
        wait_until_idle(pool, idle)
    for _ in range(50):
        both = threading.Barrier(2)
        tasks = [pool.submit(lambda both=both: meet(both)) for _ in range(2)]
        assert sorted(task.result() for task in tasks) == [0, 1]
    pools.close(Cancelled("over", exit_code=143))


def test_as_many_calls_as_places() -> None:
    """A pool of four runs four calls at once and a fifth only after one of them."""
    pool = Pool("test", 4)
    running = threading.Semaphore(0)
    go = threading.Event()

    def call() -> None:
        running.release()
        assert go.wait(LIMIT_S)

    tasks = [pool.submit(call) for _ in range(5)]
    for _ in range(4):
        assert running.acquire(timeout=LIMIT_S)
    assert not running.acquire(timeout=0.05)
    go.set()
    for task in tasks:
        task.result()
    assert running.acquire(timeout=LIMIT_S)
    assert pool._threads == 4


def test_an_idle_thread_is_used_again() -> None:
    """Calls one after the other need one thread."""
    pool = Pool("test", 4)
    for _ in range(20):
        pool.submit(lambda: None).result()
        wait_until_idle(pool, 1)
    assert pool._threads == 1


def test_close_skips_what_has_not_started() -> None:
    """A closed pool takes nothing more; queued calls fail with its error, those that run end on their own."""
    pool = Pool("test", 1)
    started, go = threading.Event(), threading.Event()

    def call() -> str:
        started.set()
        assert go.wait(LIMIT_S)
        return "ran"

    running = pool.submit(call)
    assert started.wait(LIMIT_S)
    queued = pool.submit(lambda: "never")
    pool.close(Cancelled("over", exit_code=143))
    with pytest.raises(Cancelled):
        queued.result()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(lambda: None)
    go.set()
    assert running.result() == "ran"


def test_an_error_reaches_whoever_waits() -> None:
    """What a call raises is raised by `result`; followers are called either way, late ones at once."""
    ended: list[str] = []
    task: Task[int] = Task(lambda: 1 // 0)
    task.when_done(lambda: ended.append("first"))
    task.run()
    task.when_done(lambda: ended.append("late"))
    with pytest.raises(ZeroDivisionError):
        task.result()
    assert ended == ["first", "late"]
    assert finished(7).result() == 7
