"""The control groups of a container: made, watched for want of memory, frozen, removed. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. linux/cgroups.py acts.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firkin.containers.monitor.loop import Loop
    from firkin.containers.monitor.notes import Notes
    from firkin.containers.monitor.spawning import Spawned, signal_all
    from firkin.linux.cgroups import (
        can_freeze,
        freeze_groups,
        kill_groups,
        make_groups,
        oom_happened,
        open_oom,
        remove_groups,
        write_values,
    )

SIGCONT, SIGSTOP = 18, 19


class Limits:
    """`cgroup` of the launch document, which an update replaces; None for a container without groups."""

    def __init__(self, loop: Loop, document: dict[str, Any], notes: Notes) -> None:
        self.loop = loop
        self.document = document
        self.notes = notes
        self.watched: list[int] = []  # for kills of processes for want of memory

    def make(self) -> None:
        """Make the groups. Raises OSError."""
        if self.document["cgroup"] is not None:
            make_groups(self.document["cgroup"])

    @property
    def has_later(self) -> bool:
        """Say whether there are limits that would be in the way of whoever sets the command up."""
        groups = self.document["cgroup"]
        return groups is not None and bool(groups.get("later"))

    def write_later(self) -> None:
        """Write them."""
        try:
            write_values(self.document["cgroup"]["later"])
        except OSError as error:
            self.notes.fault(error)

    def watch(self) -> None:
        """Note it when the kernel kills for want of memory."""
        groups = self.document["cgroup"]
        self.watched = open_oom(groups) if groups is not None else []
        if self.watched:
            self.loop.watch(self.watched[0], self.watched[1], self.memory_moved)

    def memory_moved(self, _: int) -> None:
        """The kernel may have killed a process of the container, the first or another."""
        if oom_happened(self.document["cgroup"], self.watched):
            self.notes.event("oom")
            if not self.notes.state["oom_killed"]:
                self.notes.save(oom_killed=True)

    def freeze(self, frozen: bool, spawned: Spawned | None) -> bool:
        """Freeze or thaw every process, by signals where groups cannot; return whether that was possible."""
        groups = self.document["cgroup"]
        if groups is None or not can_freeze(groups):
            number = SIGSTOP if frozen else SIGCONT
            return spawned is not None and signal_all(spawned.pidfd, spawned.pid, number)
        try:
            freeze_groups(groups, frozen)
        except OSError as error:
            self.notes.say_once(f"the container cannot be paused: {error}")
            return False
        return True

    def end(self) -> None:
        """Nothing of the container runs any more, or should; take the last word of its groups."""
        groups = self.document["cgroup"]
        if groups is None:
            return
        if self.watched:
            self.memory_moved(0)
            self.loop.forget(self.watched[0])
            os.close(self.watched[0])
            self.watched = []
        kill_groups(groups)
        remove_groups(groups)


def why_not_started(error: BaseException) -> str:
    """Return why what a command needs could not be made, in the words of runc."""
    if not isinstance(error, OSError) or not error.filename:
        return str(error)
    path = str(error.filename)
    text = f"unable to apply cgroup configuration: write {path}: {(error.strerror or '').lower()}"
    if path.endswith("/cpu.rt_runtime_us"):
        text += f": {os.path.dirname(os.path.dirname(path))}/cpu.rt_runtime_us has no time to give"
    return text
