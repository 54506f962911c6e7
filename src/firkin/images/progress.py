"""What every transfer of images uses, and who receives the progress of their blobs. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from firkin.errors import Cancelled
from firkin.oci.descriptor import Descriptor
from firkin.registry.client import RegistryClient
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools, Task


class Listener(Protocol):
    """Receives the progress of an image's blobs; called from several threads."""

    def meter(self, digest: str, size_bytes: int, /) -> Callable[[int], None]:
        """Return a function that takes how many bytes of a blob were moved so far."""

    def kept(self, blob: Descriptor, outcome: str, /) -> None:
        """Take note of what became of a blob: `exists`, `mounted from REPOSITORY`, or `moved`."""


class Transfer(msgspec.Struct, frozen=True):
    """What every transfer uses. `wait` returns when all tasks have ended, and raises the first failure."""

    store: Store
    client: RegistryClient
    cancel: Cancel
    parallel: int
    wait: Callable[[Sequence[Task[None]]], None]

    def side_by_side(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        """Do the work for every blob, up to `parallel` at a time; raises the first failure."""

        def one(blob: Descriptor) -> None:
            self.cancel.check()
            work(blob)

        pools = Pools(steps=1, transfers=self.parallel, cpu=1)
        try:
            self.wait([pools.transfers.submit(lambda blob=blob: one(blob)) for blob in blobs])  # type: ignore[misc]
        finally:
            pools.close(Cancelled("the transfer has ended"))
