"""Overlay mounts and what is mounted where. I; any module from `linux` upwards may import it."""

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


def mount_overlay_view(lowers: tuple[str, ...], target: str) -> None:
    """Mount the merged, read-only view of two or more `lowers`, from the top down, at `target`.

    `userxattr` always: trees carry `user.overlay.*`, so that root and users can share their making.
    Raises OSError.
    """
    held: list[int] = []

    def short(path: str) -> str:
        # A parameter of fsconfig may have 255 bytes.
        if len(os.fsencode(path)) < 200:
            return path
        held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return f"/proc/self/fd/{held[-1]}"

    attributes = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOSUID
    context = syscalls.fsopen("overlay")
    try:
        for number, lower in enumerate(lowers):
            try:
                syscalls.fsconfig_string(context, "lowerdir+", short(lower))
            except OSError:
                if number:
                    raise
                _mount_view_before_6_5(lowers, target)
                return
        syscalls.fsconfig_flag(context, "userxattr")
        syscalls.fsconfig_create(context)
        tree = syscalls.fsmount(context, attributes)
        try:
            syscalls.move_mount(tree, target)
        finally:
            os.close(tree)
    finally:
        os.close(context)
        for fd in held:
            os.close(fd)


def _mount_view_before_6_5(lowers: tuple[str, ...], target: str) -> None:
    # One page of options: layers are named by descriptor, about 230 of them fit.
    held = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in lowers]
    try:
        names = ":".join(f"/proc/self/fd/{fd}" for fd in held)
        flags = syscalls.MS_RDONLY | syscalls.MS_NODEV | syscalls.MS_NOSUID
        syscalls.mount("overlay", target, "overlay", flags, f"lowerdir={names},userxattr")
    finally:
        for fd in held:
            os.close(fd)


def unmount(path: str) -> None:
    """Take a mount out of sight at once; it is freed when its last user ends. Raises OSError."""
    syscalls.umount2(path, syscalls.MNT_DETACH)


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
