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
    """Mount an overlay at `place` as the root."""

    lowers: tuple[str, ...]
    upper: str
    work: str
    place: str
    attributes: int


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
