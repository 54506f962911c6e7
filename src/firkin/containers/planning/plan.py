"""Record and place → what the monitor performs: the plan of the container and that of second commands in it. Pure.

A plan holds for every start: what depends on the moment (processes whose namespaces are joined) comes as an argument of
`sandbox/init/contain.py`. docs/dev/sandbox.md gives the reasons for the order of the operations.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec

from firkin.containers.documents.profile import (
    capability_mask,
    capability_names,
    has_filter,
    hidden_paths,
    parse_security,
)
from firkin.containers.planning.surroundings import Modes, modes_of, mount_operations, mounts_in_proc
from firkin.errors import ContainerError
from firkin.oci.run_settings import DEFAULT_PATH, DEVICE_LINKS, ULIMITS
from firkin.sandbox import operations as op
from firkin.sandbox.usual_filter import usual_filter
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    from firkin.containers.documents.config import HostConfig
    from firkin.containers.documents.record import Record
    from firkin.containers.planning.surroundings import Target
    from firkin.linux.idmap import IdMaps
    from firkin.sandbox.operations import Operation
    from firkin.sandbox.profiles import Rule

_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8
_DATA_ONLY = _NOSUID | _NODEV | _NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# What dockerd has its runtime make in every root.
_STUB_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv")
_STUB_FOLDERS = ("dev", "proc", "sys")
_OPEN_PORTS = ("net/ipv4/ip_unprivileged_port_start", "0")
_PING_GROUPS = ("net/ipv4/ping_group_range", "0 2147483647")


class Place(msgspec.Struct, frozen=True):
    """What a plan depends on beside its record.

    `directory` is the container's own; `trees` the directory of unpacked layers. `maps` are those of its user
    namespace, None for none. `guarded`: a cgroup has a list of devices. `cgroups` is the version that is shown at
    /sys/fs/cgroup: 1 (with hybrids), 2, or 0 for none. `kernel` is its version, which rules of profiles may ask for.
    """

    directory: str
    trees: str
    machine: str
    maps: IdMaps | None = None
    guarded: bool = False
    cgroups: int = 0
    kernel: tuple[int, int] = (99, 0)


class ContainerPlan(NamedTuple):
    """`plan` and `exec` are packed (`sandbox.operations.pack_contained`).

    `maps` is the value of the launch document. `targets` are the containers whose namespaces are joined, with the
    flags: each needs a descriptor of its first process at every start.
    """

    plan: Any
    exec: Any
    maps: dict[str, Any] | None
    targets: tuple[Target, ...]


def plan_container(record: Record, place: Place) -> ContainerPlan:
    """Return what a monitor needs to run a container. Raises ContainerError for a request that cannot work here."""
    modes = modes_of(record, user=place.maps is not None, cgroups=place.cgroups)
    setup = _setup(record, place, modes)
    inside = _inside(record, place, modes)
    process = plan_process(record, place, first=True)
    plan = op.Contained(
        namespaces=modes.unshared,
        joined=tuple(flags for flags, _ in modes.targets),
        setup=setup,
        inside=inside,
        process=process,
        reaper=bool(record.host_config.init),
    )
    second = op.Contained(0, (modes.all_own,), (), (), plan_process(record, place, first=False), False)
    maps = None if place.maps is None else launch_maps(place.maps)
    return ContainerPlan(op.pack_contained(plan), op.pack_contained(second), maps, modes.targets)


def launch_maps(maps: IdMaps) -> dict[str, Any]:
    """Return id maps as the launch document has them."""
    return {
        "uid": [[row.inside, row.outside, row.count] for row in maps.uids],
        "gid": [[row.inside, row.outside, row.count] for row in maps.gids],
        "helpers": list(maps.helpers) if maps.helpers[0] else None,
        "deny_setgroups": maps.deny_setgroups,
    }


def plan_process(record: Record, place: Place, *, first: bool) -> op.Process:
    """Return the first process of a container, or what a second one begins with. Raises ContainerError."""
    host, config = record.host_config, record.config
    security = parse_security(host.security_opt or ())
    names = capability_names(host.cap_add or (), host.cap_drop or (), privileged=host.privileged)
    single = place.maps is not None and place.maps.single_id
    if not record.path:
        raise ContainerError("no command specified", kind="invalid", code="container-no-command")
    return op.Process(
        argv=(record.path, *record.args),
        env=environment(record),
        cwd=config.working_dir or "/",
        user=config.user,
        groups=host.group_add or (),
        limits=_limits(record),
        terminal=config.tty,
        switch=not single,
        keep=capability_mask(names),
        no_new_privs=security.no_new_privileges,
        filters=_filters(host, names, place),
        apparmor="" if security.apparmor == "unconfined" else security.apparmor,
        oom_score=host.oom_score_adj or None,
        make_cwd=first,
        waits=False,  # the monitor knows
    )


def _filters(host: HostConfig, capabilities: tuple[str, ...], place: Place) -> tuple[bytes, ...]:
    """Return the seccomp programs of a command, without those that the machine is unknown to. Raises ContainerError."""
    filters = [_filter(host, capabilities, place)] if has_filter(host) else []
    if place.maps is not None and place.maps.single_id:
        from firkin.sandbox.filters import ask_filter

        filters.append(ask_filter(place.machine, owners=True, sockets=False, heard=False))
    return tuple(program for program in filters if program)


def _filter(host: HostConfig, capabilities: tuple[str, ...], place: Place) -> bytes:
    if not parse_security(host.security_opt or ()).seccomp:
        usual = usual_filter(capabilities, place.machine)
        if usual is not None:
            return usual
    from firkin.containers.planning.seccomp import container_rules

    rules = container_rules(host, place.machine, place.kernel)
    return b"" if rules is None else _compiled(*rules, place.machine)


@functools.cache
def _compiled(rules: tuple[Rule, ...], otherwise: int, machine: str) -> bytes:
    from firkin.sandbox.profiles import TooLong, compile_rules

    try:
        return compile_rules(rules, otherwise, machine)
    except TooLong as error:
        raise ContainerError(str(error), kind="invalid", code="container-seccomp") from error


def environment(record: Record) -> dict[str, str]:
    """Return the variables of a container's commands, but for HOME, which its passwd file has."""
    config = record.config
    found = {"PATH": DEFAULT_PATH}
    if config.hostname:
        found["HOSTNAME"] = config.hostname
    if config.tty:
        found["TERM"] = "xterm"
    for entry in config.env or ():
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    return found


def _limits(record: Record) -> tuple[tuple[str, int, int, int], ...]:
    limits = []
    for limit in record.host_config.ulimits or ():
        if limit.name not in ULIMITS:
            raise ContainerError(f"invalid ulimit type: {limit.name}", kind="invalid", code="container-ulimit")
        limits.append((limit.name, ULIMITS[limit.name], limit.soft, limit.hard))
    return tuple(limits)


def _setup(record: Record, place: Place, modes: Modes) -> tuple[Operation, ...]:
    host = record.host_config
    nodev = _NODEV if _strict(record, place) else 0
    mounts = mount_operations(record, place.directory, place.trees, modes, nodev=nodev)
    # A user namespace mounts no /proc of processes that are not its own.
    proc = (op.Bind("proc", "/proc", False, 0),) if place.maps is not None and not modes.own_pids else ()
    root, stubs = f"{place.directory}/root", f"{place.directory}/stubs"
    lowers = (*(f"{place.trees}/{name}/fs" for name in record.trees), stubs)
    files = (*mounts.points, *(op.Stub(f"{stubs}/{name}", False, "", 0o755) for name in _STUB_FILES))
    folders = (op.Stub(f"{stubs}/{name}", True, "", 0o755) for name in _STUB_FOLDERS)
    masked, _ = hidden_paths(host)
    takes, layers = _divided(mounts.takes)
    return (
        *takes,
        *proc,
        op.Private(),
        *layers,
        op.MakeDirectory(root),
        op.MakeDirectory(stubs),
        op.Sysfs(not host.privileged),
        *folders,
        *files,
        op.StubLink(f"{stubs}/etc/mtab", "/proc/mounts"),
        op.OverlayRoot(
            lowers,
            f"{place.directory}/upper",
            f"{place.directory}/work",
            root,
            nodev,
            host.auto_remove,
        ),
        op.OwnPoint("proc"),
        *_kernel_mounts(record, place, modes, mounts.targets),
        *mounts.attaches,
        *((op.HoldNulls(len(masked)),) if masked else ()),
        *((op.LockRoot(),) if host.readonly_rootfs else ()),
        op.Pivot(),
    )


def _divided(takes: tuple[Operation, ...]) -> tuple[list[Operation], list[Operation]]:
    """Return binds, which may have to be shared with the machine, and layers.

    These are mounted for a moment, which the machine must not see.
    """
    return [take for take in takes if type(take) is op.Take], [take for take in takes if type(take) is not op.Take]


def _kernel_mounts(record: Record, place: Place, modes: Modes, taken: frozenset[str]) -> tuple[Operation, ...]:
    """Return the operations for /dev and /sys; `taken` are the targets of the container's own mounts."""
    host = record.host_config
    found: list[Operation] = []
    if "/dev" not in taken:
        found += _devices(record, place)
        if record.config.tty:
            found.append(op.ConsolePoint())
        found += [each for target, each in _beneath_dev(host, modes) if target not in taken]
    if "/sys" not in taken:
        found += [op.OwnPoint("sys"), op.AttachOwn("sys")]
        if place.cgroups and "/sys/fs/cgroup" not in taken:
            writable = host.privileged or parse_security(host.security_opt or ()).writable_cgroups
            found.append(op.Cgroups(not writable))
    return tuple(found)


def _beneath_dev(host: HostConfig, modes: Modes) -> tuple[tuple[str, Operation], ...]:
    """Return the file systems on /dev by their targets."""
    found: list[tuple[str, Operation]] = [("/dev/pts", op.Devpts("/dev/pts"))]
    if modes.shm == "own":
        options = (("source", "shm"), ("mode", "1777"), ("size", str(host.shm_size or 64 << 20)))
        found.append(("/dev/shm", op.MountNew("tmpfs", "/dev/shm", options, _DATA_ONLY)))
    elif modes.shm:
        found.append(("/dev/shm", op.Attach("shm", "/dev/shm", False)))
    return (*found, ("/dev/mqueue", op.TryMount("mqueue", "/dev/mqueue", (), _DATA_ONLY)))


def _devices(record: Record, place: Place) -> tuple[Operation, ...]:
    host = record.host_config
    nodes = [(f"/dev/{name}", f"/dev/{name}") for name in _DEVICES]
    nodes += [(device.path_in_container or device.path_on_host, device.path_on_host) for device in host.devices or ()]
    strict = _strict(record, place)
    links = tuple(op.Symlink(text, path) for text, path in DEVICE_LINKS)
    return (
        op.MountNew("tmpfs", "/dev", (("mode", "0755"), ("size", "65536k")), _NOSUID | (_NODEV if strict else 0)),
        op.DeviceNodes(f"{place.directory}/root", tuple(nodes), host.privileged, not strict),
        *links,
    )


def _strict(record: Record, place: Place) -> bool:
    """Say whether nodes that a container makes must not be opened: nothing else keeps it from the machine's disks.

    In a user namespace the kernel does.
    """
    return not (record.host_config.privileged or place.guarded or place.maps is not None)


def _inside(record: Record, place: Place, modes: Modes) -> tuple[Operation, ...]:
    host = record.host_config
    masked, readonly = hidden_paths(host)
    found: list[Operation] = []
    if modes.own_names:
        found.append(op.Hostname(record.config.hostname or record.id[:12]))
        if record.config.domainname:
            found.append(op.Domainname(record.config.domainname))
    if modes.own_network:
        found.append(op.Loopback())
    found += [op.Proc(), op.Leave(), *mounts_in_proc(record)]
    if modes.own_network:
        usual = (_OPEN_PORTS,) if place.maps is not None else (_OPEN_PORTS, _PING_GROUPS)
        found.append(op.Sysctls(usual, True))
    asked = tuple((name.replace(".", "/"), text) for name, text in (host.sysctls or {}).items())
    if asked:
        found.append(op.Sysctls(asked, False))
    found += [op.Cover(masked), op.Fix(readonly)]
    return tuple(found)
