"""The surroundings of a command where mounts can be made. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. `RealMounts` performs the operations of
`mounted_plan` (`sandbox/operations.py` describes each).
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from firkin.sandbox.init.image_root import EBUSY, O_ANY, Root, look, make_all
    from firkin.sandbox.init.kernel import Failed, check, failed_operation, libc
    from firkin.sandbox.init.mount_calls import (
        MNT_DETACH,
        MOUNT_ATTR_NODEV,
        MOUNT_ATTR_NOEXEC,
        MOUNT_ATTR_NOSUID,
        MOUNT_ATTR_RDONLY,
        attach,
        attach_at,
        clone_tree,
        clone_tree_fd,
        is_directory,
        new_filesystem,
        open_beneath,
        overlay,
        pivot_into,
        set_attributes,
        uncover,
    )
    from firkin.sandbox.operations import (
        Attach,
        AttachOwn,
        Bind,
        BindBeneath,
        BindLayers,
        BindRoot,
        Devices,
        Devpts,
        Files,
        Freeze,
        Hostname,
        KeepOwners,
        Leave,
        Loopback,
        MakeDirectory,
        Mask,
        MountNew,
        Nodes,
        Operations,
        OverlayRoot,
        OwnPoint,
        Pivot,
        Private,
        Proc,
        ReadOnly,
        Stub,
        StubFile,
        Symlink,
        Sysfs,
        Tmpfs,
        TryMount,
    )

MS_REC_PRIVATE = 16384 | 1 << 18
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


class RealMounts:
    """The operations, one method each.

    Detached mounts wait in `trees` until the root is in place; `held` are attached mounts that are needed later.
    Everything is attached before pivoting to the root: between `pivot` and `leave` the old root lies on top of the new
    one, and `..` of `/` leads to the old one, so no path is looked up then.
    """

    def __init__(self) -> None:
        self.trees: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.owners = (-1, -1)
        self.root = Root(-1)
        self.frozen = False

    def perform(self, operations: Operations) -> None:
        """Perform operations in their order. Raises Failed."""
        for operation in operations:
            method = self.METHODS[type(operation)]
            try:
                method(self, operation)
            except OSError as error:
                raise failed_operation(method.__name__, operation, error) from None

    def attend(self, child: int) -> None:
        """Wait for the end of process B."""
        os.waitpid(child, 0)

    def undo(self) -> None:
        """Remove mount points; the mounts end with this process."""
        if self.frozen and self.root.made:
            set_attributes(self.root.fd, 0, False, "/", clear=MOUNT_ATTR_RDONLY)
        self.root.take_away(uncover=uncover)
        if self.frozen:
            self.freeze(recursive=False)

    def op_freeze(self, op: Freeze) -> None:
        """The command may have passed descriptors of its directories to another step, over a socket in a cache mount
        of both. From now on the layer and the caches are read by paths, so nobody may replace a directory by a link.
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
            # A passed-on file is still open for writing. Wait for its holder, as for the holders of the output.
            libc.poll(None, ctypes.c_ulong(0), 20)

    def point(self, target: str, directory: bool) -> int:
        """Return a descriptor of the mount point that `target` leads to; makes it if it is missing."""
        parent, name = self.root.ensure(target, directory=directory)
        return os.open(name, O_ANY, dir_fd=parent)

    def op_private(self, op: Private) -> None:
        flags = ctypes.c_ulong(MS_REC_PRIVATE)
        check("private", "/", libc.mount(None, b"/", None, flags, None))

    def op_mkdir(self, op: MakeDirectory) -> None:
        os.makedirs(op.path, 0o755, exist_ok=True)

    def op_stub(self, op: Stub) -> None:
        directory = is_directory(self.trees[op.like]) if op.like else op.directory
        try:
            if directory:
                make_all(op.path)
                if op.mode != 0o755:
                    os.chmod(op.path, op.mode)
            else:
                make_all(os.path.dirname(op.path))
                os.close(os.open(op.path, os.O_CREAT | os.O_WRONLY, 0o644))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            pass  # two mounts need different kinds of file at one path: `attach` reports it

    def op_stub_file(self, op: StubFile) -> None:
        if not any(has_directory(lower, op.folder) for lower in op.lowers):
            return
        os.makedirs(f"{op.stubs}/{op.folder}", 0o755, exist_ok=True)
        with open(f"{op.stubs}/{op.folder}/{op.name}", "wb") as file:
            file.write(op.content)

    def op_files(self, op: Files) -> None:
        total = sum(len(content) // 4096 + 2 for _, content, *_ in op.files) * 4096
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        attach(new_filesystem("tmpfs", (("size", str(total)), ("mode", "0755")), attributes), op.place)
        for name, content, mode, uid, gid in op.files:
            path = f"{op.place}/{name}"
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
        check("umount", op.place, libc.umount2(os.fsencode(op.place), MNT_DETACH))

    def op_nodes(self, op: Nodes) -> None:
        """The command may change mode and owner of its own nodes.

        If none can be made, as in a user namespace, it gets the machine's nodes, which it cannot change.
        """
        attach(new_filesystem("tmpfs", (("mode", "0755"),), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), op.place)
        for name, major, minor in op.devices:
            own = make_node(f"{op.place}/{name}", major, minor)
            fd = os.open(f"{op.place}/{name}" if own else f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)
            self._take(f"dev-{name}", clone_tree_fd(fd, name, False), not own, 0, name)
            os.close(fd)
        check("umount", op.place, libc.umount2(os.fsencode(op.place), MNT_DETACH))

    def op_bind(self, op: Bind) -> None:
        """Raises Failed for a link."""
        fd = os.open(op.source, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(fd).st_mode & 0o170000 == 0o120000:
                raise Failed("bind", 40, op.source)
            self._take(op.name, clone_tree_fd(fd, op.source, True), op.readonly, op.attributes, op.source)
        finally:
            os.close(fd)

    def op_bind_beneath(self, op: BindBeneath) -> None:
        fd = open_beneath(op.root, op.path)
        try:
            self._take(op.name, clone_tree_fd(fd, f"{op.root}/{op.path}", True), op.readonly, op.attributes, op.path)
        finally:
            os.close(fd)

    def op_bind_layers(self, op: BindLayers) -> None:
        if op.readonly:
            tree = overlay(op.lowers, "", "", op.attributes, False)
        else:
            for part in ("upper", "work"):
                os.makedirs(f"{op.scratch}/{part}", 0o755)
            copy_attributes(op.lowers[0], f"{op.scratch}/upper")
            tree = overlay(op.lowers, f"{op.scratch}/upper", f"{op.scratch}/work", op.attributes, True)
        attach(tree, op.place)
        self.op_bind_beneath(BindBeneath(op.name, op.place, op.path, op.readonly, op.attributes))
        check("umount", op.place, libc.umount2(os.fsencode(op.place), MNT_DETACH))

    def _take(self, name: str, tree: int, readonly: bool, attributes: int, detail: str) -> None:
        attributes |= MOUNT_ATTR_RDONLY if readonly else 0
        if attributes:
            set_attributes(tree, attributes, True, detail)
        self.trees[name] = tree

    def op_owners(self, op: KeepOwners) -> None:
        self.owners = (
            os.open(op.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            os.open(op.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600),
        )

    def op_overlay(self, op: OverlayRoot) -> None:
        self._enter(overlay(op.lowers, op.upper, op.work, op.attributes, op.volatile), op.place)

    def op_bindroot(self, op: BindRoot) -> None:
        tree = clone_tree(op.source, True)
        if op.attributes:
            set_attributes(tree, op.attributes, True, op.source)
        self._enter(tree, op.place)

    def _enter(self, tree: int, place: str) -> None:
        self.root = Root(os.dup(tree))
        attach(tree, place)

    def op_pivot(self, op: Pivot) -> None:
        pivot_into(self.root.fd)

    def op_leave(self, op: Leave) -> None:
        """Must come after /proc is mounted: a user namespace may mount a /proc only while it sees another one that is
        nowhere covered."""
        check("leave", "old root", libc.umount2(b".", MNT_DETACH))
        os.chdir("/")

    def op_attach(self, op: Attach) -> None:
        tree = self.trees.pop(op.name)
        attach_at(tree, self.point(op.target, is_directory(tree)), op.target)
        if op.keep:
            self.held[op.name] = tree
        else:
            os.close(tree)

    def op_own_point(self, op: OwnPoint) -> None:
        """A link would put the mount where the image wants it. Raises Failed."""
        if look(self.root.fd, op.name) is None:
            self.root.make(self.root.fd, op.name, directory=True)
        fd = os.open(op.name, O_ANY, dir_fd=self.root.fd)
        if not is_directory(fd):
            raise Failed("attach", 20, "/" + op.name)
        self.held[op.name + "-point"] = fd

    def op_attach_own(self, op: AttachOwn) -> None:
        attach_at(self.trees[op.name], self.held.pop(op.name + "-point"), "/" + op.name)
        self.held[op.name] = self.trees.pop(op.name)

    def op_mount(self, op: MountNew) -> None:
        self._mount(op.fstype, op.target, op.options, op.attributes)

    def op_try_mount(self, op: TryMount) -> None:
        try:
            self._mount(op.fstype, op.target, op.options, op.attributes)
        except Failed:
            pass

    def op_tmpfs(self, op: Tmpfs) -> None:
        mode = op.mode
        if mode < 0:
            parent, rest = self.root.find(op.target)
            covered = look(parent, rest[0]) if len(rest) == 1 else None
            os.close(parent)
            mode = 0o1777 if covered is None else covered.st_mode & 0o7777
        options = [("mode", f"{mode:o}")] + ([("size", op.size)] if op.size else [])
        self._mount("tmpfs", op.target, tuple(options), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

    def _mount(self, fstype: str, target: str, options: tuple[tuple[str, str], ...], attributes: int) -> None:
        tree = new_filesystem(fstype, options, attributes)
        attach_at(tree, self.point(target, True), target)
        os.close(tree)

    def op_devpts(self, op: Devpts) -> None:
        options = (("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"))
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
        try:
            self._mount("devpts", op.target, (*options, ("gid", "5")), attributes)
        except Failed:
            # Group 5 (tty) does not exist in this user namespace.
            self._mount("devpts", op.target, options, attributes)

    def op_sysfs(self, op: Sysfs) -> None:
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        attributes |= MOUNT_ATTR_RDONLY if op.readonly else 0
        try:
            self.trees["sys"] = new_filesystem("sysfs", (), attributes)
        except Failed:
            self._take("sys", clone_tree("/sys", True), op.readonly, attributes, "/sys")

    def op_devices(self, op: Devices) -> None:
        for path, kind, major, minor in op.devices:
            parent, name = self.root.ensure(path, directory=None)
            try:
                os.mknod(name, kind | 0o666, os.makedev(major, minor), dir_fd=parent)
            except PermissionError:
                return
            os.chmod(name, 0o666, dir_fd=parent)

    def op_symlink(self, op: Symlink) -> None:
        parent, name = self.root.ensure(op.path, directory=None)
        os.symlink(op.text, name, dir_fd=parent)

    def op_mask(self, op: Mask) -> None:
        for name in op.names:
            point = open_child(self.held[op.mount], name)
            if point < 0:
                continue
            if is_directory(point):
                cover = new_filesystem("tmpfs", (("size", "0"), ("nr_inodes", "2")), MOUNT_ATTR_RDONLY)
            else:
                cover = clone_tree_fd(self.held["dev-null"], "/dev/null", False)
            attach_at(cover, point, name)
            os.close(cover)

    def op_readonly(self, op: ReadOnly) -> None:
        for name in op.names:
            point = open_child(self.held[op.mount], name)
            if point < 0:
                continue
            cover = clone_tree_fd(point, name, True)
            set_attributes(cover, MOUNT_ATTR_RDONLY, True, name)
            attach_at(cover, point, name)
            os.close(cover)

    def op_proc(self, op: Proc) -> None:
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        self.trees["proc"] = new_filesystem("proc", (), attributes)
        self.op_attach_own(AttachOwn("proc"))

    def op_hostname(self, op: Hostname) -> None:
        raw = os.fsencode(op.name)
        check("hostname", op.name, libc.sethostname(raw, len(raw)))

    def op_loopback(self, op: Loopback) -> None:
        fd = check("loopback", "socket", libc.socket(2, 2, 0))
        try:
            request = ctypes.create_string_buffer(b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, sys.byteorder), 40)
            check("loopback", "lo", libc.ioctl(fd, ctypes.c_ulong(SIOCSIFFLAGS), request))
        finally:
            os.close(fd)

    METHODS: ClassVar[dict[type, Callable[[RealMounts, Any], None]]] = {
        Freeze: op_freeze,
        Private: op_private,
        MakeDirectory: op_mkdir,
        Stub: op_stub,
        StubFile: op_stub_file,
        Files: op_files,
        Nodes: op_nodes,
        Bind: op_bind,
        BindBeneath: op_bind_beneath,
        BindLayers: op_bind_layers,
        KeepOwners: op_owners,
        OverlayRoot: op_overlay,
        BindRoot: op_bindroot,
        Pivot: op_pivot,
        Leave: op_leave,
        Attach: op_attach,
        OwnPoint: op_own_point,
        AttachOwn: op_attach_own,
        MountNew: op_mount,
        TryMount: op_try_mount,
        Tmpfs: op_tmpfs,
        Devpts: op_devpts,
        Sysfs: op_sysfs,
        Devices: op_devices,
        Symlink: op_symlink,
        Mask: op_mask,
        ReadOnly: op_readonly,
        Proc: op_proc,
        Hostname: op_hostname,
        Loopback: op_loopback,
    }


def make_node(path: str, major: int, minor: int) -> bool:
    """Make a character device for everybody; return whether it can be opened, as a container may have a device list."""
    try:
        os.mknod(path, 0o020666, os.makedev(major, minor))
        os.chmod(path, 0o666)
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return False
    except OSError:
        return True  # /dev/tty of a process without a terminal
    return True


def open_child(tree: int, name: str) -> int:
    """Return a descriptor of a name in a kernel file system, -1 if it does not exist."""
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
    """Give a new upper directory the owner, mode and times of the directory that it covers."""
    info = os.stat(source)
    try:
        os.chown(target, info.st_uid, info.st_gid)
    except OSError:
        pass  # this user namespace has no number for the owner
    os.chmod(target, info.st_mode & 0o7777)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
