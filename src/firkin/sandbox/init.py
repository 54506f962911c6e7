"""The stand-alone program that every RUN command starts under. Does I/O. Nothing imports it.

    python -I -S -c 'import marshal; code, plan = marshal.load(open(3, "rb")); exec(code); main(plan, 4)'

It needs os, sys, ctypes (and the built-in _signal) only, so it is ready in about 10 ms. Descriptor 3
holds this file compiled and one dictionary (made by `ops.py`, drawn in docs/dev/sandbox.md); secrets
come that way and never by argv. Three processes come of it:

    A  unshares, performs the operations of `setup` in order, waits, performs `after`, takes mount points away again
    B  pid 1 of the new PID namespace: mounts /proc, performs `inside`, reaps whatever is orphaned
    C  takes on limits, capabilities and user, and becomes the command

Descriptor 4 takes lines of fields separated by NUL and is closed by exec:

    setup OP ERRNO PATH     an operation failed; the command never ran
    exec ERRNO PATH         the command could not be executed
    warn OP ERRNO DETAIL    something was refused that the command may do without
    unheard ERRNO           calls of the command that need an answer have none (`listener.py`)
    cover PATH              something of the image was covered for the command (`fixtures.py`)
    exit CODE, signal N     how the command ended
    undone                  nothing that it started is left, and what was put in place is out again

When C ends, B ends, and with it the kernel kills everything in the namespace. TERM to A does the same.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself takes 10 ms to load, `signal` 4
    import signal
    from collections.abc import Callable
    from typing import Any, NoReturn

    from firkin.sandbox.confine import confine, enter_root, install_filter, may_confine
    from firkin.sandbox.image_root import EBUSY, O_ANY, Root, look
    from firkin.sandbox.listener import Desk, wait_and_answer
    from firkin.sandbox.owners import Keeper
else:
    import _signal as signal

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
CLONE_NEWPID = 0x20000000
MS_BIND = 4096
MS_NODEV = 4
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# These numbers are the same on every architecture.
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_PIDFD_OPEN = 434
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442
# These are older and differ.
SYS_PIVOT_ROOT = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41,
    "armv7l": 218, "armv6l": 218, "ppc64le": 203, "s390x": 217, "i686": 217,
}  # fmt: skip

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Poll(ctypes.Structure):
    """struct pollfd."""

    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


class Failed(Exception):
    """An operation failed: its name, the errno and the path or other detail."""

    def __init__(self, op: str, number: int, detail: str) -> None:
        super().__init__(op, number, detail)
        self.op, self.number, self.detail = op, number, detail


class Status:
    """The pipe to the worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def tell(self, *fields: object) -> None:
        line = b"\0".join(os.fsencode(str(field)).replace(b"\n", b"?").replace(b"\0", b"?") for field in fields)
        try:
            os.write(self.fd, line[:2000] + b"\n")
        except BrokenPipeError:
            pass  # the worker is gone, and this process is about to be


def check(op: str, detail: str, result: int) -> int:
    if result < 0:
        raise Failed(op, ctypes.get_errno(), detail)
    return result


def syscall(op: str, detail: str, number: int, *args: object) -> int:
    # A variadic C function passes int-sized arguments as such; the kernel reads longs.
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return check(op, detail, libc.syscall(ctypes.c_long(number), *wide))


def prctl(op: str, option: int, value: int, third: int = 0) -> int:
    args = (ctypes.c_ulong(value), ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return check(op, str(value), libc.prctl(option, *args))


# Mount calls


def new_filesystem(fstype: str, options: tuple[tuple[str, str], ...], attributes: int) -> int:
    """Return a detached mount of a new file system; an option with an empty value is a flag."""
    op = f"mount {fstype}"
    fd = syscall(op, "fsopen", SYS_FSOPEN, fstype.encode(), 1)
    try:
        for key, value in options:
            if value:
                syscall(op, f"{key}={value}", SYS_FSCONFIG, fd, 1, key.encode(), os.fsencode(value), 0)
            else:
                syscall(op, key, SYS_FSCONFIG, fd, 0, key.encode(), None, 0)
        syscall(op, "create", SYS_FSCONFIG, fd, 6, None, None, 0)
        return syscall(op, "fsmount", SYS_FSMOUNT, fd, 1, attributes)
    finally:
        os.close(fd)


def clone_tree(path: str, recursive: bool) -> int:
    """Return a detached bind mount of `path`."""
    flags = 1 | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return syscall("bind", path, SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)


def clone_tree_fd(fd: int, detail: str, recursive: bool) -> int:
    flags = 1 | os.O_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return syscall("bind", detail, SYS_OPEN_TREE, fd, b"", flags)


def attach(fd: int, target: str) -> None:
    """Put a detached mount in its place."""
    syscall("attach", target, SYS_MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
    os.close(fd)


def attach_at(fd: int, point: int, detail: str) -> None:
    """Put a detached mount over the file or directory that `point` is a descriptor of, and close that."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("attach", detail, SYS_MOVE_MOUNT, fd, b"", point, b"", flags)
    os.close(point)


def set_attributes(fd: int, attributes: int, recursive: bool, detail: str, clear: int = 0) -> None:
    words = (attributes, clear, 0, 0)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in words), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount attributes", detail, SYS_MOUNT_SETATTR, fd, b"", flags, ctypes.addressof(buffer), 32)


def open_beneath(root: str, path: str) -> int:
    """Return an O_PATH descriptor of `path` with `root` taken for `/`; links cannot lead out of it."""
    fields = (os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in fields), 24)
    fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        name = os.fsencode(path.lstrip("/") or ".")
        return syscall("bind", f"{root}/{path}", SYS_OPENAT2, fd, name, ctypes.addressof(buffer), 24)
    finally:
        os.close(fd)


def is_directory(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def overlay(lowers: tuple[str, ...], upper: str, work: str, attributes: int) -> int:
    """Return a detached overlay mount; `lowers` from the top down, read-only without `upper`.

    `userxattr` always, so that root and users write the same trees. `volatile` leaves out the fsyncs
    of the upper directory: whoever keeps it makes it durable, once.
    """
    held: list[int] = []

    def short(path: str) -> str:
        # A parameter may have 255 bytes, and upperdir and workdir read `\` as an escape.
        if len(os.fsencode(path)) < 200 and "\\" not in path:
            return path
        held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return f"/proc/self/fd/{held[-1]}"

    options = [("lowerdir+", short(path)) for path in lowers]
    options += [("upperdir", short(upper)), ("workdir", short(work)), ("volatile", "")] if upper else []
    options.append(("userxattr", ""))
    try:
        return new_filesystem("overlay", tuple(options), attributes)
    except Failed as failed:
        if failed.number != 22 or not failed.detail.startswith("lowerdir+"):
            raise
        return overlay_before_6_5(lowers, upper, work, attributes)
    finally:
        for fd in held:
            os.close(fd)


def overlay_before_6_5(lowers: tuple[str, ...], upper: str, work: str, attributes: int) -> int:
    """The same for kernels without `lowerdir+`: one page of options, so layers are named by descriptor."""
    held: list[int] = []

    def short(path: str) -> str:
        held.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        return f"/proc/self/fd/{held[-1]}"

    try:
        data = f"lowerdir={':'.join([short(path) for path in lowers])},userxattr"
        if upper:
            data += f",upperdir={short(upper)},workdir={short(work)},volatile"
        # The mount has to be somewhere before it can be taken hold of: on top of its own lowest layer.
        place = short(lowers[-1]).encode()
        flags = ctypes.c_ulong(MS_NODEV if attributes & MOUNT_ATTR_NODEV else 0)
        check("mount overlay", upper, libc.mount(b"overlay", place, b"overlay", flags, data.encode()))
        fd = clone_tree(lowers[-1], False)
        check("umount", lowers[-1], libc.umount2(os.fsencode(lowers[-1]), MNT_DETACH))
        return fd
    finally:
        for fd in held:
            os.close(fd)


class Setup:
    """The operations, one method each.

    Detached mounts wait in `trees` until the root is in place; those of `held` are needed after they were attached.
    Everything is attached before the root is pivoted to: between that and `leave` the old root lies on top of the new
    one, where `..` of `/` leads to, and no path is looked up.
    """

    def __init__(self, status: Status) -> None:
        self.trees: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.owners = (-1, -1)
        self.root = Root(-1)
        self.frozen = False

    def perform(self, operations: list[tuple[object, ...]]) -> None:
        for name, *args in operations:
            operation: Callable[..., None] = getattr(self, f"op_{name}")
            try:
                operation(*args)
            except OSError as error:
                detail = error.filename if isinstance(error.filename, str) else str(args[0] if args else "")
                raise Failed(str(name), error.errno or 0, detail) from None

    def attend(self, child: int) -> None:
        """Wait for the end of process B."""
        os.waitpid(child, 0)

    def undo(self) -> None:
        """Take away mount points; the mounts go with this process."""
        if self.frozen and self.root.made:
            set_attributes(self.root.fd, 0, False, "/", clear=MOUNT_ATTR_RDONLY)
        self.root.take_away(uncover=uncover)
        if self.frozen:
            self.freeze(recursive=False)

    def op_freeze(self) -> None:
        """Make the root and all mounts in it read-only, when nothing that the command started is left.

        It may have passed descriptors of its directories to another step, over a socket in a cache mount that both
        have. The layer and the caches are read by paths from now on, so nobody may exchange a directory for a link.
        """
        self.freeze(recursive=True)
        self.frozen = True

    def freeze(self, recursive: bool) -> None:
        while True:
            try:
                set_attributes(self.root.fd, MOUNT_ATTR_RDONLY, recursive, "/")
                return
            except Failed as failed:
                if failed.number != EBUSY:
                    raise
            # A file was passed on that is open for writing. Whoever has it is waited for, as whoever has the output.
            libc.poll(None, ctypes.c_ulong(0), 20)

    def point(self, target: str, directory: bool) -> int:
        """Return a descriptor of the mount point that `target` leads to, made where it is missing."""
        parent, name = self.root.ensure(target, directory=directory)
        return os.open(name, O_ANY, dir_fd=parent)

    def op_private(self) -> None:
        flags = ctypes.c_ulong(MS_REC | MS_PRIVATE)
        check("private", "/", libc.mount(None, b"/", None, flags, None))

    def op_mkdir(self, path: str) -> None:
        os.makedirs(path, 0o755, exist_ok=True)

    def op_stub(self, path: str, directory: bool, name: str, mode: int = 0o755) -> None:
        """Make a mount point in the directory that lies below all layers; of the kind of tree `name`, if given."""
        if name:
            directory = is_directory(self.trees[name])
        try:
            if directory:
                make_all(path)
                if mode != 0o755:
                    os.chmod(path, mode)
            else:
                make_all(os.path.dirname(path))
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            pass  # two targets that want different things of one path: `attach` reports it

    def op_stub_file(self, stubs: str, lowers: tuple[str, ...], folder: str, name: str, content: bytes) -> None:
        """Show a file in a directory of the image, if it has that directory, and keep it out of the layer."""
        if not any(has_directory(lower, folder) for lower in lowers):
            return
        os.makedirs(f"{stubs}/{folder}", 0o755, exist_ok=True)
        with open(f"{stubs}/{folder}/{name}", "wb") as file:
            file.write(content)

    def op_files(self, place: str, files: tuple[tuple[str, bytes, int, int, int], ...]) -> None:
        """Keep small files in a memory file system that is nowhere to be seen, ready to be bound."""
        total = sum(len(content) // 4096 + 2 for _, content, *_ in files) * 4096
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        attach(new_filesystem("tmpfs", (("size", str(total)), ("mode", "0755")), attributes), place)
        for name, content, mode, uid, gid in files:
            path = f"{place}/{name}"
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(fd, view) :]
                if uid or gid:
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
            self.trees[name] = clone_tree(path, False)
        check("umount", place, libc.umount2(os.fsencode(place), MNT_DETACH))

    def op_nodes(self, place: str, devices: tuple[tuple[str, int, int], ...]) -> None:
        """Take hold of device nodes that are the command's own, for it may give them another mode or owner.

        Where none can be made, as in a user namespace, they are the machine's, and none of that can be changed.
        """
        attach(new_filesystem("tmpfs", (("mode", "0755"),), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), place)
        for name, major, minor in devices:
            own = make_node(f"{place}/{name}", major, minor)
            fd = os.open(f"{place}/{name}" if own else f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)
            self._take(f"dev-{name}", clone_tree_fd(fd, name, False), not own, 0, name)
            os.close(fd)
        check("umount", place, libc.umount2(os.fsencode(place), MNT_DETACH))

    def op_bind(self, name: str, source: str, readonly: bool, attributes: int) -> None:
        """Take hold of the file or directory `source`, which is no link."""
        fd = os.open(source, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(fd).st_mode & 0o170000 == 0o120000:
                raise Failed("bind", 40, source)
            self._take(name, clone_tree_fd(fd, source, True), readonly, attributes, source)
        finally:
            os.close(fd)

    def op_bind_beneath(self, name: str, root: str, path: str, readonly: bool, attributes: int) -> None:
        """Take hold of `path` in the directory `root`."""
        fd = open_beneath(root, path)
        try:
            self._take(name, clone_tree_fd(fd, f"{root}/{path}", True), readonly, attributes, path)
        finally:
            os.close(fd)

    def op_bind_layers(
        self, name: str, lowers: tuple[str, ...], path: str, scratch: str, place: str, readonly: bool, attributes: int
    ) -> None:
        """Take hold of `path` in an overlay of `lowers`; what is written to it goes to `scratch`."""
        if readonly:
            tree = overlay(lowers, "", "", attributes)
        else:
            for part in ("upper", "work"):
                os.makedirs(f"{scratch}/{part}", 0o755)
            copy_attributes(lowers[0], f"{scratch}/upper")
            tree = overlay(lowers, f"{scratch}/upper", f"{scratch}/work", attributes)
        attach(tree, place)
        self.op_bind_beneath(name, place, path, readonly, attributes)
        check("umount", place, libc.umount2(os.fsencode(place), MNT_DETACH))

    def _take(self, name: str, tree: int, readonly: bool, attributes: int, detail: str) -> None:
        attributes |= MOUNT_ATTR_RDONLY if readonly else 0
        if attributes:
            set_attributes(tree, attributes, True, detail)
        self.trees[name] = tree

    def op_owners(self, upper: str, file: str) -> None:
        """Take hold of what `owners.py` needs of the outside: where changes are, and a file for its notes."""
        self.owners = (
            os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600),
        )

    def op_overlay(self, lowers: tuple[str, ...], upper: str, work: str, place: str, attributes: int) -> None:
        self._enter(overlay(lowers, upper, work, attributes), place)

    def op_bindroot(self, source: str, place: str, attributes: int) -> None:
        tree = clone_tree(source, True)
        if attributes:
            set_attributes(tree, attributes, True, source)
        self._enter(tree, place)

    def _enter(self, tree: int, place: str) -> None:
        self.root = Root(os.dup(tree))
        attach(tree, place)

    def op_pivot(self) -> None:
        pivot_into(self.root.fd)

    def op_leave(self) -> None:
        """Let go of the old root; not before /proc is mounted, as a user namespace may mount one only
        while it can see another that is not covered anywhere."""
        check("leave", "old root", libc.umount2(b".", MNT_DETACH))
        os.chdir("/")

    def op_attach(self, name: str, target: str, keep: bool = False) -> None:
        """Put a tree over what `target` leads to; `keep` holds it for later operations."""
        tree = self.trees.pop(name)
        attach_at(tree, self.point(target, is_directory(tree)), target)
        if keep:
            self.held[name] = tree
        else:
            os.close(tree)

    def op_own_point(self, name: str) -> None:
        """Find the directory of a file system of the kernel's. A link would put it where the image wants it."""
        if look(self.root.fd, name) is None:
            self.root.make(self.root.fd, name, directory=True)
        fd = os.open(name, O_ANY, dir_fd=self.root.fd)
        if not is_directory(fd):
            raise Failed("attach", 20, "/" + name)
        self.held[name + "-point"] = fd

    def op_attach_own(self, name: str) -> None:
        """Put a tree over the directory that `own_point` found, and hold it."""
        attach_at(self.trees[name], self.held.pop(name + "-point"), "/" + name)
        self.held[name] = self.trees.pop(name)

    def op_mount(self, fstype: str, target: str, options: tuple[tuple[str, str], ...], attributes: int) -> None:
        tree = new_filesystem(fstype, options, attributes)
        attach_at(tree, self.point(target, True), target)
        os.close(tree)

    def op_try_mount(self, fstype: str, target: str, options: tuple[tuple[str, str], ...], attributes: int) -> None:
        """The same for something that few commands need and some kernels lack."""
        try:
            self.op_mount(fstype, target, options, attributes)
        except Failed:
            pass

    def op_tmpfs(self, target: str, size: str, mode: int) -> None:
        """A tmpfs; with `mode` -1 that of the directory it covers, or 1777."""
        if mode < 0:
            parent, rest = self.root.find(target)
            covered = look(parent, rest[0]) if len(rest) == 1 else None
            os.close(parent)
            mode = 0o1777 if covered is None else covered.st_mode & 0o7777
        options = [("mode", f"{mode:o}")] + ([("size", size)] if size else [])
        self.op_mount("tmpfs", target, tuple(options), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

    def op_devpts(self, target: str) -> None:
        options = (("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"))
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
        try:
            self.op_mount("devpts", target, (*options, ("gid", "5")), attributes)
        except Failed:
            # Group 5 (tty) is not in this user namespace.
            self.op_mount("devpts", target, options, attributes)

    def op_sysfs(self, readonly: bool) -> None:
        """Take hold of a sysfs of this network namespace, or of the host's where the kernel refuses one."""
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        attributes |= MOUNT_ATTR_RDONLY if readonly else 0
        try:
            self.trees["sys"] = new_filesystem("sysfs", (), attributes)
        except Failed:
            self._take("sys", clone_tree("/sys", True), readonly, attributes, "/sys")

    def op_devices(self, devices: tuple[tuple[str, int, int, int], ...]) -> None:
        """Make device nodes, where that is allowed: never in a user namespace."""
        for path, kind, major, minor in devices:
            parent, name = self.root.ensure(path, directory=None)
            try:
                os.mknod(name, kind | 0o666, os.makedev(major, minor), dir_fd=parent)
            except PermissionError:
                return
            os.chmod(name, 0o666, dir_fd=parent)

    def op_symlink(self, target: str, path: str) -> None:
        parent, name = self.root.ensure(path, directory=None)
        os.symlink(target, name, dir_fd=parent)

    def op_mask(self, tree: str, names: tuple[str, ...]) -> None:
        """Cover directories of a held tree by an empty file system and files by /dev/null."""
        for name in names:
            point = open_child(self.held[tree], name)
            if point < 0:
                continue
            if is_directory(point):
                cover = new_filesystem("tmpfs", (("size", "0"), ("nr_inodes", "2")), MOUNT_ATTR_RDONLY)
            else:
                cover = clone_tree_fd(self.held["dev-null"], "/dev/null", False)
            attach_at(cover, point, name)
            os.close(cover)

    def op_readonly(self, tree: str, names: tuple[str, ...]) -> None:
        for name in names:
            point = open_child(self.held[tree], name)
            if point < 0:
                continue
            cover = clone_tree_fd(point, name, True)
            set_attributes(cover, MOUNT_ATTR_RDONLY, True, name)
            attach_at(cover, point, name)
            os.close(cover)

    def op_proc(self) -> None:
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        self.trees["proc"] = new_filesystem("proc", (), attributes)
        self.op_attach_own("proc")

    def op_hostname(self, name: str) -> None:
        raw = os.fsencode(name)
        check("hostname", name, libc.sethostname(raw, len(raw)))

    def op_loopback(self) -> None:
        """Bring up `lo` of a network namespace of our own."""
        fd = check("loopback", "socket", libc.socket(2, 2, 0))
        try:
            request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, sys.byteorder), 40)
            check("loopback", "lo", libc.ioctl(fd, ctypes.c_ulong(SIOCSIFFLAGS), request))
        finally:
            os.close(fd)


def make_node(path: str, major: int, minor: int) -> bool:
    """Make a character device for everybody and say whether it can be opened: a container may have a list of them."""
    try:
        os.mknod(path, 0o020666, os.makedev(major, minor))
        os.chmod(path, 0o666)
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # /dev/tty of a process that has no terminal
    return True


def pivot_into(root: int) -> None:
    """Make a mount the root; the old one lies on top of it until it is taken away (pivot_root(2), "." twice)."""
    os.fchdir(root)
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise Failed("pivot", 38, os.uname().machine)
    syscall("pivot", "/", number, b".", b".")
    os.chdir("/")


def uncover(parent: int, name: str) -> None:
    """Take away what is mounted over a name in a directory."""
    os.fchdir(parent)
    while libc.umount2(os.fsencode(name), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass


def open_child(tree: int, name: str) -> int:
    """Return a descriptor of what is in a mount of the kernel's, -1 for nothing."""
    try:
        return os.open(name, O_ANY, dir_fd=tree)
    except FileNotFoundError:
        return -1


def has_directory(layer: str, path: str) -> bool:
    try:
        fd = open_beneath(layer, path)
    except Failed:
        return False
    try:
        return is_directory(fd)
    finally:
        os.close(fd)


def copy_attributes(source: str, target: str) -> None:
    """Give a new upper directory the looks of the directory that it covers."""
    info = os.stat(source)
    try:
        os.chown(target, info.st_uid, info.st_gid)
    except OSError:
        pass  # an owner that this user namespace has no number for
    os.chmod(target, info.st_mode & 0o7777)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


# The command


def set_limits(limits: tuple[tuple[str, int, int, int], ...], status: Status) -> None:
    for name, number, soft, hard in limits:
        pair = (ctypes.c_ulong * 2)(soft, hard)
        if libc.setrlimit(number, pair) == 0:
            continue
        status.tell("warn", "ulimit", ctypes.get_errno(), name)
        current = (ctypes.c_ulong * 2)()
        libc.getrlimit(number, current)
        nearest = (ctypes.c_ulong * 2)(min(soft, current[1]), min(hard, current[1]))
        libc.setrlimit(number, nearest)


def drop_bounding(keep: int) -> None:
    for number in range(64):
        if keep >> number & 1:
            continue
        if libc.prctl(PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) == 1:
            prctl("capabilities", PR_CAPBSET_DROP, number)


def set_capabilities(keep: int) -> None:
    """Keep `keep` of what there is as permitted and effective, nothing as inheritable or ambient."""
    libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    check("capabilities", "capget", libc.capget(header, data))
    for word in (0, 1):
        kept = data[word * 3 + 1] & (keep >> 32 * word & 0xFFFFFFFF)
        data[word * 3] = data[word * 3 + 1] = kept
        data[word * 3 + 2] = 0
    check("capabilities", "capset", libc.capset(header, data))


def execute(argv: list[str], arg0: str, env: dict[str, str]) -> tuple[int, str]:
    """Become the command; return errno and path of the attempt that says most about why not."""
    name = argv[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{part or '.'}/{name}" for part in env.get("PATH", os.defpath).split(":")]
    failure = (2, name)
    for path in candidates:
        try:
            os.execve(path, [arg0 or name, *argv[1:]], env)
        except OSError as error:
            number = error.errno or 0
            if number not in (2, 20):
                failure = (number, path)
                if number != 13:
                    break
            elif os.path.exists(path) and failure[0] == 2:
                failure = (number, path)  # there, but its interpreter is not
    return failure


def make_all(path: str) -> tuple[str, ...]:
    """Make a directory and what is missing above it; return what was made, the top first.

    os.makedirs calls itself for each part: a Dockerfile can name more of them than Python has stack for.
    """
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        os.mkdir(path, 0o755)
    return tuple(reversed(missing))


def make_directories(path: str, uid: int, gid: int) -> None:
    """Make a working directory that is missing, the user's, and what is missing above it (as buildkit does)."""
    for made in make_all(path):
        os.chown(made, uid, gid)


def command(spec: dict[str, Any], status: Status, desk: Desk | None) -> NoReturn:
    """Process C. `spec` is the dictionary of `ops.command_of`."""
    try:
        os.setsid()
        set_limits(spec["limits"], status)
        keep = spec["keep"]
        assert isinstance(keep, int)
        if keep >= 0:
            try:
                drop_bounding(keep)
            except Failed:
                # Without CAP_SETPCAP: then no program may have more than what is kept below.
                spec["no_new_privs"] = True
        if spec["no_new_privs"]:
            prctl("no_new_privs", PR_SET_NO_NEW_PRIVS, 1)
        if spec["chroot"]:
            if spec["confine"] is None or not enter_root(spec["chroot"], spec["devices"]):
                os.chroot(str(spec["chroot"]))
                os.chdir("/")
        cwd = str(spec["cwd"])
        try:
            os.chdir(cwd)
        except FileNotFoundError:
            make_directories(os.path.realpath(cwd), *((spec["uid"], spec["gid"]) if spec["switch"] else (-1, -1)))
            os.chdir(cwd)
        if spec["switch"]:
            os.setgroups(spec["groups"])
            os.setresgid(spec["gid"], spec["gid"], spec["gid"])
        if spec["confine"] is not None:
            confine(*spec["confine"])
        for program in spec["filters"]:
            install_filter(program)
        if desk is not None and may_confine():
            desk.admit(status)
        if spec["switch"]:
            os.setresuid(spec["uid"], spec["uid"], spec["uid"])
        if keep >= 0:
            set_capabilities(keep)
        os.umask(spec["umask"])
        for number in range(1, 32):
            if number not in (9, 19):
                signal.signal(number, signal.SIG_DFL)
    except Failed as failed:
        status.tell("setup", failed.op, failed.number, failed.detail)
        os._exit(125)
    except OSError as error:
        detail = error.filename if isinstance(error.filename, str) else f"uid {spec['uid']} gid {spec['gid']}"
        status.tell("setup", "user" if not error.filename else "cwd", error.errno, detail)
        os._exit(125)
    number, path = execute(spec["argv"], str(spec["arg0"]), spec["env"])
    status.tell("exec", number, path)
    os._exit(127 if number in (2, 20) else 126)


def die_with(pidfd: int) -> None:
    """Have this process killed when its parent ends, and end now if it already has."""
    prctl("die with parent", PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.poll(ctypes.byref(Poll(pidfd, 1, 0)), ctypes.c_ulong(1), 0) > 0:
        os._exit(125)


def open_desk(asked: dict[str, Any], setup: Any) -> Desk:
    """Return whoever answers calls for this command: process B, or one that notes owners."""
    if asked["owners"]:
        return Keeper(asked["program"], asked["instead"], asked["calls"], *setup.owners)
    return Desk(asked["program"], asked["instead"])


def wait_for(child: int, listener: int) -> int:
    """Reap until the command has ended and return its wait status; answer its calls if it has a listener."""
    if listener >= 0:
        return wait_and_answer(child, listener)
    while True:
        pid, result = os.wait()
        if pid == child:
            return result


def close_all_but(*kept: int) -> None:
    """Close every descriptor above the standard ones but these."""
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 12)


def supervise(spec: dict[str, Any], setup: Any, status: Status, parent_pidfd: int) -> NoReturn:
    """Process B."""
    try:
        die_with(parent_pidfd)
        os.close(parent_pidfd)
        if not spec["namespaces"] & CLONE_NEWPID:
            prctl("subreaper", PR_SET_CHILD_SUBREAPER, 1)
        setup.perform(spec["inside"])
        desk = open_desk(spec["asked"], setup) if spec["asked"] is not None else None
        # A working directory like /proc/self/fd/5 must find nothing of what was held until now.
        close_all_but(status.fd, *(() if desk is None else desk.fds))
    except Failed as failed:
        status.tell("setup", failed.op, failed.number, failed.detail)
        os._exit(125)
    child = os.fork()
    if child == 0:
        command(spec["command"], status, desk)
    result = wait_for(child, -1 if desk is None else desk.after_fork())
    code = os.waitstatus_to_exitcode(result)
    status.tell("exit", code) if code >= 0 else status.tell("signal", -code)
    if desk is not None:
        desk.finish()
    if not spec["namespaces"] & CLONE_NEWPID:
        kill_descendants()
    os._exit(0)


def kill_descendants() -> None:
    """Kill and reap whatever is left below this process, which orphans come to as it is a subreaper.

    A command may leave processes that fork and end at once, over and over. So all that have ended are reaped before
    each look: among thousands of them the few that live would never be hit, and the process table would fill up.
    """
    try:
        while True:
            reap()
            kill_children()
            os.wait()
    except ChildProcessError:
        return


def reap() -> None:
    """Reap every child that has ended; raises ChildProcessError when there is none left."""
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass


def kill_children() -> None:
    """Kill every child of this process."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as file:
            children = [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        children = [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(name) == me]
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except PermissionError:
            pass  # it became somebody else's, and is waited for


def parent_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0  # it has ended


def main(spec: dict[str, Any], status_fd: int) -> int:
    """Process A."""
    os.set_inheritable(status_fd, False)
    status = Status(status_fd)
    shared_pids = not spec["namespaces"] & CLONE_NEWPID
    setup: Any = globals()[spec["surroundings"]](status)
    children: list[int] = []
    asked: list[int] = []

    def stop(*_: object) -> None:
        asked.append(1)
        for pid in children:
            os.kill(pid, signal.SIGKILL)

    try:
        # Without a PID namespace there is something left to do when the worker is killed.
        prctl("die with parent", PR_SET_PDEATHSIG, signal.SIGTERM if shared_pids else signal.SIGKILL)
        if os.getppid() != spec["parent"]:
            return 125
        os.setsid()
        os.umask(0o022)
        if shared_pids:
            signal.signal(signal.SIGTERM, stop)
        if spec["namespaces"]:
            check("unshare", hex(spec["namespaces"]), libc.unshare(spec["namespaces"]))
        setup.perform(spec["setup"])
        own_pidfd = syscall("pidfd", "self", SYS_PIDFD_OPEN, os.getpid(), 0)
    except Failed as failed:
        status.tell("setup", failed.op, failed.number, failed.detail)
        if shared_pids:
            setup.undo()
        return 125
    if shared_pids:
        libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    child = os.fork()
    if child == 0:
        supervise(spec, setup, status, own_pidfd)
    children.append(child)
    signal.signal(signal.SIGTERM, stop)
    if asked:
        stop()
    # Returns when the whole namespace is dead: pid 1 is not reaped before everything else in it is.
    setup.attend(child)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if shared_pids:
        kill_descendants()
    try:
        setup.perform(spec["after"])
        setup.undo()
    except Failed as failed:
        status.tell("setup", failed.op, failed.number, failed.detail)
        return 125
    # Without this line the command may have killed this process, and what it started may still run.
    status.tell("undone")
    return 0
