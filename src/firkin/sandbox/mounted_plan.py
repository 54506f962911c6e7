"""RunSpec and root → the plan of a command in namespaces. Pure.

docs/dev/sandbox.md gives the reasons for the order of the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.oci.run import FileMount, HostMount, MemoryMount, RunSpec
from firkin.oci.run_settings import DEVICE_LINKS
from firkin.sandbox import operations as op
from firkin.sandbox.command_plan import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    checked_target,
    hosts_file,
    known_filters,
    plan_command,
    plan_confinement,
    plan_questions,
    sorted_mounts,
)

if TYPE_CHECKING:
    from firkin.linux.mounts import Overlay
    from firkin.oci.run import Mount
    from firkin.sandbox.operations import Operation, Plan

OWNERS_FILE = "owners"

# unshare(2) and mount_setattr(2)
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8
_DATA_ONLY = _NOSUID | _NODEV | _NOEXEC
_KERNEL_ROOTS = ("dev", "proc", "sys")

# Name, major, minor.
_DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
)  # fmt: skip
# The additional devices of an insecure step (buildkit entitlements.WithInsecureSpec). Type, major, minor.
_INSECURE_DEVICES = (
    ("/dev/kmsg", 0o020000, 1, 11),
    ("/dev/cuse", 0o020000, 10, 203),
    ("/dev/fuse", 0o020000, 10, 229),
    ("/dev/kvm", 0o020000, 10, 232),
    ("/dev/net/tun", 0o020000, 10, 200),
    ("/dev/loop-control", 0o020000, 10, 237),
    *((f"/dev/loop{number}", 0o060000, 7, number) for number in range(16)),
)
# Docker's lists (moby oci/defaults.go).
_MASKED_PROC = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list",
    "timer_stats",
)  # fmt: skip
_MASKED_SYS = ("devices/virtual/powercap", "firmware")
_READONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
# With one id apt cannot switch to its own user, and unlike other programs it checks that.
APT_AS_ROOT = ("etc/apt/apt.conf.d", "zz-firkin-one-id", b'APT::Sandbox::User "root";\n')


class _Layout:
    """The places of a command's files outside of its root, and the operations for its mounts."""

    def __init__(self, spec: RunSpec, scratch: str, *, single_id: bool) -> None:
        self.scratch, self.place, self.stubs = scratch, f"{scratch}/root", f"{scratch}/stubs"
        self.single_id = single_id
        self.nodev = 0 if spec.security == "insecure" else _NODEV
        self.files: list[tuple[str, bytes, int, int, int]] = [
            ("hosts", hosts_file(spec), 0o644, 0, 0),
            ("resolv.conf", spec.resolv_conf, 0o644, 0, 0),
        ]
        self.takes: list[Operation] = []
        self.points: list[Operation] = [op.Stub(f"{self.stubs}/{name}", True, "", 0o755) for name in _KERNEL_ROOTS]
        self.points += [self._file_point(f"/etc/{name}") for name, *_ in self.files]
        self.attaches: list[Operation] = []
        for number, mount in enumerate(sorted_mounts(spec)):
            self._add(f"mount-{number}", mount)

    def _add(self, name: str, mount: Mount) -> None:
        target = checked_target(mount.target)
        match mount:
            case FileMount():
                owner = (0, 0) if self.single_id else (mount.uid, mount.gid)
                self.files.append((name, mount.content, mount.mode, *owner))
                self.points.append(self._file_point(target))
                self.attaches.append(op.Attach(name, target, False))
            case MemoryMount():
                size = "" if mount.size_bytes is None else str(mount.size_bytes)
                self.points.append(op.Stub(self.stubs + target, True, "", 0o1777))
                self.attaches.append(op.Tmpfs(target, size, -1 if mount.mode is None else mount.mode))
            case HostMount():
                self.takes.append(self._take(name, mount))
                self.points.append(op.Stub(self.stubs + target, True, name, 0o755))
                self.attaches.append(op.Attach(name, target, False))

    def _file_point(self, target: str) -> Operation:
        return op.Stub(self.stubs + target, False, "", 0o755)

    def _take(self, name: str, mount: HostMount) -> Operation:
        path, readonly = mount.path, mount.readonly
        if len(mount.lowers) > 1 or (mount.discard and not readonly):
            writes = f"{self.scratch}/{name}"
            return op.BindLayers(name, mount.lowers, path or "", writes, self.place, readonly, self.nodev)
        if path is None:
            return op.Bind(name, mount.lowers[0], readonly, self.nodev)
        return op.BindBeneath(name, mount.lowers[0], path, readonly, self.nodev)

    def enter(self, root: Overlay | str) -> tuple[Operation, ...]:
        """Return the operations that make mount points below the layers, and the one that mounts the root."""
        if isinstance(root, str):
            return (op.BindRoot(root, self.place, self.nodev),)
        lowers = (*root.lowers, self.stubs)
        apt = (op.StubFile(self.stubs, root.lowers, *APT_AS_ROOT),) if self.single_id else ()
        return (*self.points, *apt, op.OverlayRoot(lowers, root.upper, root.work, self.place, self.nodev, True))


def prepare(
    spec: RunSpec, root: Overlay | str, scratch: str, *, parent: int, machine: str, single_id: bool, fresh_proc: bool
) -> Plan:
    """Return the plan of `init` for one command in namespaces.

    `root` is a recipe or a directory that is used in place; `scratch` is an empty directory; the command dies with
    the process `parent`; `machine` is that of uname; `single_id`: the user namespace has one id; `fresh_proc`: the
    kernel grants a /proc. Without it the command stays in the PID namespace, too.
    Raises UsageError for an invalid mount target.
    """
    insecure = spec.security == "insecure"
    questions = plan_questions(machine, owners=single_id, sockets=not insecure)
    layout = _Layout(spec, scratch, single_id=single_id)
    upper = root if isinstance(root, str) else root.upper
    noted = (op.KeepOwners(upper, f"{scratch}/{OWNERS_FILE}"),) if single_id and questions is not None else ()
    return op.Plan(
        parent=parent,
        namespaces=_namespaces(spec, fresh_proc=fresh_proc),
        emulated=False,
        setup=_setup(spec, layout, noted, layout.enter(root), fresh_proc=fresh_proc),
        inside=_inside(spec, fresh_proc=fresh_proc),
        after=() if insecure else (op.Freeze(),),
        command=plan_command(
            spec, switch=not single_id, keep=ALL_CAPABILITIES if insecure else DEFAULT_CAPABILITIES
        ),
        confinement=plan_confinement(spec, machine, shared=not fresh_proc),
        questions=questions,
        joins=False,
    )


def prepare_joined(spec: RunSpec, namespaces: int, *, parent: int, machine: str, single_id: bool) -> Plan:
    """Return the plan of a second command in the namespaces of a running one; it has the mounts of the first.

    Its owners are not noted: in a user namespace with one id, its changes of owner succeed without effect.
    """
    insecure = spec.security == "insecure"
    questions = plan_questions(machine, owners=single_id, sockets=not insecure)
    muted = questions.instead if single_id and questions is not None else b""
    return op.Plan(
        parent=parent,
        namespaces=namespaces,
        emulated=False,
        setup=(),
        inside=(),
        after=(),
        command=plan_command(
            spec,
            switch=not single_id,
            keep=ALL_CAPABILITIES if insecure else DEFAULT_CAPABILITIES,
            filters=known_filters(muted),
        ),
        confinement=plan_confinement(spec, machine, shared=not namespaces & CLONE_NEWPID),
        questions=None if muted else questions,
        joins=True,
    )


def _namespaces(spec: RunSpec, *, fresh_proc: bool) -> int:
    namespaces = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC
    if fresh_proc:
        namespaces |= CLONE_NEWPID
    if spec.network == "none":
        namespaces |= _CLONE_NEWNET
    return namespaces


def _setup(
    spec: RunSpec, layout: _Layout, noted: tuple[Operation, ...], enter: tuple[Operation, ...], *, fresh_proc: bool
) -> tuple[Operation, ...]:
    insecure = spec.security == "insecure"
    shm_options = (("mode", "1777"), ("size", str(spec.shm_size_bytes)))
    *points, enter_root = enter
    return (
        op.Private(),
        op.MakeDirectory(layout.place),
        op.MakeDirectory(layout.stubs),
        op.Files(layout.place, tuple(layout.files)),
        op.Nodes(layout.place, _DEVICES),
        op.Sysfs(not insecure),
        *(() if fresh_proc else (op.Bind("proc", "/proc", False, 0),)),
        *layout.takes,
        *points,
        *noted,
        enter_root,
        *(op.OwnPoint(name) for name in ("proc", "sys")),
        op.MountNew("tmpfs", "/dev", (("mode", "0755"), ("size", "65536k")), _NOSUID | layout.nodev),
        *(op.Attach(f"dev-{name}", f"/dev/{name}", name == "null") for name, _, _ in _DEVICES),
        *(op.Symlink(text, path) for text, path in DEVICE_LINKS),
        *((op.Devices(_INSECURE_DEVICES),) if insecure else ()),
        op.Devpts("/dev/pts"),
        op.MountNew("tmpfs", "/dev/shm", shm_options, _DATA_ONLY),
        op.TryMount("mqueue", "/dev/mqueue", (), _DATA_ONLY),
        op.AttachOwn("sys"),
        *(() if fresh_proc else (op.AttachOwn("proc"),)),
        op.Attach("hosts", "/etc/hosts", False),
        op.Attach("resolv.conf", "/etc/resolv.conf", False),
        *layout.attaches,
        op.Pivot(),
    )


def _inside(spec: RunSpec, *, fresh_proc: bool) -> tuple[Operation, ...]:
    masks = (op.Mask("proc", _MASKED_PROC), op.Mask("sys", _MASKED_SYS), op.ReadOnly("proc", _READONLY_PROC))
    return (
        op.Hostname(spec.hostname),
        *((op.Loopback(),) if spec.network == "none" else ()),
        *((op.Proc(), op.Leave()) if fresh_proc else (op.Leave(),)),
        *(masks if fresh_proc and spec.security != "insecure" else ()),
    )
