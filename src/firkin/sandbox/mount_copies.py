"""Copies of host mounts, and the /proc files of a chroot: for sandboxes that cannot mount. Does I/O."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from firkin.errors import HostError
from firkin.layer.apply import apply_changes
from firkin.layer.change import Put
from firkin.layer.view import DirectoryView, StackView, resolve_path
from firkin.oci.run import HostMount
from firkin.sandbox.command_plan import sorted_mounts
from firkin.sandbox.emulated_plan import MountSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firkin.layer.change import View
    from firkin.oci.run import RunSpec

# Files about the machine, not about a process, that build tools read.
_PROC_FILES = (
    "cpuinfo", "meminfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys/kernel/osrelease",
    "sys/kernel/ostype", "sys/kernel/version", "sys/kernel/pid_max", "sys/kernel/ngroups_max",
    "sys/kernel/cap_last_cap", "sys/vm/overcommit_memory", "sys/fs/file-max", "sys/net/core/somaxconn",
)  # fmt: skip


def prepare_sources(spec: RunSpec, scratch: str) -> tuple[MountSource | None, ...]:
    """Prepare the sources of the host mounts in `sorted_mounts(spec)`; copies are made in `scratch`.

    Raises HostError for a source that does not exist.
    """
    sources: list[MountSource | None] = []
    for number, mount in enumerate(sorted_mounts(spec)):
        sources.append(_prepare(mount, f"{scratch}/source-{number}") if isinstance(mount, HostMount) else None)
    return tuple(sources)


def _prepare(mount: HostMount, place: str) -> MountSource:
    if mount.path is None and len(mount.lowers) == 1:
        path = mount.lowers[0]
        kind = stat.S_IFMT(os.lstat(path).st_mode)
        if kind == stat.S_IFSOCK:
            return MountSource("socket", path)
        if kind == stat.S_IFDIR and not mount.readonly and not mount.discard:
            return MountSource("keep", path)
        return _copy(DirectoryView(os.path.dirname(path)), os.path.basename(path), place, mount)
    view = StackView(tuple(reversed(mount.lowers)))
    return _copy(view, resolve_path(view, mount.path or ""), place, mount)


def _copy(view: View, path: str, place: str, mount: HostMount) -> MountSource:
    if view.lstat(path) is None:
        raise HostError(
            f"cannot prepare the sandbox: bind `{mount.path or mount.lowers[0]}`: no such file or directory",
            code="sandbox-setup",
        )
    os.mkdir(place, 0o755)
    apply_changes(_iter_puts(view, path, "it", {}), place, form="flat")
    return MountSource("copy", f"{place}/it")


def _iter_puts(view: View, path: str, name: str, links: dict[tuple[int, int], str]) -> Iterator[Put]:
    entry = view.lstat(path)
    if entry is None:
        return
    if entry.inode is not None:
        first = links.setdefault(entry.inode, name)
        if first != name:
            yield Put(name, entry, None, first)
            return
    yield Put(name, entry, view.content(path) if entry.kind == "file" else None)
    if entry.kind == "dir":
        for each in view.iterdir(path):
            yield from _iter_puts(view, f"{path}/{each}" if path else each, f"{name}/{each}", links)


def read_proc_files() -> tuple[tuple[str, bytes], ...]:
    """Return the files of /proc that describe only the machine; unreadable ones are left out."""
    found = []
    for name in _PROC_FILES:
        try:
            with open(f"/proc/{name}", "rb") as file:
                found.append((name, file.read(1 << 20)))
        except OSError:
            continue
    return tuple(found)
