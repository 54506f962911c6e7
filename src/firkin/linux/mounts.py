"""Overlay mounts, and the list of mount points. Does I/O. Any module from `linux` upwards may import it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from firkin.linux import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LOWERS = 500  # OVL_MAX_STACK of the kernel


class Overlay(msgspec.Struct, frozen=True):
    """A writable root that is not mounted yet; the sandbox mounts it in the command's mount namespace.

    `lowers` are given from the top down and may be empty. `upper`, `work` and `scratch` are on one file system;
    `scratch` is an empty directory for mount points and discarded writes, which is removed when the step ends.
    """

    lowers: tuple[str, ...]
    upper: str
    work: str
    scratch: str


def make_private() -> None:
    """Stop mount propagation between this mount namespace and others, in both directions."""
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE, None)


def iter_mount_points() -> Iterator[tuple[str, str]]:
    """Yield path and file system type of every mount of this process, in mount order (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            yield os.fsdecode(_unescape(before.split()[4])), os.fsdecode(after.split()[0])


def _unescape(field: bytes) -> bytes:
    for code, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, char)
    return field
