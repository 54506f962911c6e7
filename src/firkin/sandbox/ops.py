"""RunSpec and root → the dictionary that `init.py` performs. Pure. The sandboxes may import it.

The dictionary and every operation are drawn in docs/dev/sandbox.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firkin.errors import UsageError
from firkin.oci.run import ULIMITS, FileMount, HostMount, MemoryMount, RunSpec
from firkin.sandbox.filters import ask_filter, asked_calls, deny_filter, limits_filter, strangers_filter

if TYPE_CHECKING:
    from firkin.linux.mounts import Overlay

Operation = tuple[object, ...]

OWNERS_FILE = "owners"

# unshare(2) and mount_setattr(2)
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8
_DATA_ONLY = _NOSUID | _NODEV | _NOEXEC

# Docker's default: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw
# sys_chroot mknod audit_write setfcap.
DEFAULT_CAPABILITIES = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
ALL_CAPABILITIES = -1

# Name, major, minor.
_DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
)  # fmt: skip
DEVICE_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
)
# What an insecure step has besides (buildkit entitlements.WithInsecureSpec). Type, major, minor.
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
# With one id apt cannot become its own user, and unlike others it looks whether it did.
APT_AS_ROOT = ("etc/apt/apt.conf.d", "zz-firkin-one-id", b'APT::Sandbox::User "root";\n')


def namespace_plan(
    spec: RunSpec, root: Overlay | str, scratch: str, *, parent: int, machine: str, single_id: bool, fresh_proc: bool
) -> dict[str, object]:
    """Return what `init.py` is to do for one command in namespaces.

    `root` is a recipe or a directory that is used in place; `scratch` an empty directory; `parent`
    the process that it dies with; `machine` as uname says; `single_id` that the user namespace has one
    id; `fresh_proc` that the kernel grants a /proc, without it the PID namespace is not left either.
    Raises UsageError for a mount target that cannot be.
    """
    insecure = spec.security == "insecure"
    place = f"{scratch}/root"
    stubs = f"{scratch}/stubs"
    nodev = 0 if insecure else _NODEV
    files: list[tuple[str, bytes, int, int, int]] = [
        ("hosts", hosts_file(spec), 0o644, 0, 0),
        ("resolv.conf", spec.resolv_conf, 0o644, 0, 0),
    ]
    takes: list[Operation] = [("nodes", place, _DEVICES), ("sysfs", not insecure)]
    if not fresh_proc:
        takes.append(("bind", "proc", "/proc", False, 0))
    points: list[Operation] = [
        ("stub", f"{stubs}/{name}", True, "") for name in ("dev", "proc", "sys")
    ]  # fmt: skip
    points += [("stub", f"{stubs}/etc/{name}", False, "") for name in ("hosts", "resolv.conf")]
    attaches: list[Operation] = []
    for number, mount in enumerate(sorted(spec.mounts, key=mount_depth)):
        name = f"mount-{number}"
        target = checked_target(mount.target)
        match mount:
            case FileMount():
                files.append((name, mount.content, mount.mode, *_owner(mount, single_id)))
                points.append(("stub", stubs + target, False, ""))
                attaches.append(("attach", name, target))
            case MemoryMount():
                size = "" if mount.size_bytes is None else str(mount.size_bytes)
                points.append(("stub", stubs + target, True, "", 0o1777))
                attaches.append(("tmpfs", target, size, -1 if mount.mode is None else mount.mode))
            case HostMount():
                takes.append(_take(name, mount, f"{scratch}/{name}", place, nodev))
                points.append(("stub", stubs + target, True, name))
                attaches.append(("attach", name, target))
    if isinstance(root, str):
        points.clear()
        enter: Operation = ("bindroot", root, place, nodev)
    else:
        if single_id:
            points.append(("stub_file", stubs, root.lowers, *APT_AS_ROOT))
        enter = ("overlay", (*root.lowers, stubs), root.upper, root.work, place, nodev)
    asked = asked_plan(machine, owners=single_id, sockets=not insecure)
    noted = single_id and asked is not None
    setup: list[Operation] = [
        ("private",),
        ("mkdir", place),
        ("mkdir", stubs),
        ("files", place, tuple(files)),
        *takes,
        *points,
        *((("owners", root if isinstance(root, str) else root.upper, f"{scratch}/{OWNERS_FILE}"),) if noted else ()),
        enter,
        *(("own_point", name) for name in ("proc", "sys")),
        ("mount", "tmpfs", "/dev", (("mode", "0755"), ("size", "65536k")), _NOSUID | nodev),
        *(("attach", f"dev-{name}", f"/dev/{name}", name == "null") for name, _, _ in _DEVICES),
        *(("symlink", target, path) for target, path in DEVICE_LINKS),
        *((("devices", _INSECURE_DEVICES),) if insecure else ()),
        ("devpts", "/dev/pts"),
        (
            "mount",
            "tmpfs",
            "/dev/shm",
            (("mode", "1777"), ("size", str(spec.shm_size_bytes))),
            _NOSUID | _NODEV | _NOEXEC,
        ),
        ("try_mount", "mqueue", "/dev/mqueue", (), _NOSUID | _NODEV | _NOEXEC),
        ("attach_own", "sys"),
        *(() if fresh_proc else (("attach_own", "proc"),)),
        ("attach", "hosts", "/etc/hosts"),
        ("attach", "resolv.conf", "/etc/resolv.conf"),
        *attaches,
        ("pivot",),
    ]
    inside: list[Operation] = [("hostname", spec.hostname)]
    namespaces = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | (_CLONE_NEWPID if fresh_proc else 0)
    if spec.network == "none":
        namespaces |= _CLONE_NEWNET
        inside.append(("loopback",))
    inside += [("proc",), ("leave",)] if fresh_proc else [("leave",)]
    if fresh_proc and not insecure:
        inside += [("mask", "proc", _MASKED_PROC), ("mask", "sys", _MASKED_SYS), ("readonly", "proc", _READONLY_PROC)]
    return {
        "parent": parent,
        "namespaces": namespaces,
        "surroundings": "Setup",
        "setup": setup,
        "inside": inside,
        "after": [] if insecure else [("freeze",)],
        "asked": asked,
        "command": {
            **command_plan(spec),
            "chroot": "",
            "no_new_privs": False,
            "switch": not single_id,
            "keep": ALL_CAPABILITIES if insecure else DEFAULT_CAPABILITIES,
            "confine": confine_plan(spec, machine, shared=not fresh_proc),
            "filters": [],
        },
    }


def asked_plan(machine: str, *, owners: bool, sockets: bool) -> dict[str, object] | None:
    """Return what `listener.py` needs to answer calls of a command, None if there are none."""
    program = ask_filter(machine, owners=owners, sockets=sockets) if owners or sockets else b""
    if not program:
        return None
    instead = ask_filter(machine, owners=owners, sockets=sockets, heard=False)
    return {"owners": owners, "program": program, "instead": instead, "calls": asked_calls(machine)}


def confine_plan(spec: RunSpec, machine: str, *, shared: bool) -> tuple[bool, list[bytes], list[bytes]] | None:
    """Return the arguments of `confine.confine`, None for an insecure step; `shared`: it sees processes of others."""
    if spec.security == "insecure":
        return None
    filters = known_filters(deny_filter(machine)) + (known_filters(limits_filter(machine)) if shared else [])
    return shared, filters, known_filters(strangers_filter(machine))


def known_filters(program: bytes) -> list[bytes]:
    """Return no program where `filters` does not know the machine."""
    return [program] if program else []


def command_plan(spec: RunSpec) -> dict[str, object]:
    """Return the part that is about the command itself. Raises UsageError for an unknown limit."""
    limits = []
    for limit in spec.ulimits:
        if limit.name not in ULIMITS:
            known = ", ".join(sorted(ULIMITS))
            raise UsageError(f"unknown ulimit `{limit.name}`", code="ulimit", hints=(f"known are {known}",))
        limits.append((limit.name, ULIMITS[limit.name], limit.soft, limit.hard))
    return {
        "argv": list(spec.argv),
        "arg0": spec.arg0 or "",
        "env": dict(spec.env),
        "cwd": spec.cwd or "/",
        "uid": spec.uid,
        "gid": spec.gid,
        "groups": list(spec.groups),
        "umask": spec.umask,
        "limits": limits,
    }


def _take(name: str, mount: HostMount, scratch: str, place: str, attributes: int) -> Operation:
    if len(mount.lowers) > 1 or (mount.discard and not mount.readonly):
        return ("bind_layers", name, mount.lowers, mount.path or "", scratch, place, mount.readonly, attributes)
    if mount.path is None:
        return ("bind", name, mount.lowers[0], mount.readonly, attributes)
    return ("bind_beneath", name, mount.lowers[0], mount.path, mount.readonly, attributes)


def _owner(mount: FileMount, single_id: bool) -> tuple[int, int]:
    return (0, 0) if single_id else (mount.uid, mount.gid)


def hosts_file(spec: RunSpec) -> bytes:
    """Return /etc/hosts as BuildKit writes it: loopback names, the host name, what the user added, in order."""
    lines = [
        f"127.0.0.1\tlocalhost {spec.hostname}",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    lines += [f"{address}\t{name}" for name, address in spec.hosts]
    return ("\n".join(lines) + "\n").encode()


def mount_depth(mount: HostMount | MemoryMount | FileMount) -> int:
    return mount.target.rstrip("/").count("/")


def checked_target(target: str) -> str:
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if not target.startswith("/") or not parts or ".." in parts or parts[0] == "proc" or "\0" in target:
        raise UsageError(f"invalid mount target `{target}`", code="mount-target")
    return "/" + "/".join(parts)
