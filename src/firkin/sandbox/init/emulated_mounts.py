"""Emulated mounts, where nothing can be mounted: put in place before the command, removed afterwards. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. `EmulatedMounts` performs the operations of
`emulated_plan` on a plain directory, or on `/` itself (`sandbox/operations.py` describes each).

Everything is made in the scratch directory and renamed into place; a file that it covers is renamed aside. `undo`
restores everything in reverse order, also after the command was killed. A covered path is reported as

    cover PATH

so that its new ctime does not count as a change by the step.

The command may change all of this. So a place is an open directory and a name in it, found once (`image_root.py`).
What was put there is held open too, since a free inode is used again. Undoing looks up no path: it acts in the held
directory, wherever that is by now, and takes back only files that were put in.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from firkin.sandbox.init.carry import At, move, remove
    from firkin.sandbox.init.image_root import O_ANY, O_FOLDER, Root, is_same, look, set_times, times_of
    from firkin.sandbox.init.kernel import EIO, Status, failed_operation, prctl
    from firkin.sandbox.operations import (
        Amend,
        EmulateDevices,
        Lend,
        OpenRoot,
        Operations,
        ShowDirectory,
        ShowEmpty,
        ShowFile,
        ShowSocket,
        ShowTexts,
        ShowTree,
    )

EXDEV, EPERM = 18, 1
S_IFMT, S_IFDIR, S_IFREG, S_IFCHR = 0o170000, 0o040000, 0o100000, 0o020000
# Name, major, minor, and the size of the plain file that replaces the device where none can be made; None: no file.
DEVICES = (
    ("null", 1, 3, 0),
    ("zero", 1, 5, 1 << 20),
    ("full", 1, 7, None),
    ("random", 1, 8, 1 << 16),
    ("urandom", 1, 9, 1 << 16),
    ("tty", 5, 0, None),
)
STREAMS = {"stdout": 1, "stderr": 2}


class EmulatedMounts:
    """The operations, one method each, and their undoing."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.root = Root(-1)
        self.scratch = ""
        self.aside = -1  # the scratch directory
        self.number = 0
        self.undoing: list[Callable[[], None]] = []
        self.pipes: dict[int, int] = {}  # read ends of /dev/stdout and /dev/stderr → the streams

    def perform(self, operations: Operations) -> None:
        """Perform operations in their order. Raises Failed."""
        for operation in operations:
            method = self.METHODS[type(operation)]
            self.undoing.append(self.taking_away(len(self.root.made)))
            try:
                method(self, operation)
            except (OSError, ValueError) as error:
                raise failed_operation(method.__name__, operation, error) from None

    def taking_away(self, since: int) -> Callable[[], None]:
        return lambda: self.root.take_away(since)

    def attend(self, child: int) -> None:
        """Wait for the end of process B; pass on what commands write to /dev/stdout and /dev/stderr."""
        if self.pipes:
            import select

            poll = select.poll()
            ended = os.pidfd_open(child)
            for fd in (ended, *self.pipes):
                poll.register(fd, select.POLLIN)
            while ended not in [fd for fd, _ in poll.poll()]:
                self.pump()
            os.close(ended)
        os.waitpid(child, 0)

    def pump(self) -> None:
        for fd, stream in self.pipes.items():
            try:
                while data := os.read(fd, 1 << 16):
                    while data:
                        data = data[os.write(stream, data) :]
            except BlockingIOError:
                pass  # no more data for now

    def undo(self) -> None:
        """Remove everything again; report what cannot be removed: the root is then not what the command made."""
        self.pump()
        while self.undoing:
            try:
                self.undoing.pop()()
            except OSError as error:
                self.status.tell("setup", "clean up", error.errno or 0, str(error.filename or ""))
            except ValueError as error:
                self.status.tell("setup", "clean up", EIO, str(error))

    # Operations

    def op_root(self, op: OpenRoot) -> None:
        os.makedirs(op.scratch, 0o755, exist_ok=True)
        self.root = Root(os.open(op.root, O_FOLDER))
        self.scratch, self.aside = op.scratch, os.open(op.scratch, O_FOLDER)

    def op_devices(self, op: EmulateDevices) -> None:
        place = self.fresh()
        os.mkdir(place, 0o755)
        for name, major, minor, length in DEVICES:
            if self.make_device(f"{place}/{name}", major, minor) or length is None:
                continue
            with open(f"{place}/{name}", "wb") as file:
                if major == 1 and minor > 7:
                    file.write(os.urandom(length))
                else:
                    file.truncate(length)
            os.chmod(f"{place}/{name}", 0o666)
        for name in ("shm", "pts", "mqueue"):
            os.mkdir(f"{place}/{name}", 0o755)
        os.chmod(f"{place}/shm", 0o1777)
        for target, path in op.links:
            name = path.rpartition("/")[2]
            if name in STREAMS:
                # There is no /proc/self to link to. Both ends of the pipe are open, so the reader never sees an end.
                os.mkfifo(f"{place}/{name}", 0o666)
                os.chmod(f"{place}/{name}", 0o666)
                reader = os.open(f"{place}/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                self.pipes[reader] = STREAMS[name]
            else:
                os.symlink("null" if name == "stdin" else target, f"{place}/{name}")
        self.place(place, "/dev")

    def make_device(self, path: str, major: int, minor: int) -> bool:
        try:
            os.mknod(path, S_IFCHR | 0o666, os.makedev(major, minor))
        except OSError:
            return False
        os.chmod(path, 0o666)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in (EPERM, 13):  # a `nodev` file system, or the container's list of devices
                os.unlink(path)
                return False
        return True

    def op_text(self, op: ShowTexts) -> None:
        place = self.fresh()
        os.mkdir(place, 0o755)
        for name, content in op.files:
            os.makedirs(os.path.dirname(f"{place}/{name}"), 0o755, exist_ok=True)
            with open(f"{place}/{name}", "wb") as file:
                file.write(content)
            os.chmod(f"{place}/{name}", 0o444)
        self.place(place, op.target)

    def op_directory(self, op: ShowDirectory) -> None:
        self.root.ensure(op.target, directory=True)

    def op_file(self, op: ShowFile) -> None:
        place = self.fresh()
        fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(op.content)
            while view:
                view = view[os.write(fd, view) :]
            os.fchown(fd, op.uid, op.gid)
            os.fchmod(fd, op.mode)
        finally:
            os.close(fd)
        self.place(place, op.target)

    def op_empty(self, op: ShowEmpty) -> None:
        place = self.fresh()
        os.mkdir(place, 0o755)
        mode = op.mode
        if mode < 0:
            covered = look(*self.root.ensure(op.target, directory=None))
            mode = 0o1777 if covered is None else covered.st_mode & 0o7777
        os.chmod(place, mode)
        self.place(place, op.target)

    def op_tree(self, op: ShowTree) -> None:
        self.place(op.source, op.target)

    def op_keep(self, op: Lend) -> None:
        """Raises OSError if the home is not a directory."""
        folder, _, name = op.home.rpartition("/")
        kept = os.open(folder, O_FOLDER), name
        status = look(*kept)
        if status is None or status.st_mode & S_IFMT != S_IFDIR:
            raise OSError(20, "not a directory", op.home)
        self.place(op.home, op.target, kept)

    def op_socket(self, op: ShowSocket) -> None:
        """Uses a hard link, or else a process that passes bytes on."""
        place = self.fresh()
        try:
            os.link(op.source, place, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (EXDEV, EPERM):
                raise
            self.relay(place, op.source)
        self.place(place, op.target)

    def op_amend(self, op: Amend) -> None:
        parent, name = self.root.ensure(op.path, directory=None)
        new = look(parent, name) is None
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags | (os.O_RDWR | os.O_CREAT if new else os.O_RDONLY), 0o644, dir_fd=parent)
            status = os.fstat(fd)
            if status.st_mode & S_IFMT != S_IFREG:
                raise OSError(22, "not a regular file")
            before = read_all(fd)
            if not op.append and op.content == before:
                return
            if not new:
                os.close(fd)
                fd = os.open(name, flags | os.O_RDWR, dir_fd=parent)
        except OSError as error:
            self.status.tell("warn", "write", error.errno or 0, op.path)
            return

        def restore() -> None:
            # Restore the file itself, wherever it is by now.
            write_all(fd, before)
            there = look(parent, name)
            if new and there is not None and is_same(there, fd):
                os.unlink(name, dir_fd=parent)

        self.undoing.append(restore)
        write_all(fd, before + op.content if op.append else op.content)

    # How

    def fresh(self) -> str:
        self.number += 1
        return f"{self.scratch}/emulated-{self.number}"

    def place(self, source: str, target: str, home: At | None = None) -> None:
        """Put `source` at `target`; afterwards move it to `home`, or remove it."""
        at = self.root.ensure(target, directory=None)
        times = times_of(at[0])
        hidden = None
        if look(*at) is not None:
            hidden = self.aside, os.path.basename(self.fresh())
            move(at, hidden)
            self.status.tell("cover", target)
        # Registered before the move: a half-moved tree must be removed too.
        put: list[int] = []
        self.undoing.append(lambda: self.take_out(at, put, hidden, home))
        move(home or (self.aside, source.removeprefix(self.scratch + "/")), at)
        put.append(os.open(at[1], O_ANY, dir_fd=at[0]))
        set_times(at[0], times)

    def take_out(self, at: At, put: list[int], hidden: At | None, home: At | None) -> None:
        # The parent's time was restored at once, so any later change of it is the command's.
        times = times_of(at[0])
        there = look(*at)
        if there is not None:
            # A real mount cannot be replaced: another file in its place is not the lent directory, so it is removed.
            if home and any(is_same(there, fd) for fd in put) and there.st_mode & S_IFMT == S_IFDIR:
                move(at, home)
            else:
                remove(at)
        if hidden:
            try:
                move(hidden, at)
            except FileNotFoundError:
                return  # its directory is gone, and the covered file with it
        set_times(at[0], times)

    def relay(self, place: str, source: str) -> None:
        """Listen at `place` and pass everything on to `source`, in a process that ends with this one."""
        import _socket as socket
        import select

        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The path of a socket is limited to 107 bytes.
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(os.path.dirname(place))
        try:
            listener.bind(os.path.basename(place))
        finally:
            os.fchdir(here)
            os.close(here)
        listener.listen(8)
        os.chmod(place, os.stat(source).st_mode & 0o7777)
        os.chown(place, os.stat(source).st_uid, os.stat(source).st_gid)
        if os.fork():
            os.close(listener.detach())
            return  # it is killed with all other descendants
        try:
            prctl("relay", 1, 9)  # die with the parent
            os.closerange(3, listener.fileno())
            os.closerange(listener.fileno() + 1, 1 << 12)
            pass_on(listener, source, socket, select)
        finally:
            os._exit(0)

    METHODS: ClassVar[dict[type, Callable[[EmulatedMounts, Any], None]]] = {
        OpenRoot: op_root,
        EmulateDevices: op_devices,
        ShowTexts: op_text,
        ShowDirectory: op_directory,
        ShowFile: op_file,
        ShowEmpty: op_empty,
        ShowTree: op_tree,
        Lend: op_keep,
        ShowSocket: op_socket,
        Amend: op_amend,
    }


def pass_on(listener: Any, source: str, socket: Any, select: Any) -> None:
    """Serve connections until this process is killed."""
    other: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([listener.fileno(), *other], [], [])
        for fd in ready:
            if fd == listener.fileno():
                accepted, _ = listener._accept()
                agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    agent.connect(source)
                except OSError:
                    os.close(accepted)
                    continue
                end = agent.detach()
                other[accepted], other[end] = end, accepted
            elif fd in other:
                data = b""
                try:
                    data = os.read(fd, 1 << 16)
                    while data and (done := os.write(other[fd], data)) < len(data):
                        data = data[done:]
                except OSError:
                    data = b""
                if not data:
                    end = other.pop(fd)
                    other.pop(end, None)
                    os.close(fd)
                    os.close(end)


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.pread(fd, 1 << 16, len(data)):
        data += chunk
    return data


def write_all(fd: int, data: bytes) -> None:
    os.ftruncate(fd, 0)
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], done)
