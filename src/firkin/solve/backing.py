"""Makes the root file system and the sandbox that `backend` chooses from this machine's facts. Does I/O."""

from __future__ import annotations

from firkin.backend import Backend
from firkin.errors import HostError
from firkin.rootfs.overlay import OverlayRootfs
from firkin.sandbox.namespaces import NamespaceSandbox
from firkin.solve.engine import Backing


def make_backing(backend: Backend) -> Backing:
    """Return root file systems and sandbox for RUN."""
    if backend.rootfs == "overlay" and backend.sandbox == "namespaces":
        return Backing(OverlayRootfs(), NamespaceSandbox(single_id=backend.single_id, fresh_proc=backend.fresh_proc))
    raise HostError(
        f"RUN needs namespaces here, and this machine offers only {backend.rootfs} and {backend.sandbox}",
        code="no-backing",
        hints=("`firkin info` lists every way and what it lacks",),
    )
