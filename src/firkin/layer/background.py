"""An iterator that runs ahead in a thread of its own. Does I/O. `layer` uses it.

    with Background(chunks, depth=4) as ahead:
        for chunk in ahead: ...

At most `depth` items wait. An error of the iterator is raised where the items are taken. Leaving the
`with` early stops the iterator at its next item and waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from threading import Semaphore, Thread
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Pulls `items` in another thread, at most `depth` ahead."""

    def __init__(self, items: Iterable[T], depth: int = 4) -> None:
        self._items = items
        self._ready: deque[T] = deque()
        self._free = Semaphore(depth)
        self._filled = Semaphore(0)
        self._failure: BaseException | None = None
        self._stopped = False
        self._thread = Thread(target=self._run, name="firkin-ahead", daemon=True)

    def __enter__(self) -> Background[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._free.release()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        ready, free, filled = self._ready, self._free, self._filled
        while True:
            filled.acquire()
            if not ready:
                # Only the end is announced without an item.
                filled.release()
                if self._failure is not None:
                    raise self._failure
                return
            item = ready.popleft()
            free.release()
            yield item

    def _run(self) -> None:
        try:
            for item in self._items:
                self._free.acquire()
                if self._stopped:
                    break
                self._ready.append(item)
                self._filled.release()
        except BaseException as error:  # noqa: BLE001 - the taker's thread raises it
            self._failure = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None and self._stopped:
                close()
            self._filled.release()
