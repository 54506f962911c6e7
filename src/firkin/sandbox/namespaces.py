"""RUN in namespaces of its own, on an overlay or a plain directory. Does I/O. `backend` users may import it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from firkin.sandbox import ops, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.sandbox.result import RunResult


class NamespaceSandbox:
    """Needs the mount right (CAP_SYS_ADMIN), of root or of a user namespace.

    `single_id` says that the user namespace has one id only: changes of owner and identity are then
    answered with success and not done, so that package managers get through. `fresh_proc` false says
    that the kernel grants no new /proc: commands then see the processes of this PID namespace, and a
    worker that holds secrets must not be dumpable (`linux.syscalls.set_dumpable`).
    """

    def __init__(self, *, single_id: bool = False, fresh_proc: bool = True, python: str = sys.executable) -> None:
        self._single_id = single_id
        self._fresh_proc = fresh_proc
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
        plan = ops.namespace_plan(
            spec,
            root,
            scratch,
            parent=os.getpid(),
            machine=os.uname().machine,
            single_id=self._single_id,
            fresh_proc=self._fresh_proc,
        )
        result = process.run_init(self._python, plan, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd)
        return replace(result, owners=_read_owners(f"{scratch}/{ops.OWNERS_FILE}")) if self._single_id else result


def _read_owners(path: str) -> tuple[tuple[str, int, int], ...]:
    """Read what `owners.py` wrote: records of `uid gid path` that end in NUL."""
    try:
        with open(path, "rb") as file:
            records = file.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return ()  # a machine whose calls nobody knows
    found = []
    for record in records:
        uid, gid, name = record.split(b" ", 2)
        found.append((os.fsdecode(name), int(uid), int(gid)))
    return tuple(found)
