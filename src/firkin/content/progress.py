"""Shows downloads of a base image's layers under the vertex of its FROM. Pure. It only emits events.

The first step that needs the layers of a base fetches them. The vertex of their FROM starts with the first byte
(a second time, because it ended when its name was resolved) and ends with the last, so that the download does not
count as time of the step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from firkin.errors import Cancelled
from firkin.events import Emit, Finished, Started
from firkin.oci.digest import Digest

Status = Literal["done", "failed", "cancelled"]


class FetchProgress:
    """The vertices of base images, and which of them are being fetched. Thread-safe."""

    def __init__(self, emit: Emit, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._lock = threading.Lock()
        self._vertices: dict[Digest, str] = {}
        self._users: dict[str, int] = {}

    def belongs(self, digest: Digest, vertex: str) -> None:
        """Show a blob under a vertex; the first vertex given for a blob counts."""
        with self._lock:
            self._vertices.setdefault(digest, vertex)

    def vertex(self, digest: Digest, waiting: str) -> str:
        """Return the vertex of a blob: that of its base image, else `waiting`, the step that waits for it."""
        return self._vertices.get(digest, waiting)

    @contextmanager
    def shown(self, digests: Iterable[Digest]) -> Iterator[None]:
        """Show the base images of these blobs as running during the block; blocks may overlap."""
        own = tuple({self._vertices[digest] for digest in digests if digest in self._vertices})
        for vertex in own:
            self._enter(vertex)
        status: Status = "failed"
        why = ""
        try:
            yield
            status = "done"
        except (Cancelled, GeneratorExit):
            status = "cancelled"
            raise
        except BaseException as error:
            why = str(error)
            raise
        finally:
            for vertex in own:
                self._leave(vertex, status, why)

    def _enter(self, vertex: str) -> None:
        with self._lock:
            users = self._users[vertex] = self._users.get(vertex, 0) + 1
            if users == 1:
                self._emit(Started(self._clock(), vertex))

    def _leave(self, vertex: str, status: Status, why: str) -> None:
        with self._lock:
            self._users[vertex] -= 1
            if not self._users[vertex]:
                self._emit(Finished(self._clock(), vertex, status, why))
