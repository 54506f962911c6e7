"""What images are moved with, and who is told how their blobs get on. Does I/O."""

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
    """Somebody who is told how the blobs of an image get on; called from several threads."""

    def meter(self, digest: str, size_bytes: int, /) -> Callable[[int], None]:
        """Return what takes the number of bytes of a blob that were moved so far."""

    def kept(self, blob: Descriptor, outcome: str, /) -> None:
        """Take note of a blob that needed not be moved: `exists` or `mounted`."""


class Transfer(msgspec.Struct, frozen=True):
    """What images are moved with. `wait` returns when all tasks have ended, or raises what the first raised."""

    store: Store
    client: RegistryClient
    cancel: Cancel
    parallel: int
    wait: Callable[[Sequence[Task[None]]], None]

    def side_by_side(self, work: Callable[[Descriptor], None], blobs: Iterable[Descriptor]) -> None:
        """Do the work for every blob, up to `parallel` at a time; raises what the first that failed raised."""

        def one(blob: Descriptor) -> None:
            self.cancel.check()
            work(blob)

        pools = Pools(steps=1, transfers=self.parallel, cpu=1)
        try:
            self.wait([pools.transfers.submit(lambda blob=blob: one(blob)) for blob in blobs])  # type: ignore[misc]
        finally:
            pools.close(Cancelled("the transfer has ended"))
