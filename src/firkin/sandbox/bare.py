"""RUN on this container's own root, one command at a time. Does I/O.

The steps may have replaced files that an interpreter needs, so none is started: `launcher`, a process that was
forked while everything was still in place, forks again for every command.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.sandbox import emulated_plan
from firkin.sandbox.mount_copies import prepare_sources
from firkin.sandbox.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.sandbox.launcher import Launcher
    from firkin.sandbox.result import RunResult


class BareSandbox:
    """Needs only root, to make files of any owner."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def run(
        self,
        spec: RunSpec,
        root: Overlay | str,
        *,
        scratch: str,
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None] | None = None,
        cancel_fd: int | None = None,
    ) -> RunResult:
        """Run one command; see `Sandbox.run`. Copies mounts that are not on the file system of `scratch`.

        Raises HostError.
        """
        if root != "/":
            raise HostError("this sandbox runs commands on the container's own root only", code="sandbox-root")
        plan = emulated_plan.prepare(
            spec,
            root,
            scratch,
            parent=self._launcher.pid,
            machine=os.uname().machine,
            sources=prepare_sources(spec, scratch),
            proc_files=(),
        )
        return run(plan, self._launcher.start, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd)
