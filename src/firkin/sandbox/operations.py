"""A plan for the stand-alone program `init`, and the operations in it. Pure. Worker and program both load this file.

The file is also a part of that program; all parts share its global names, so it imports nothing. In transit a
plan consists of plain values (`pack`, `unpack`), since marshal supports no others. docs/dev/sandbox.md describes plans.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class NamedTuple(tuple):
        """The needed part of typing.NamedTuple, which takes 10 ms to load. Fields have no defaults."""

        __slots__ = ()

        def __new__(cls, *values, **named):
            values += tuple([named.pop(name) for name in tuple(cls.__annotations__)[len(values) :] if name in named])
            if named or len(values) != len(cls.__annotations__):
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls.__annotations__)}")
            return tuple.__new__(cls, values)

        def __getattr__(self, name):
            names = tuple(type(self).__annotations__)
            if name not in names:
                raise AttributeError(name)
            return self[names.index(name)]


# Operations with mounts (`init/real_mounts.py`). Detached mounts wait under names until they are attached.


class Private(NamedTuple):
    """Keep mounts of this namespace from propagating."""


class MakeDirectory(NamedTuple):
    """Make a directory outside of the root."""

    path: str


class Stub(NamedTuple):
    """Make a mount point in the directory below all layers; of the same kind as mount `like`, if given."""

    path: str
    directory: bool
    like: str
    mode: int


class StubFile(NamedTuple):
    """Show a file in a directory of the image, if it has that directory, and keep it out of the layer."""

    stubs: str
    lowers: tuple[str, ...]
    folder: str
    name: str
    content: bytes


class Files(NamedTuple):
    """Put small files (name, content, mode, uid, gid) in a memory file system, ready to be attached."""

    place: str
    files: tuple[tuple[str, bytes, int, int, int], ...]


class Nodes(NamedTuple):
    """Make detached mounts of device nodes (name, major, minor); new nodes, if they can be made."""

    place: str
    devices: tuple[tuple[str, int, int], ...]


class Bind(NamedTuple):
    """Make a detached mount of the file or directory `source`, which must not be a link."""

    name: str
    source: str
    readonly: bool
    attributes: int


class BindBeneath(NamedTuple):
    """Make a detached mount of `path` in the directory `root`."""

    name: str
    root: str
    path: str
    readonly: bool
    attributes: int


class BindLayers(NamedTuple):
    """Make a detached mount of `path` in an overlay of `lowers`; writes go to `scratch`."""

    name: str
    lowers: tuple[str, ...]
    path: str
    scratch: str
    place: str
    readonly: bool
    attributes: int


class KeepOwners(NamedTuple):
    """Open what noting owners needs outside of the root: the directory of changes, and a file for the notes."""

    upper: str
    file: str


class OverlayRoot(NamedTuple):
    """Mount an overlay at `place` as the root. A `volatile` one never syncs its upper directory."""

    lowers: tuple[str, ...]
    upper: str
    work: str
    place: str
    attributes: int
    volatile: bool


class BindRoot(NamedTuple):
    """Bind the directory `source` to `place` as the root."""

    source: str
    place: str
    attributes: int


class Pivot(NamedTuple):
    """Make the root this process's `/`."""


class Leave(NamedTuple):
    """Unmount the old root, after /proc was mounted."""


class Attach(NamedTuple):
    """Put a mount at the place that `target` leads to; `keep` holds it for later operations."""

    name: str
    target: str
    keep: bool


class OwnPoint(NamedTuple):
    """Find a directory on a kernel file system; it must not be a link."""

    name: str


class AttachOwn(NamedTuple):
    """Put a mount over the directory that OwnPoint found, and keep it for later operations."""

    name: str


class MountNew(NamedTuple):
    """Mount a new file system."""

    fstype: str
    target: str
    options: tuple[tuple[str, str], ...]
    attributes: int


class TryMount(NamedTuple):
    """Like MountNew, for a file system that few commands need and some kernels lack."""

    fstype: str
    target: str
    options: tuple[tuple[str, str], ...]
    attributes: int


class Tmpfs(NamedTuple):
    """Mount a tmpfs. `mode` -1: the mode of the covered directory, or 1777. `size` may be empty."""

    target: str
    size: str
    mode: int


class Devpts(NamedTuple):
    """Mount a new devpts."""

    target: str


class Sysfs(NamedTuple):
    """Make a detached sysfs mount of this network namespace; if the kernel refuses, of the host's sysfs."""

    readonly: bool


class Devices(NamedTuple):
    """Make device nodes (path, type, major, minor) where the kernel allows it; a user namespace never does."""

    devices: tuple[tuple[str, int, int, int], ...]


class Symlink(NamedTuple):
    """Make a symbolic link."""

    text: str
    path: str


class Mask(NamedTuple):
    """Cover directories of a held mount by an empty file system and files by /dev/null."""

    mount: str
    names: tuple[str, ...]


class ReadOnly(NamedTuple):
    """Make places in a held mount read-only."""

    mount: str
    names: tuple[str, ...]


class Proc(NamedTuple):
    """Mount a /proc of the new PID namespace."""


class Hostname(NamedTuple):
    """Set the host name of the namespace."""

    name: str


class Loopback(NamedTuple):
    """Bring up `lo` of a new network namespace."""


class Freeze(NamedTuple):
    """Make the root and all mounts in it read-only, after everything that the command started has ended."""


# More operations with mounts, for containers (`init/container_mounts.py`).


class Take(NamedTuple):
    """Make a detached mount of a path of the machine; links are followed now, and `beneath` it none leads out.

    `readonly` is "" (read-write), "plain" or "recursive"; `propagation` is one of mount(8)'s names; `create`: a missing
    directory is made.
    """

    name: str
    source: str
    beneath: str
    recursive: bool
    readonly: str
    attributes: int
    propagation: str
    create: bool


class StubLink(NamedTuple):
    """Make a symbolic link in the directory below all layers."""

    path: str
    text: str


class DeviceNodes(NamedTuple):
    """Show devices: path in the container, path on the machine; a directory stands for all devices beneath it.

    Where no node can be made, the machine's is mounted. `guarded`: a list of devices keeps the container from others.
    """

    place: str
    devices: tuple[tuple[str, str], ...]
    all_of_machine: bool
    guarded: bool


class ConsolePoint(NamedTuple):
    """Make a mount point for the terminal at /dev/console."""


class TmpfsOptions(NamedTuple):
    """Mount a tmpfs with options (of the file system, and attributes); the mode is the covered directory's."""

    target: str
    options: tuple[tuple[str, str], ...]
    attributes: int


class Cgroups(NamedTuple):
    """Show the cgroups of this process at /sys/fs/cgroup."""

    readonly: bool


class AttachInProc(NamedTuple):
    """Put a mount over a file of /proc."""

    name: str
    path: str


class LockRoot(NamedTuple):
    """Make the root read-only, without the mounts in it."""


class HoldNulls(NamedTuple):
    """Take mounts of the machine's null device, for `Cover`; `number` of them."""

    number: int


class Cover(NamedTuple):
    """Cover directories by an empty file system and files by the null device; missing ones are left out."""

    paths: tuple[str, ...]


class Fix(NamedTuple):
    """Make places read-only; missing ones are left out."""

    paths: tuple[str, ...]


class Sysctls(NamedTuple):
    """Write kernel parameters (path beneath /proc/sys, text); with `try_only` the kernel may refuse."""

    values: tuple[tuple[str, str], ...]
    try_only: bool


class Domainname(NamedTuple):
    """Set the NIS domain name of the namespace."""

    name: str


# Operations without mounts (`init/emulated_mounts.py`).


class OpenRoot(NamedTuple):
    """Open the root and the scratch directory, which is on the root's file system if possible."""

    root: str
    scratch: str


class EmulateDevices(NamedTuple):
    """Show a /dev with links (text, path) and devices, or plain files if devices are refused."""

    links: tuple[tuple[str, str], ...]


class ShowTexts(NamedTuple):
    """Show a directory of read-only files (name, content)."""

    target: str
    files: tuple[tuple[str, bytes], ...]


class ShowDirectory(NamedTuple):
    """Make an empty directory at `target` if there is nothing."""

    target: str


class ShowFile(NamedTuple):
    """Show a file."""

    target: str
    content: bytes
    mode: int
    uid: int
    gid: int


class ShowEmpty(NamedTuple):
    """Show an empty directory. `mode` -1: the mode of the covered directory, or 1777."""

    target: str
    mode: int


class ShowTree(NamedTuple):
    """Show a file or directory that was made for this command."""

    target: str
    source: str


class Lend(NamedTuple):
    """Show the directory `home`; afterwards put it back with the changes of the command."""

    target: str
    home: str


class ShowSocket(NamedTuple):
    """Make a socket reachable under a second name."""

    target: str
    source: str


class Amend(NamedTuple):
    """Write to a file that cannot be covered because it is a mount; restore it afterwards."""

    path: str
    content: bytes
    append: bool


if TYPE_CHECKING:
    Operation = (
        Private | MakeDirectory | Stub | StubFile | Files | Nodes | Bind | BindBeneath | BindLayers | KeepOwners
        | OverlayRoot | BindRoot | Pivot | Leave | Attach | OwnPoint | AttachOwn | MountNew | TryMount | Tmpfs | Devpts
        | Sysfs | Devices | Symlink | Mask | ReadOnly | Proc | Hostname | Loopback | Freeze | OpenRoot | EmulateDevices
        | ShowTexts | ShowDirectory | ShowFile | ShowEmpty | ShowTree | Lend | ShowSocket | Amend
        | Take | DeviceNodes | StubLink | ConsolePoint | TmpfsOptions | Cgroups | LockRoot | HoldNulls | Cover | Fix
        | Sysctls | Domainname | AttachInProc
    )  # fmt: skip
    Operations = tuple[Operation, ...]


# The plan.


class Command(NamedTuple):
    """The attributes of process C, and the command that it becomes.

    `keep` are the capabilities that it may have, -1 for all. `switch`: it takes on the ids. With a `chroot` it
    enters that directory, where only `devices` (path, major, minor) can be opened. `filters` are seccomp programs.
    `terminal`: standard input is a terminal, which becomes the command's controlling terminal.
    """

    argv: tuple[str, ...]
    arg0: str
    env: dict[str, str]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    limits: tuple[tuple[str, int, int, int], ...]  # name, number, soft, hard
    terminal: bool
    switch: bool
    keep: int
    no_new_privs: bool
    filters: tuple[bytes, ...]
    chroot: str
    devices: tuple[tuple[str, int, int], ...]


class Confinement(NamedTuple):
    """What separates a command from others (`init/confine.py`).

    `shared`: it sees processes that are not its own. `filters` are seccomp programs; `strangers` are those that keep it
    from looking into other processes where nothing else does.
    """

    shared: bool
    filters: tuple[bytes, ...]
    strangers: tuple[bytes, ...]


class Questions(NamedTuple):
    """Calls of the command that another process answers (`init/listener.py`).

    `program` sends them to a listener; `instead` is used without a listener. `calls` is (architecture, number) → name.
    `owners`: changes of owner are noted (`init/owners.py`).
    """

    owners: bool
    program: bytes
    instead: bytes
    calls: dict[tuple[int, int], str]


class Plan(NamedTuple):
    """One command. It dies with the process `parent`; `namespaces` are flags of clone(2).

    Process A unshares the namespaces, or `joins` those of a running command. It performs `setup` before the command
    and `after` afterwards; process B performs `inside`. `emulated`: these are operations without mounts.
    """

    parent: int
    namespaces: int
    emulated: bool
    joins: bool
    setup: Operations
    inside: Operations
    after: Operations
    command: Command
    confinement: Confinement | None
    questions: Questions | None


def pack(plan: Plan) -> Any:
    """Return the plan as plain values."""
    phases = [
        tuple([(type(operation).__name__, *operation) for operation in phase])
        for phase in (plan.setup, plan.inside, plan.after)
    ]
    parts = [part and tuple(part) for part in (plan.command, plan.confinement, plan.questions)]
    return (plan.parent, plan.namespaces, plan.emulated, plan.joins, *phases, *parts)


def unpack(packed: Any) -> Plan:
    """Return the plan from the values of `pack`."""
    parent, namespaces, emulated, joins, setup, inside, after, command, confinement, questions = packed
    kinds: dict[str, Any] = globals()
    setup, inside, after = (
        tuple([kinds[name](*fields) for name, *fields in phase]) for phase in (setup, inside, after)
    )
    confinement, questions = confinement and Confinement(*confinement), questions and Questions(*questions)
    return Plan(
        parent, namespaces, emulated, joins, setup, inside, after, Command(*command), confinement, questions
    )


# A container: a command that is process 1 of its namespaces (`init/contain.py`).


class Process(NamedTuple):
    """A command of a container, and what it may do. The fields that Command has too mean the same.

    `user` is "user[:group]", names or numbers of the container's own files; `groups` are added to its groups. HOME is
    set from there unless `env` has it. `apparmor` is a profile, "" for none; `oom_score` None leaves it. `make_cwd`: a
    missing working directory is made. `waits`: it begins when the monitor has written its last limits.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    user: str
    groups: tuple[str, ...]
    limits: tuple[tuple[str, int, int, int], ...]
    terminal: bool
    switch: bool
    keep: int
    no_new_privs: bool
    filters: tuple[bytes, ...]
    apparmor: str
    oom_score: int | None
    make_cwd: bool
    waits: bool


class Contained(NamedTuple):
    """A container, or a second command in a running one.

    Process A enters the namespaces of running processes (`joined`: flags of clone(2) for each descriptor that it is
    given), unshares `namespaces` and performs `setup`; process 1 performs `inside`. `reaper`: process 1 is firkin's
    own and the command its child.
    """

    namespaces: int
    joined: tuple[int, ...]
    setup: Operations
    inside: Operations
    process: Process
    reaper: bool


def pack_contained(plan: Contained) -> Any:
    """Return the plan as plain values."""
    phases = [tuple([(type(each).__name__, *each) for each in phase]) for phase in (plan.setup, plan.inside)]
    return (plan.namespaces, plan.joined, *phases, tuple(plan.process), plan.reaper)


def unpack_contained(packed: Any, changes: dict[str, Any]) -> Contained:
    """Return the plan from the values of `pack_contained`, with `changes` to fields of its process.

    The change `privileged` stands for all capabilities and no filter. Raises TypeError for an unknown one.
    """
    namespaces, joined, setup, inside, process, reaper = packed
    kinds: dict[str, Any] = globals()
    setup, inside = (tuple([kinds[name](*fields) for name, *fields in phase]) for phase in (setup, inside))
    changes = dict(changes)
    if changes.pop("privileged", False):
        changes.update(keep=-1, filters=(), no_new_privs=False, apparmor="")
    names = tuple(Process.__annotations__)
    process = Process(*[changes.pop(name, value) for name, value in zip(names, process)])
    if changes:
        raise TypeError(f"a process has no {', '.join(changes)}")
    return Contained(namespaces, joined, setup, inside, process, reaper)
