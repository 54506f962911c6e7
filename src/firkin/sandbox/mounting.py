"""Performs mount operations in this process, for whoever needs a root and no command. Does I/O.

The code is that of `init`, and is read before. Only in a fork that has a mount namespace of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from firkin.errors import HostError
from firkin.hints import Hint
from firkin.sandbox.spawn import mounting_codes

if TYPE_CHECKING:
    from firkin.sandbox.operations import Operation


class Mounter:
    """The mounts of one root; docs/dev/sandbox.md has the rules for the order of operations."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {"__name__": "firkin_init"}
        for code in mounting_codes():
            exec(code, self._names)
        self._mounts = self._names["RealMounts"]()

    def perform(self, *operations: Operation) -> None:
        """Perform operations in their order; raises HostError."""
        own = tuple(self._names[type(each).__name__](*each) for each in operations)
        try:
            self._mounts.perform(own)
        except self._names["Failed"] as failed:
            raise _refused(failed) from None

    def mount_memory(self, place: str) -> None:
        """Mount a small file system in memory; raises HostError."""
        names = self._names
        try:
            names["attach"](names["new_filesystem"]("tmpfs", (("mode", "0700"), ("size", "4m")), 0), place)
        except names["Failed"] as failed:
            raise _refused(failed) from None


def _refused(failed: Any) -> HostError:
    reason = os.strerror(failed.number)
    if failed.op == "private":  # the first one that needs a right
        message = f"this needs mounts, which this machine does not allow: {reason.lower()}"
        return HostError(message, code="sandbox-mount", hints=(Hint.of("host-lacks"),))
    return HostError(f"cannot {failed.op} `{failed.detail}`: {reason.lower()}", code="sandbox-mount")
