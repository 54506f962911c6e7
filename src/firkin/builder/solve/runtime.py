"""Makes the root file system and the sandbox that `backend` chose from this machine's facts. Does I/O."""

from __future__ import annotations

from collections.abc import Callable

from firkin.backend import Backend
from firkin.builder.request import BuildRequest
from firkin.builder.solve.services import Runtime


def make_runtime(backend: Backend, request: BuildRequest, preload: Callable[[], None]) -> Runtime:
    """Return root file systems and sandbox for RUN; `preload` reads what a replaced root would hide.

    Raises HostError.
    """
    match backend.sandbox:
        case "namespaces":
            from firkin.rootfs.overlay import OverlayRootfs
            from firkin.sandbox.namespaces import NamespaceSandbox

            return Runtime(
                OverlayRootfs(), NamespaceSandbox(single_id=backend.single_id, fresh_proc=backend.fresh_proc)
            )
        case "chroot":
            from firkin.rootfs.directory import DirectoryRootfs
            from firkin.sandbox.chroot import ChrootSandbox

            return Runtime(DirectoryRootfs(), ChrootSandbox(), moves_caches=True)
        case "bare":
            from firkin.builder.solve.inplace import make_inplace

            return make_inplace(request, preload, chroot_too=backend.chroot_too)
