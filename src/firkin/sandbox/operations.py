"""A plan for the stand-alone program `init`, with the operations that it performs. Pure. Both sides load this file.

It is a part of that program as well, in whose names it is executed, so it imports nothing. On the way a plan is plain
values (`pack`, `unpack`), as marshal knows no others. The plan is drawn in docs/dev/sandbox.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:

    class NamedTuple(tuple):
        """What is needed here of typing.NamedTuple, which takes 10 ms to load. Fields have no defaults."""

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
    """Keep mounts of this namespace from spreading."""


class MakeDirectory(NamedTuple):
    """Make a directory outside of the root."""

    path: str


class Stub(NamedTuple):
    """Make a mount point in the directory that lies below all layers; of the kind of mount `like`, if given."""

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
    """Keep small files (name, content, mode, uid, gid) in a memory file system, ready to be attached."""

    place: str
    files: tuple[tuple[str, bytes, int, int, int], ...]


class Nodes(NamedTuple):
    """Take hold of device nodes (name, major, minor) that are the command's own where they can be made."""

    place: str
    devices: tuple[tuple[str, int, int], ...]


class Bind(NamedTuple):
    """Take hold of the file or directory `source`, which is no link."""

    name: str
    source: str
    readonly: bool
    attributes: int


class BindBeneath(NamedTuple):
    """Take hold of `path` in the directory `root`."""

    name: str
    root: str
    path: str
    readonly: bool
    attributes: int


class BindLayers(NamedTuple):
    """Take hold of `path` in an overlay of `lowers`; what is written to it goes to `scratch`."""

    name: str
    lowers: tuple[str, ...]
    path: str
    scratch: str
    place: str
    readonly: bool
    attributes: int


class KeepOwners(NamedTuple):
    """Take hold of what noting owners needs of the outside: where changes are, and a file for the notes."""

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
    """Let go of the old root, after /proc was mounted."""


class Attach(NamedTuple):
    """Put a mount over what `target` leads to; `keep` holds it for later operations."""

    name: str
    target: str
    keep: bool


class OwnPoint(NamedTuple):
    """Find the directory of a file system of the kernel's, which may not be a link."""

    name: str


class AttachOwn(NamedTuple):
    """Put a mount over the directory that OwnPoint found, and hold it."""

    name: str


class MountNew(NamedTuple):
    """Mount a new file system."""

    fstype: str
    target: str
    options: tuple[tuple[str, str], ...]
    attributes: int


class TryMount(NamedTuple):
    """The same for one that few commands need and some kernels lack."""

    fstype: str
    target: str
    options: tuple[tuple[str, str], ...]
    attributes: int


class Tmpfs(NamedTuple):
    """Mount a tmpfs; with `mode` -1 that of the directory it covers, or 1777. `size` may be empty."""

    target: str
    size: str
    mode: int


class Devpts(NamedTuple):
    """Mount a devpts of its own."""

    target: str


class Sysfs(NamedTuple):
    """Take hold of a sysfs of this network namespace, or of the host's where the kernel refuses one."""

    readonly: bool


class Devices(NamedTuple):
    """Make device nodes (path, type, major, minor), where that is allowed: never in a user namespace."""

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
    """Bring up `lo` of a network namespace of its own."""


class Freeze(NamedTuple):
    """Make the root and all mounts in it read-only, when nothing that the command started is left."""


# Operations without mounts (`init/emulated_mounts.py`).


class OpenRoot(NamedTuple):
    """Name the root and the scratch directory, which is on its file system if that can be."""

    root: str
    scratch: str


class EmulateDevices(NamedTuple):
    """Show a /dev with links (text, path), of devices, or of plain files where devices are refused."""

    links: tuple[tuple[str, str], ...]


class ShowTexts(NamedTuple):
    """Show a directory of read-only files (name, content)."""

    target: str
    files: tuple[tuple[str, bytes], ...]


class ShowDirectory(NamedTuple):
    """Have an empty directory at `target` if there is nothing."""

    target: str


class ShowFile(NamedTuple):
    """Show a file."""

    target: str
    content: bytes
    mode: int
    uid: int
    gid: int


class ShowEmpty(NamedTuple):
    """Show an empty directory; with `mode` -1 of the mode of what it covers, or 1777."""

    target: str
    mode: int


class ShowTree(NamedTuple):
    """Show a file or directory that was made for this command."""

    target: str
    source: str


class Lend(NamedTuple):
    """Show directory `home`, and put it back there afterwards with what was written to it."""

    target: str
    home: str


class ShowSocket(NamedTuple):
    """Make a socket reachable under a second name."""

    target: str
    source: str


class Amend(NamedTuple):
    """Write to a file of the surroundings that cannot be covered, as it is a mount; it is put back."""

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
    """What process C takes on and becomes.

    `keep` are the capabilities that it may have, -1 for all. `switch` says that it takes the ids. With a `chroot` it
    enters that directory, where only `devices` (path, major, minor) can be opened. `filters` are seccomp programs.
    `terminal` says that standard input is a terminal, which it is to control.
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
    """What keeps a command from others (`init/confine.py`).

    `shared` says that it sees processes which are not its own. `filters` are seccomp programs, `strangers` those for
    where only they can keep it from looking into others.
    """

    shared: bool
    filters: tuple[bytes, ...]
    strangers: tuple[bytes, ...]


class Questions(NamedTuple):
    """Calls of the command that are answered beside it (`init/listener.py`).

    `program` sends them to a listener, `instead` is for where there is none. `calls` is (architecture, number) → name;
    `owners` says that changes of owner are noted (`init/owners.py`).
    """

    owners: bool
    program: bytes
    instead: bytes
    calls: dict[tuple[int, int], str]


class Plan(NamedTuple):
    """One command: `parent` is the process that it dies with, `namespaces` are flags of clone(2).

    Process A unshares the namespaces, or `joins` those of a command that runs. It performs `setup` before the command
    and `after` afterwards, process B `inside`. `emulated` says that these are operations without mounts.
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
    """Return the plan in plain values."""
    phases = [
        tuple([(type(operation).__name__, *operation) for operation in phase])
        for phase in (plan.setup, plan.inside, plan.after)
    ]
    parts = [part and tuple(part) for part in (plan.command, plan.confinement, plan.questions)]
    return (plan.parent, plan.namespaces, plan.emulated, plan.joins, *phases, *parts)


def unpack(packed: Any) -> Plan:
    """Return the plan that was packed."""
    parent, namespaces, emulated, joins, setup, inside, after, command, confinement, questions = packed
    kinds: dict[str, Any] = globals()
    setup, inside, after = (
        tuple([kinds[name](*fields) for name, *fields in phase]) for phase in (setup, inside, after)
    )
    confinement, questions = confinement and Confinement(*confinement), questions and Questions(*questions)
    return Plan(
        parent, namespaces, emulated, joins, setup, inside, after, Command(*command), confinement, questions
    )
