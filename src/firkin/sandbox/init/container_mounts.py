"""The mounts of a container: what it has beyond those of a RUN command. Does I/O.

A part of the stand-alone programs that start containers; all parts share its global names. The image, and whoever
wrote to the container before, decide about every path in it. So nothing is mounted or written at a path that was only
looked up by name: places are descriptors, and their file system type is checked (CVE-2025-31133, CVE-2025-52881).
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from firkin.sandbox.init.image_root import EINVAL, O_ANY, O_FOLDER, look, make_all
    from firkin.sandbox.init.kernel import Failed, check, libc, syscall
    from firkin.sandbox.init.mount_calls import (
        AT_EMPTY_PATH,
        AT_RECURSIVE,
        MNT_DETACH,
        MOUNT_ATTR_NODEV,
        MOUNT_ATTR_NOEXEC,
        MOUNT_ATTR_NOSUID,
        MOUNT_ATTR_RDONLY,
        RESOLVE_IN_ROOT,
        RESOLVE_NO_MAGICLINKS,
        SYS_MOUNT_SETATTR,
        SYS_OPENAT2,
        attach,
        attach_at,
        clone_tree,
        clone_tree_fd,
        is_directory,
        new_filesystem,
        open_beneath,
        set_attributes,
    )
    from firkin.sandbox.init.real_mounts import RealMounts
    from firkin.sandbox.operations import (
        AttachInProc,
        AttachOwn,
        Cgroups,
        ConsolePoint,
        Cover,
        DeviceNodes,
        Devpts,
        Domainname,
        Fix,
        HoldNulls,
        LockRoot,
        OverlayRoot,
        Proc,
        StubLink,
        Sysctls,
        Take,
        TmpfsOptions,
    )

PROC_MAGIC, SYSFS_MAGIC, DEVPTS_MAGIC, TMPFS_MAGIC = 0x9FA0, 0x62656572, 0x1CD1, 0x01021994
# What the kernel mounts there: cgroup, cgroup2, debugfs, tracefs, securityfs, fusectl, bpf, pstore, configfs.
BENEATH_SYS = (
    0x27E0EB, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0x65735543, 0xCAFE4A11, 0x6165676C, 0x62656570,
)  # fmt: skip
RESOLVE_NO_SYMLINKS = 0x04
PROPAGATIONS = {
    "private": 1 << 18, "rprivate": 1 << 18, "slave": 1 << 19, "rslave": 1 << 19, "shared": 1 << 20, "rshared": 1 << 20,
}  # fmt: skip
CHARACTER, BLOCK = 0o020000, 0o060000
# Names on the machine's /dev that a container has its own of, or that are no devices.
NOT_TAKEN = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev/ptmx")


class ContainerMounts(RealMounts):
    """The operations of containers, and those of RealMounts."""

    def __init__(self) -> None:
        super().__init__()
        self.nulls: list[int] = []
        self.nodes = 0
        with open("/proc/self/cgroup") as file:  # before it enters a cgroup namespace, and they are called /
            self.cgroups = [line.rstrip("\n").split(":", 2) for line in file]

    def op_overlay(self, op: OverlayRoot) -> None:
        """A volatile overlay leaves a mark, and cannot be mounted again as long as it is there."""
        if op.volatile:
            try:
                mark = f"{op.work}/work/incompat/volatile"
                os.unlink(f"{mark}/dirty")
                os.rmdir(mark)
            except OSError:
                pass
        super().op_overlay(op)

    def op_take(self, op: Take) -> None:
        # The kernel follows the links of the source once; from here on it is a descriptor.
        if op.beneath:
            fd = open_beneath(op.source, op.beneath)
        else:
            if op.create and not os.path.exists(op.source):
                make_all(os.path.realpath(op.source))
            fd = os.open(op.source, os.O_PATH | os.O_CLOEXEC)
        try:
            check_propagation(fd, op)
            tree = clone_tree_fd(fd, op.source, op.recursive)
        finally:
            os.close(fd)
        set_propagation(tree, op)
        if op.attributes:
            set_attributes(tree, op.attributes, True, op.source)
        if op.readonly:
            set_attributes(tree, MOUNT_ATTR_RDONLY, op.readonly == "recursive", op.source)
        self.trees[op.name] = tree

    def op_stub_link(self, op: StubLink) -> None:
        make_all(os.path.dirname(op.path))
        try:
            os.symlink(op.text, op.path)
        except FileExistsError:
            pass

    def op_device_nodes(self, op: DeviceNodes) -> None:
        """Whoever may make nodes could make one of any disk. So nodes can be opened only where nobody else can make
        them: each is a mount of its own, from a file system that is out of reach. With a list of devices in the cgroup
        (`guarded`) they are plain nodes. Raises Failed.
        """
        devices = list(op.devices)
        if op.all_of_machine:
            known = (*NOT_TAKEN, *[target for target, _ in devices])
            devices += [(path, path) for path in devices_in("/dev") if path not in known]
        if not op.guarded:
            attach(new_filesystem("tmpfs", (("mode", "0700"),), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), op.place)
        for target, source in devices:
            try:
                self.device(target, source, "" if op.guarded else op.place)
            except OSError as error:
                if (target, source) in op.devices:
                    why = (error.strerror or "").lower()
                    text = f'error gathering device information while adding custom device "{source}": {why}'
                    raise Failed("device", 0, text) from None
        if not op.guarded:
            check("umount", op.place, libc.umount2(os.fsencode(op.place), MNT_DETACH))

    def device(self, target: str, source: str, place: str) -> None:
        """Show a device, or all beneath a directory. `place` holds the nodes, "" for none. Raises OSError."""
        status = os.stat(source)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            for path in devices_in(source):
                self.device(target + path.removeprefix(source), path, place)
        elif kind in (CHARACTER, BLOCK):
            parent, name = self.root.ensure(target, directory=None)
            try:
                self.node(parent, name, source, status, place)
            finally:
                os.close(parent)
        else:
            raise OSError(22, "not a device node", source)

    def node(self, parent: int, name: str, source: str, status: os.stat_result, place: str) -> None:
        if look(parent, name) is not None:
            os.unlink(name, dir_fd=parent)
        folder = os.open(place, O_FOLDER) if place else os.dup(parent)
        self.nodes += 1
        own = str(self.nodes) if place else name
        try:
            os.mknod(own, status.st_mode & 0o170777, status.st_rdev, dir_fd=folder)
            os.chmod(own, status.st_mode & 0o7777, dir_fd=folder)
            os.chown(own, status.st_uid, status.st_gid, dir_fd=folder)
            if not place:
                return
            fd = os.open(own, O_ANY, dir_fd=folder)
        except PermissionError:
            # A user namespace makes no nodes. The machine's cannot be changed from within, either.
            fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
        finally:
            os.close(folder)
        tree = clone_tree_fd(fd, source, False)
        os.close(fd)
        os.close(os.open(name, os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=parent))
        attach_at(tree, os.open(name, O_ANY, dir_fd=parent), source)
        os.close(tree)

    def op_tmpfs_options(self, op: TmpfsOptions) -> None:
        options = op.options
        if not any(key == "mode" for key, _ in options):
            parent, rest = self.root.find(op.target)
            covered = look(parent, rest[0]) if len(rest) == 1 else None
            os.close(parent)
            options += (("mode", "1777" if covered is None else f"{covered.st_mode & 0o7777:o}"),)
        self._mount("tmpfs", op.target, options, op.attributes)

    def op_devpts(self, op: Devpts) -> None:
        """Holds it for `open_terminal`. Raises Failed."""
        super().op_devpts(op)
        parent, name = self.root.ensure(op.target, directory=None)
        pts = os.open(name, O_FOLDER, dir_fd=parent)
        if filesystem_type(pts) != DEVPTS_MAGIC:
            raise Failed("devpts", 0, "it is covered")
        self.held["pts"] = pts

    def op_console_point(self, op: ConsolePoint) -> None:
        parent, name = self.root.ensure("/dev/console", directory=None)
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=parent))
        self.held["console"] = os.open(name, O_ANY, dir_fd=parent)

    def op_cgroups(self, op: Cgroups) -> None:
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
        attributes |= MOUNT_ATTR_RDONLY if op.readonly else 0
        point = self.child_of("sys", "fs/cgroup")
        if point < 0:
            return
        if len(self.cgroups) == 1:
            try:
                tree = new_filesystem("cgroup2", (), attributes)
            except Failed:
                return  # a user namespace may mount one only with a cgroup namespace
            attach_at(tree, point, "/sys/fs/cgroup")
            os.close(tree)
            return
        cover = new_filesystem("tmpfs", (("mode", "0755"),), attributes & ~MOUNT_ATTR_RDONLY)
        attach_at(cover, point, "/sys/fs/cgroup")
        for _, controllers, path in self.cgroups:
            self.old_hierarchy(cover, controllers, path, attributes)
        if op.readonly:
            set_attributes(cover, attributes, False, "/sys/fs/cgroup")
        os.close(cover)

    def old_hierarchy(self, cover: int, controllers: str, path: str, attributes: int) -> None:
        """Show one hierarchy of cgroup v1 (cgroups(7)), or the unified one beside them."""
        name = controllers.removeprefix("name=") or "unified"
        try:
            tree = clone_tree(f"/sys/fs/cgroup/{name}{path}", False)
            set_attributes(tree, attributes, False, name)
        except Failed:
            return  # the machine does not show it
        os.mkdir(name, 0o755, dir_fd=cover)
        attach_at(tree, os.open(name, O_ANY, dir_fd=cover), name)
        os.close(tree)
        for alias in name.split(",") if "," in name else ():
            os.symlink(name, alias, dir_fd=cover)

    def op_attach_in_proc(self, op: AttachInProc) -> None:
        """Raises Failed."""
        tree, point = self.trees.pop(op.name), self.child_of("proc", op.path)
        if point < 0 or filesystem_type(point) != PROC_MAGIC or is_directory(tree):
            raise Failed("attach", EINVAL, f"/proc/{op.path}")
        attach_at(tree, point, op.path)
        os.close(tree)

    def op_lock_root(self, op: LockRoot) -> None:
        set_attributes(self.root.fd, MOUNT_ATTR_RDONLY, False, "/")

    def op_hold_nulls(self, op: HoldNulls) -> None:
        """The container's own null device could be anything by now (CVE-2025-31133). Raises Failed."""
        fd = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            if status.st_mode & 0o170000 != CHARACTER or status.st_rdev != os.makedev(1, 3):
                raise Failed("mask", 0, "/dev/null: not the null device")
            for _ in range(op.number):
                tree = clone_tree_fd(fd, "/dev/null", False)
                set_attributes(tree, MOUNT_ATTR_RDONLY, False, "/dev/null")  # or chmod would reach the machine's
                self.nulls.append(tree)
        finally:
            os.close(fd)

    def child_of(self, mount: str, path: str) -> int:
        """Return a descriptor of a path in a held mount of a kernel file system, -1 if it does not exist."""
        return open_plainly(self.held[mount], path)

    def protected(self, path: str) -> int:
        """Return a descriptor of a path of the container, -1 if it does not exist.

        A path in /proc or /sys must lie on that file system itself. Raises Failed.
        """
        top, _, rest = path.lstrip("/").partition("/")
        own = {"proc": (PROC_MAGIC,), "sys": (SYSFS_MAGIC, *BENEATH_SYS)}.get(top, ())
        if not own or top not in self.held:
            fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return open_how(fd, path, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
            finally:
                os.close(fd)
        found = self.child_of(top, rest or ".")
        if found >= 0 and filesystem_type(found) not in own:
            raise Failed("mask", 0, f"{path}: another file system is mounted there")
        return found

    def op_cover(self, op: Cover) -> None:
        for path in op.paths:
            point = self.protected(path)
            if point < 0:
                continue
            if is_directory(point):
                cover = new_filesystem("tmpfs", (("size", "0"), ("nr_inodes", "2")), MOUNT_ATTR_RDONLY)
            else:
                cover = self.nulls.pop()
            attach_at(cover, point, path)
            os.close(cover)
        while self.nulls:
            os.close(self.nulls.pop())

    def op_fix(self, op: Fix) -> None:
        for path in op.paths:
            point = self.protected(path)
            if point < 0:
                continue
            cover = clone_tree_fd(point, path, True)
            set_attributes(cover, MOUNT_ATTR_RDONLY, True, path)
            attach_at(cover, point, path)
            os.close(cover)

    def op_sysctls(self, op: Sysctls) -> None:
        """A write goes to a descriptor on a procfs, never to a path (CVE-2025-52881). Raises OSError."""
        for path, text in op.values:
            point = self.child_of("proc", f"sys/{path}")
            try:
                if point < 0 or filesystem_type(point) != PROC_MAGIC:
                    raise FileNotFoundError(2, "no such file or directory", path)
                fd = os.open(f"/proc/self/fd/{point}", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, text.encode())
                finally:
                    os.close(fd)
            except OSError as error:
                if not op.try_only:
                    raise OSError(error.errno, error.strerror, path) from None
            finally:
                if point >= 0:
                    os.close(point)

    def op_proc(self, op: Proc) -> None:
        """If a taken mount is ready, the kernel grants no new one: the PID namespace is not this user namespace's."""
        if "proc" not in self.trees:
            attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
            self.trees["proc"] = new_filesystem("proc", (), attributes)
        self.op_attach_own(AttachOwn("proc"))

    def op_domainname(self, op: Domainname) -> None:
        raw = os.fsencode(op.name)
        check("domainname", op.name, libc.setdomainname(raw, len(raw)))

    METHODS: ClassVar[dict[type, Callable[[Any, Any], None]]] = {
        **RealMounts.METHODS,
        OverlayRoot: op_overlay,
        Take: op_take,
        DeviceNodes: op_device_nodes,
        TmpfsOptions: op_tmpfs_options,
        Devpts: op_devpts,
        ConsolePoint: op_console_point,
        StubLink: op_stub_link,
        Cgroups: op_cgroups,
        AttachInProc: op_attach_in_proc,
        LockRoot: op_lock_root,
        HoldNulls: op_hold_nulls,
        Cover: op_cover,
        Fix: op_fix,
        Sysctls: op_sysctls,
        Proc: op_proc,
        Domainname: op_domainname,
    }


def devices_in(folder: str) -> list[str]:
    """Return the devices and directories in a directory of the machine."""
    paths = [f"{folder}/{name}" for name in sorted(os.listdir(folder))]
    return [path for path in paths if os.lstat(path).st_mode & 0o170000 in (CHARACTER, BLOCK, 0o040000)]


def open_how(folder: int, path: str, resolve: int) -> int:
    """Return an O_PATH descriptor of a path, -1 if it does not exist (openat2(2)). Raises Failed."""
    fields = (os.O_PATH | os.O_CLOEXEC, 0, resolve)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in fields), 24)
    try:
        return syscall("open", path, SYS_OPENAT2, folder, os.fsencode(path), ctypes.addressof(buffer), 24)
    except Failed as failed:
        if failed.number in (2, 20):
            return -1
        raise


def open_plainly(folder: int, path: str) -> int:
    """Like `open_how`, without following any link."""
    return open_how(folder, path, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)


def filesystem_type(fd: int) -> int:
    """Return the magic number of the file system of a descriptor (statfs(2))."""
    buffer = (ctypes.c_long * 32)()
    check("statfs", str(fd), libc.fstatfs(fd, buffer))
    return buffer[0] & 0xFFFFFFFF


def set_propagation(tree: int, op: Take) -> None:
    """Set the propagation of a detached tree (mount_setattr(2)).

    What is mounted within it may only get what the machine mounts, unless everything is to be shared: by `private` and
    `slave` alone it would still be shared.
    """
    if op.propagation in ("private", "slave"):
        change_propagation(tree, op.source, "rslave")
    change_propagation(tree, op.source, op.propagation)


def change_propagation(tree: int, detail: str, kind: str) -> None:
    words = (0, 0, PROPAGATIONS[kind], 0)
    buffer = ctypes.create_string_buffer(b"".join(n.to_bytes(8, sys.byteorder) for n in words), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if kind.startswith("r") else 0)
    syscall("propagation", detail, SYS_MOUNT_SETATTR, tree, b"", flags, ctypes.addressof(buffer), 32)


def check_propagation(fd: int, op: Take) -> None:
    """Raises Failed if events cannot come from where a source lies, as docker says it."""
    kind = op.propagation.removeprefix("r")
    if kind == "private":
        return
    with open(f"/proc/self/fdinfo/{fd}") as info:
        number = next(line.split()[1] for line in info if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo") as table:
        fields = next((line.split(" - ")[0].split() for line in table if line.startswith(f"{number} ")), None)
    place, tags = (fields[4], " ".join(fields[6:])) if fields else ("/", "")
    if "shared:" not in tags and not (kind == "slave" and "master:" in tags):
        wanted = "shared" if kind == "shared" else "shared or slave"
        raise Failed("take", 0, f"path {op.source} is mounted on {place} but it is not a {wanted} mount")
