"""Makes the root file system and the sandbox that `backend` chose from this machine's facts. Does I/O."""

from __future__ import annotations

from firkin.backend import Backend
from firkin.errors import HostError
from firkin.request import BuildRequest
from firkin.solve.engine import Backing


def make_backing(backend: Backend, request: BuildRequest) -> Backing:
    """Return root file systems and sandbox for RUN. Raises HostError."""
    match backend.sandbox:
        case "namespaces":
            from firkin.rootfs.overlay import OverlayRootfs
            from firkin.sandbox.namespaces import NamespaceSandbox

            return Backing(
                OverlayRootfs(), NamespaceSandbox(single_id=backend.single_id, fresh_proc=backend.fresh_proc)
            )
        case "chroot":
            from firkin.rootfs.directory import DirectoryRootfs
            from firkin.sandbox.chroot import ChrootSandbox

            return Backing(DirectoryRootfs(), ChrootSandbox(), moves_caches=True)
        case "bare":
            raise HostError("RUN on the container's own root needs the executor image", code="no-inplace")
