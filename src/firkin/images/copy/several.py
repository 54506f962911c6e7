"""Work on several things at a time, all of which ends when one part of it fails. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from firkin.errors import Cancelled
from firkin.images.copy.ends import Chunks
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task

T = TypeVar("T")


class Several:
    """Does some work for every item, up to `parallel` at a time; all work has ended when it returns or raises."""

    def __init__(self, parallel: int, cancel: Cancel, wait: Callable[[Sequence[Task[None]]], None]) -> None:
        self._parallel = parallel
        self._cancel = cancel
        self._wait = wait
        self._failed = False

    def __call__(self, act: Callable[[T], None], items: Iterable[T]) -> None:
        def one(item: T) -> None:
            self.check()
            act(item)

        pools = Pools(steps=1, transfers=self._parallel, cpu=1)
        tasks = [pools.transfers.submit(lambda item=item: one(item)) for item in items]  # type: ignore[misc]
        try:
            self._wait(tasks)
        except BaseException:
            self._failed = True
            raise
        finally:
            pools.close(Cancelled("the transfer has ended"))
            for task in tasks:
                task.wait()

    def check(self) -> None:
        """Raise Cancelled when the copy was told to stop, or another blob has failed."""
        self._cancel.check()
        if self._failed:
            raise Cancelled("another blob could not be copied")

    def open(self, opened: Callable[[], Chunks]) -> Chunks:
        """Open a blob whose chunks end after a failure of another one."""
        return _Stopping(opened(), self.check)


class _Stopping:
    def __init__(self, chunks: Chunks, check: Callable[[], None]) -> None:
        self._chunks = chunks
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._check()
            yield chunk

    def close(self) -> None:
        self._chunks.close()
