"""RUN in a directory by chroot, for containers that grant no namespaces and no mounts. I; `backend` users may
import it.

A command has no way out: CAP_SYS_CHROOT is taken from it, no descriptor leads outside, and there is no
/proc but a few files. It shares network and process numbers with the container.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.sandbox import plain, process
from firkin.sandbox.plain_ops import plain_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.sandbox.spec import RunResult, RunSpec


class ChrootSandbox:
    """Needs CAP_SYS_CHROOT, CAP_SETUID and CAP_SETGID; with CAP_MKNOD commands get real devices."""

    def __init__(self, *, python: str = sys.executable) -> None:
        self._python = python

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
        """Run one command; see `Sandbox.run`."""
        if not isinstance(root, str):
            raise HostError("an overlay needs a sandbox that may mount", code="sandbox-root")
        plan = plain_plan(
            spec,
            root,
            scratch,
            parent=os.getpid(),
            machine=os.uname().machine,
            sources=plain.prepare_sources(spec, scratch),
            proc_files=plain.read_proc_files(),
        )
        return process.run_init(self._python, plan, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd)
