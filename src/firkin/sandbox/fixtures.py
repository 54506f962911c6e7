"""What surrounds a command where nothing can be mounted: put in place before, taken out after. Nothing imports it.

The second half of the stand-alone program `init.py`, in whose names it is executed: `Fixtures` performs the
operations of `ops.plain_plan` on a plain directory, or on `/` itself. Everything is made in the scratch directory and
renamed into place, what it covers is renamed aside; `undo` puts everything back, in reverse order, also when the
command was killed. A path that was covered is told as

    cover PATH

so that the change of its ctime is not taken for a change of the step's.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Status(Protocol):
        def tell(self, *fields: object) -> None: ...

    class Failed(Exception):
        def __init__(self, op: str, number: int, detail: str) -> None: ...

    def prctl(op: str, option: int, value: int) -> int: ...


EXDEV, EBUSY, ENOENT, EPERM = 18, 16, 2, 1
S_IFMT, S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR = 0o170000, 0o040000, 0o100000, 0o120000, 0o020000
LINKS = 40

# Name, major, minor, and what stands in for the device where none can be made: None for nothing.
DEVICES = (
    ("null", 1, 3, 0),
    ("zero", 1, 5, 1 << 20),
    ("full", 1, 7, None),
    ("random", 1, 8, 1 << 16),
    ("urandom", 1, 9, 1 << 16),
    ("tty", 5, 0, None),
)
STREAMS = {"stdout": 1, "stderr": 2}


class Fixtures:
    """The operations, one method each, and how to undo them."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.root = ""
        self.scratch = ""
        self.number = 0
        self.undoing: list[Callable[[], None]] = []
        self.pipes: dict[int, int] = {}  # read ends of /dev/stdout and /dev/stderr → the streams

    def perform(self, operations: list[tuple[Any, ...]]) -> None:
        for name, *args in operations:
            operation: Callable[..., None] = getattr(self, f"op_{name}")
            try:
                operation(*args)
            except OSError as error:
                detail = error.filename if isinstance(error.filename, str) else str(args[0] if args else "")
                raise Failed(str(name), error.errno or 0, detail) from None

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
                pass  # that was all for now

    def undo(self) -> None:
        """Take everything out again; what cannot be is left to whoever removes the scratch directory."""
        self.pump()
        while self.undoing:
            try:
                self.undoing.pop()()
            except OSError as error:
                self.status.tell("warn", "clean up", error.errno or 0, str(error.filename or ""))

    # Operations

    def op_root(self, root: str, scratch: str) -> None:
        """Name the root ("" for `/`) and the scratch directory, which is on its file system if that can be."""
        self.root, self.scratch = root, scratch
        os.makedirs(scratch, 0o755, exist_ok=True)

    def op_devices(self, links: tuple[tuple[str, str], ...]) -> None:
        """Show a /dev of devices, or of plain files where devices are refused."""
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
        for target, path in links:
            name = path.rpartition("/")[2]
            if name in STREAMS:
                # There is no /proc/self to link to. Open for both ends, so that it never ends for the reader.
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

    def op_text(self, target: str, files: tuple[tuple[str, bytes], ...], links: tuple[tuple[str, str], ...]) -> None:
        """Show a directory of read-only files at `target`."""
        place = self.fresh()
        os.mkdir(place, 0o755)
        for name, content in files:
            os.makedirs(os.path.dirname(f"{place}/{name}"), 0o755, exist_ok=True)
            with open(f"{place}/{name}", "wb") as file:
                file.write(content)
            os.chmod(f"{place}/{name}", 0o444)
        for target_of, name in links:
            os.symlink(target_of, f"{place}/{name}")
        self.place(place, target)

    def op_directory(self, target: str) -> None:
        """Have an empty directory at `target` if there is nothing."""
        self.parents(self.resolve(target) + "/x")

    def op_file(self, target: str, content: bytes, mode: int, uid: int, gid: int) -> None:
        place = self.fresh()
        fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        self.place(place, target)

    def op_empty(self, target: str, mode: int) -> None:
        """Show an empty directory; with `mode` -1 of the mode of what it covers, or 1777."""
        place = self.fresh()
        os.mkdir(place, 0o755)
        if mode < 0:
            try:
                mode = os.lstat(self.resolve(target)).st_mode & 0o7777
            except OSError:
                mode = 0o1777
        os.chmod(place, mode)
        self.place(place, target)

    def op_tree(self, target: str, source: str) -> None:
        """Show a file or directory that was made for this command."""
        self.place(source, target)

    def op_keep(self, target: str, home: str) -> None:
        """Show directory `home`, and put it back there afterwards with what was written to it."""
        self.place(home, target, home)

    def op_socket(self, target: str, source: str) -> None:
        """Make a socket reachable under a second name: by a link, or by one process that passes bytes on."""
        place = self.fresh()
        try:
            os.link(source, place, follow_symlinks=True)
        except OSError as error:
            if error.errno not in (EXDEV, EPERM):
                raise
            self.relay(place, source)
        self.place(place, target)

    def op_amend(self, path: str, content: bytes, append: bool) -> None:
        """Write to a file of the surroundings that cannot be covered, as it is a mount; it is put back."""
        before: bytes | None = None
        try:
            with open(path, "rb") as file:
                before = file.read()
        except FileNotFoundError:
            pass
        after = (before or b"") + content if append else content
        if after == before:
            return

        def restore() -> None:
            if before is None:
                os.unlink(path)
                return
            with open(path, "wb") as file:
                file.write(before)

        try:
            with open(path, "wb") as writer:
                self.undoing.append(restore)
                writer.write(after)
        except OSError as error:
            self.status.tell("warn", "write", error.errno or 0, path)

    # How

    def fresh(self) -> str:
        self.number += 1
        return f"{self.scratch}/fixture-{self.number}"

    def resolve(self, target: str) -> str:
        """Return where a path of the image is, links followed within the root."""
        done: list[str] = []
        todo = [part for part in target.split("/") if part][::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            path = f"{self.root}/{'/'.join((*done, part))}"
            if os.path.islink(path):
                links += 1
                if links > LINKS:
                    raise OSError(40, "too many links", target)
                text = os.readlink(path)
                if text.startswith("/"):
                    done.clear()
                todo += text.split("/")[::-1]
            else:
                done.append(part)
        return f"{self.root}/{'/'.join(done)}"

    def parents(self, path: str) -> None:
        """Make the directories above `path` that are missing; they go again if the command leaves them empty."""
        missing = []
        folder = os.path.dirname(path)
        while folder and folder != self.root and not os.path.lexists(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            parent = os.path.dirname(folder) or "/"
            times = os.stat(parent)
            os.mkdir(folder, 0o755)
            os.utime(parent, ns=(times.st_atime_ns, times.st_mtime_ns))
            self.undoing.append(lambda folder=folder: self.remove_folder(folder))  # type: ignore[misc]

    def remove_folder(self, folder: str) -> None:
        parent = os.path.dirname(folder) or "/"
        now = os.stat(parent)
        try:
            os.rmdir(folder)
        except OSError:
            return  # the command left something in it, or took it away: it is part of the layer
        os.utime(parent, ns=(now.st_atime_ns, now.st_mtime_ns))

    def place(self, source: str, target: str, home: str = "") -> None:
        """Put `source` at `target`; afterwards it goes to `home`, or away."""
        path = self.resolve(target)
        self.parents(path)
        parent = os.path.dirname(path) or "/"
        times = os.stat(parent)
        hidden = ""
        if os.path.lexists(path):
            hidden = self.fresh()
            move(path, hidden)
            self.status.tell("cover", path[len(self.root) :])
        # Said before it is done: a half-moved tree has to be taken out too.
        self.undoing.append(lambda: self.take_out(path, hidden, home))
        move(source, path)
        os.utime(parent, ns=(times.st_atime_ns, times.st_mtime_ns))

    def take_out(self, path: str, hidden: str, home: str) -> None:
        # The parent's time was put back at once, so what it has now is the command's doing, or nobody's.
        parent = os.path.dirname(path) or "/"
        now = os.stat(parent)
        if os.path.lexists(path):
            if home:
                move(path, home)
            else:
                remove(path)
        if hidden:
            move(hidden, path)
        os.utime(parent, ns=(now.st_atime_ns, now.st_mtime_ns))

    def relay(self, place: str, source: str) -> None:
        """Listen at `place` and pass everything on to `source`, in a process that ends with this one."""
        import _socket as socket
        import select

        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The path of a socket may have 107 bytes.
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
            pass_on(listener, source, socket, select)
        finally:
            os._exit(0)


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


def move(source: str, target: str) -> None:
    """Rename; copy and remove where the two are on different file systems."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != EXDEV:
            raise
        copy(source, target, {})
        remove(source)


def copy(source: str, target: str, links: dict[tuple[int, int], str]) -> None:
    """Copy a file or directory with its owner, mode, times, attributes and hard links."""
    status = os.lstat(source)
    kind = status.st_mode & S_IFMT
    if kind != S_IFDIR and status.st_nlink > 1:
        first = links.setdefault((status.st_dev, status.st_ino), target)
        if first != target:
            os.link(first, target, follow_symlinks=False)
            return
    if kind == S_IFDIR:
        if not os.path.isdir(target):
            os.mkdir(target, 0o700)
        for name in os.listdir(source):
            copy(f"{source}/{name}", f"{target}/{name}", links)
    elif kind == S_IFLNK:
        os.symlink(os.readlink(source), target)
    elif kind == S_IFREG:
        copy_content(source, target, status.st_size)
    else:
        os.mknod(target, kind | 0o600, status.st_rdev)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if kind != S_IFLNK:
        os.chmod(target, status.st_mode & 0o7777)
        for name in os.listxattr(source):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError:
                pass  # an attribute that belongs to the file system
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def copy_content(source: str, target: str, size: int) -> None:
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = size
            while left and (done := os.sendfile(target_fd, source_fd, None, left)):
                left -= done
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def remove(path: str) -> None:
    """Remove a file, or a directory with all beneath it."""
    if os.lstat(path).st_mode & S_IFMT != S_IFDIR:
        os.unlink(path)
        return
    for name in os.listdir(path):
        remove(f"{path}/{name}")
    os.rmdir(path)
