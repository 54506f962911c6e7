"""RUN in namespaces of its own, on an overlay or a plain directory. I; `backend` users may import it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from firkin.sandbox import ops, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.sandbox.spec import RunResult, RunSpec


class NamespaceSandbox:
    """Needs the mount right (CAP_SYS_ADMIN), of root or of a user namespace.

    `single_id` says that the user namespace has one id only: changes of owner and identity are then
    answered with success and not done, so that package managers get through.
    """

    def __init__(self, *, single_id: bool = False, python: str = sys.executable) -> None:
        self._single_id = single_id
        self._python = python

    def run(
        self,
        spec: RunSpec,
        root: Overlay | str,
        *,
        scratch: str,
        on_output: Callable[[bytes], None],
        cancel_fd: int | None = None,
    ) -> RunResult:
        """Run one command; see `Sandbox.run`."""
        machine = os.uname().machine
        plan = ops.namespace_plan(spec, root, scratch, parent=os.getpid(), machine=machine, single_id=self._single_id)
        return process.run_init(self._python, plan, on_output=on_output, cancel_fd=cancel_fd)
