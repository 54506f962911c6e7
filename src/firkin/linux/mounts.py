"""Overlay mounts and what is mounted where. Does I/O. Any module from `linux` upwards may import it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from firkin.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LOWERS = 500  # OVL_MAX_STACK of the kernel


class Overlay(msgspec.Struct, frozen=True):
    """A recipe for a writable root; whoever runs a command mounts it, in a mount namespace of its own.

    `lowers` from the top down, may be empty. `upper`, `work` and `scratch` are on one file system;
    `scratch` is an empty directory for mount points and discarded writes, and goes when the step ends.
    """

    lowers: tuple[str, ...]
    upper: str
    work: str
    scratch: str


def make_private() -> None:
    """Keep mounts of this mount namespace from spreading to others, and theirs from here."""
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE, None)


def iter_mount_points(pid: str = "self") -> Iterator[tuple[str, str]]:
    """Yield path and file system type of every mount of a process, in mount order (proc(5), mountinfo)."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            yield os.fsdecode(_unescape(before.split()[4])), os.fsdecode(after.split()[0])


def _unescape(field: bytes) -> bytes:
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, char)
    return field
