"""The services that the session of a build offers to its steps, as values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from firkin.builder.cache.records import StepRecords
from firkin.builder.copy.content import FileDigests
from firkin.builder.copy.plan import CopyTools
from firkin.builder.history.ledger import Ledger
from firkin.builder.request import RunOptions, Secret
from firkin.content.layers import Layers
from firkin.events import Emit
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

if TYPE_CHECKING:
    from firkin.builder.solve.remote_cache import RemoteCache
    from firkin.rootfs import Rootfs
    from firkin.sandbox import Sandbox


class Runtime(msgspec.Struct, frozen=True):
    """The parts that make roots and run commands on this machine; they carry out a `Backend`, which is a decision.

    `moves_caches` says that a cache mount can be in one place only, so commands cannot share it.
    """

    rootfs: Rootfs
    sandbox: Sandbox
    moves_caches: bool = False
    close: Callable[[], None] = lambda: None


class SshSockets(Protocol):
    """The SSH agents of the request."""

    def get(self, agent: str, /) -> str | None:
        """Return the path of an agent's socket by its id, None for one that was not given."""


class RunSettings(msgspec.Struct, frozen=True):
    """The settings of RUN steps that come from the request and the machine.

    `empties_mounts`: cache mounts begin empty if --no-cache executes their step.
    """

    options: RunOptions
    secrets: Mapping[str, Secret]
    ssh_sockets: SshSockets
    resolv_conf: bytes
    empties_mounts: bool = True


class Services(msgspec.Struct, frozen=True):
    """The services that steps use. All are thread-safe.

    `runtime` makes the root file systems and the sandbox on first use. `stop` is set when the build is cancelled or a
    step has failed, and `stop_fd` is then readable. `ledger` takes what the record of the build says of its steps.
    """

    store: Store
    records: StepRecords
    layers: Layers
    pools: Pools
    tools: CopyTools
    file_digests: FileDigests
    run: RunSettings
    runtime: Callable[[], Runtime]
    remote: RemoteCache | None
    emit: Emit
    clock: Callable[[], float]
    stop: Cancel
    stop_fd: int
    ledger: Ledger = msgspec.field(default_factory=Ledger)
