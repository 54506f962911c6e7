"""Makes the root file system and the sandbox that `backend` chooses from this machine's facts. Does I/O."""

from __future__ import annotations

from firkin.rootfs.overlay import OverlayRootfs
from firkin.sandbox.namespaces import NamespaceSandbox
from firkin.solve.engine import Backing


def choose_backing(isolation: str) -> Backing:
    """Return root file systems and sandbox for RUN."""
    return Backing(OverlayRootfs(), NamespaceSandbox())
