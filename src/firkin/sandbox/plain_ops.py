"""RunSpec and a plain root → what `init.py` performs where nothing can be mounted. Pure. `chroot` and `bare` import it.

Every operation is a method of `fixtures.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from firkin.errors import UsageError
from firkin.oci.run import FileMount, HostMount, MemoryMount
from firkin.sandbox.filters import network_filter
from firkin.sandbox.ops import (
    DEFAULT_CAPABILITIES,
    DEVICE_LINKS,
    asked_plan,
    checked_target,
    command_plan,
    confine_plan,
    hosts_file,
    known_filters,
    mount_depth,
)

if TYPE_CHECKING:
    from firkin.oci.run import Mount, RunSpec
    from firkin.sandbox.ops import Operation

# Those that `fixtures.py` makes.
_DEVICES = (
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8), ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)  # fmt: skip
# Classic ways out of a chroot, and into processes that may do more than the command.
_SETPCAP, _SYS_CHROOT, _SYS_PTRACE = 1 << 8, 1 << 18, 1 << 19
_ALL = (1 << 41) - 1


class MountSource(msgspec.Struct, frozen=True):
    """What a bind mount shows: a copy made for it, a directory to be put back (`keep`), or a socket."""

    kind: Literal["copy", "keep", "socket"]
    path: str


def sorted_mounts(spec: RunSpec) -> list[Mount]:
    """Return the mounts from the root down, as they are put in place."""
    return sorted(spec.mounts, key=mount_depth)


def plain_plan(
    spec: RunSpec,
    root: str,
    scratch: str,
    *,
    parent: int,
    machine: str,
    sources: tuple[MountSource | None, ...],
    proc_files: tuple[tuple[str, bytes], ...],
) -> dict[str, object]:
    """Return what `init.py` is to do for one command without namespaces.

    `root` is a directory to chroot to, or "/" for this container's own root, whose /proc, /dev and
    network files stay as they are; `scratch` is a directory on its file system; `sources` belong to
    `sorted_mounts(spec)`, None for what is no bind mount; `proc_files` are shown as /proc in a chroot.
    Raises UsageError for a mount target that cannot be.
    """
    own_root = root == "/"
    setup: list[Operation] = [("root", root, scratch)]
    setup += _own_surroundings(spec) if own_root else _chroot_surroundings(spec, proc_files)
    for mount, source in zip(sorted_mounts(spec), sources, strict=True):
        setup.append(_mounted(mount, source))
    dropped = _SYS_PTRACE | (_SETPCAP if own_root else _SYS_CHROOT)
    kept = _ALL if spec.security == "insecure" else DEFAULT_CAPABILITIES
    cut_off = spec.network == "none"
    program = network_filter(machine) if cut_off else b""
    if cut_off and not program:
        raise UsageError(f"`--network none` cannot be had without namespaces on {machine}", code="network-none")
    return {
        "parent": parent,
        "namespaces": 0,
        "surroundings": "Fixtures",
        "setup": setup,
        "inside": [],
        "after": [],
        "asked": asked_plan(machine, owners=False, sockets=spec.security != "insecure"),
        "command": {
            **command_plan(spec),
            "chroot": "" if own_root else root,
            "devices": _DEVICES,
            "switch": True,
            "keep": kept & ~dropped,
            # Without CAP_SYS_ADMIN a filter needs it, and setuid programs could get around one.
            "no_new_privs": cut_off,
            "confine": confine_plan(spec, machine, shared=True),
            "filters": known_filters(program),
        },
    }


def _chroot_surroundings(spec: RunSpec, proc_files: tuple[tuple[str, bytes], ...]) -> list[Operation]:
    return [
        ("devices", DEVICE_LINKS),
        ("text", "/proc", (*proc_files, ("mounts", b"rootfs / rootfs rw 0 0\n")), ()),
        ("directory", "/sys"),
        ("file", "/etc/hosts", hosts_file(spec), 0o644, 0, 0),
        ("file", "/etc/resolv.conf", spec.resolv_conf, 0o644, 0, 0),
    ]


def _own_surroundings(spec: RunSpec) -> list[Operation]:
    operations: list[Operation] = []
    if spec.hosts:
        lines = "".join(f"{address}\t{name}\n" for name, address in spec.hosts)
        operations.append(("amend", "/etc/hosts", lines.encode(), True))
    if spec.resolv_conf:
        operations.append(("amend", "/etc/resolv.conf", spec.resolv_conf, False))
    return operations


def _mounted(mount: Mount, source: MountSource | None) -> Operation:
    target = checked_target(mount.target)
    match mount:
        case FileMount():
            return ("file", target, mount.content, mount.mode, mount.uid, mount.gid)
        case MemoryMount():
            return ("empty", target, -1 if mount.mode is None else mount.mode)
        case HostMount():
            if source is None:
                raise ValueError(f"no source for the mount at {target}")
            name = {"copy": "tree", "keep": "keep", "socket": "socket"}[source.kind]
            return (name, target, source.path)
