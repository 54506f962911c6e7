"""RUN in namespaces of its own, on an overlay or a plain directory. Does I/O."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from firkin.sandbox import mounted_plan
from firkin.sandbox.run import run
from firkin.sandbox.spawn import python_starter, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from firkin.linux.mounts import Overlay
    from firkin.oci.run import RunSpec
    from firkin.sandbox.operations import Plan
    from firkin.sandbox.result import RunResult
    from firkin.sandbox.spawn import Namespaces, Process, Stdio


class NamespaceSandbox:
    """Needs the right to mount (CAP_SYS_ADMIN), as root or in a user namespace.

    `single_id`: the user namespace has one id only; changes of owner and identity then succeed without
    effect, so that package managers work. `fresh_proc` false: the kernel grants no new /proc; commands
    then see the processes of this PID namespace, and a worker that holds secrets must not be dumpable
    (`linux.syscalls.set_dumpable`).
    """

    def __init__(self, *, single_id: bool = False, fresh_proc: bool = True, python: str = sys.executable) -> None:
        self._single_id = single_id
        self._fresh_proc = fresh_proc
        self._start = python_starter(python)

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
        plan = self.prepare(spec, root, scratch)
        result = run(plan, self._start, on_output=on_output, on_error=on_error, cancel_fd=cancel_fd)
        if not self._single_id:
            return result
        return replace(result, owners=_read_owners(f"{scratch}/{mounted_plan.OWNERS_FILE}"))

    def prepare(self, spec: RunSpec, root: Overlay | str, scratch: str) -> Plan:
        """Return the plan of one command; see `mounted_plan.prepare`."""
        return mounted_plan.prepare(
            spec,
            root,
            scratch,
            parent=os.getpid(),
            machine=os.uname().machine,
            single_id=self._single_id,
            fresh_proc=self._fresh_proc,
        )

    def spawn(self, plan: Plan, stdio: Stdio) -> Process:
        """Start a command that can be signalled and joined; the caller waits for it. Raises HostError."""
        return spawn(plan, stdio, self._start, reachable=True)

    def join(self, namespaces: Namespaces, spec: RunSpec, stdio: Stdio) -> Process:
        """Start a second command in the namespaces of a running one, with the same limits. Raises HostError.

        It sees the mounts and processes of the first; mounts, hosts and network in `spec` are ignored. It ends with the
        first one. If the first has a PID namespace, processes that the second leaves behind go on in it.
        """
        plan = mounted_plan.prepare_joined(
            spec, namespaces.flags, parent=os.getpid(), machine=os.uname().machine, single_id=self._single_id
        )
        return spawn(plan, stdio, self._start, reachable=True, joined=namespaces.pidfd)


def _read_owners(path: str) -> tuple[tuple[str, int, int], ...]:
    """Read the file of `owners.py`: records of `uid gid path` that end in NUL."""
    try:
        with open(path, "rb") as file:
            records = file.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return ()  # `filters` does not know this machine, so nobody wrote the file
    found = []
    for record in records:
        uid, gid, name = record.split(b" ", 2)
        found.append((os.fsdecode(name), int(uid), int(gid)))
    return tuple(found)
