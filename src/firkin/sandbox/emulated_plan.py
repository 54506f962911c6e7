"""RunSpec and a plain root → the plan of a command where mounts are not allowed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from firkin.errors import UsageError
from firkin.oci.run import FileMount, HostMount, MemoryMount
from firkin.oci.run_settings import DEVICE_LINKS
from firkin.sandbox import operations as op
from firkin.sandbox.command_plan import (
    DEFAULT_CAPABILITIES,
    checked_target,
    hosts_file,
    known_filters,
    plan_command,
    plan_confinement,
    plan_questions,
    sorted_mounts,
)
from firkin.sandbox.filters import network_filter

if TYPE_CHECKING:
    from firkin.oci.run import Mount, RunSpec
    from firkin.sandbox.operations import Operation, Plan

# The devices that `init/emulated_mounts.py` makes.
_DEVICES = (
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8), ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)  # fmt: skip
# Known ways to escape from a chroot, and to control processes with more rights than the command.
_SETPCAP, _SYS_CHROOT, _SYS_PTRACE = 1 << 8, 1 << 18, 1 << 19
_ALL = (1 << 41) - 1


class MountSource(msgspec.Struct, frozen=True):
    """The source of a bind mount: a copy made for it, a directory that must be put back (`keep`), or a socket."""

    kind: Literal["copy", "keep", "socket"]
    path: str


def prepare(
    spec: RunSpec,
    root: str,
    scratch: str,
    *,
    parent: int,
    machine: str,
    sources: tuple[MountSource | None, ...],
    proc_files: tuple[tuple[str, bytes], ...],
) -> Plan:
    """Return the plan of `init` for one command without namespaces.

    `root` is a directory to chroot to, or "/" for this container's own root, whose /proc, /dev and
    network files stay as they are; `scratch` is a directory on its file system; `sources` belong to
    `sorted_mounts(spec)`, None for mounts that are not host mounts; `proc_files` are shown as /proc in a chroot.
    Raises UsageError for an invalid mount target.
    """
    own_root = root == "/"
    surroundings = _own_surroundings(spec) if own_root else _chroot_surroundings(spec, proc_files)
    mounts = zip(sorted_mounts(spec), sources, strict=True)
    dropped = _SYS_PTRACE | (_SETPCAP if own_root else _SYS_CHROOT)
    kept = _ALL if spec.security == "insecure" else DEFAULT_CAPABILITIES
    cut_off = spec.network == "none"
    program = network_filter(machine) if cut_off else b""
    setup = (op.OpenRoot(root, scratch), *surroundings, *(_mounted(mount, source) for mount, source in mounts))
    if cut_off and not program:
        raise UsageError(f"`--network none` cannot be had without namespaces on {machine}", code="network-none")
    return op.Plan(
        parent=parent,
        namespaces=0,
        emulated=True,
        setup=setup,
        inside=(),
        after=(),
        command=plan_command(
            spec,
            chroot="" if own_root else root,
            devices=_DEVICES,
            keep=kept & ~dropped,
            # Without CAP_SYS_ADMIN, a filter needs no_new_privs; and a setuid program could bypass the filter.
            no_new_privs=cut_off,
            filters=known_filters(program),
        ),
        confinement=plan_confinement(spec, machine, shared=True),
        questions=plan_questions(machine, owners=False, sockets=spec.security != "insecure"),
        joins=False,
    )


def _chroot_surroundings(spec: RunSpec, proc_files: tuple[tuple[str, bytes], ...]) -> list[Operation]:
    return [
        op.EmulateDevices(DEVICE_LINKS),
        op.ShowTexts("/proc", (*proc_files, ("mounts", b"rootfs / rootfs rw 0 0\n"))),
        op.ShowDirectory("/sys"),
        op.ShowFile("/etc/hosts", hosts_file(spec), 0o644, 0, 0),
        op.ShowFile("/etc/resolv.conf", spec.resolv_conf, 0o644, 0, 0),
    ]


def _own_surroundings(spec: RunSpec) -> list[Operation]:
    operations: list[Operation] = []
    if spec.hosts:
        lines = "".join(f"{address}\t{name}\n" for name, address in spec.hosts)
        operations.append(op.Amend("/etc/hosts", lines.encode(), True))
    if spec.resolv_conf:
        operations.append(op.Amend("/etc/resolv.conf", spec.resolv_conf, False))
    return operations


def _mounted(mount: Mount, source: MountSource | None) -> Operation:
    target = checked_target(mount.target)
    match mount:
        case FileMount():
            return op.ShowFile(target, mount.content, mount.mode, mount.uid, mount.gid)
        case MemoryMount():
            return op.ShowEmpty(target, -1 if mount.mode is None else mount.mode)
        case HostMount():
            if source is None:
                raise ValueError(f"no source for the mount at {target}")
            match source.kind:
                case "copy":
                    return op.ShowTree(target, source.path)
                case "keep":
                    return op.Lend(target, source.path)
                case "socket":
                    return op.ShowSocket(target, source.path)
