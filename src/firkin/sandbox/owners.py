"""Who owns what, where files can have one owner only: calls of chown are answered here and noted. Nothing imports it.

A part of the stand-alone program `init.py`, in whose names it is executed, for user namespaces with one id. A filter of
the command sends every chown to a process beside it (seccomp_unotify(2)):

    C  installs the filter, tells S where its listener is, becomes the command
    S  for each chown: opens the file as the caller would, changes its owner to the one that there is (which copies it
       up, and clears what a chown clears), notes (inode, time of birth) → (uid, gid), answers success
    B  tells S when the command has ended: S looks for these inodes in the upper directory and writes the owners file,
       records of `uid gid path` that end in NUL, -1 for an id that stays as it is

Inodes and not paths, as programs change the owner of a temporary file and rename it. stat(2) is not changed, it shows
uid 0 for all files, so what comes of copying is not known for a choice: 0 counts only for a file that was there before.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from firkin.sandbox.confine import install_filter, program_of
    from firkin.sandbox.init import Failed, Status, close_all_but, libc, syscall


SYS_PIDFD_OPEN = 434
SYS_OPENAT2 = 437
SYS_PIDFD_GETFD = 438
SYS_SECCOMP = {
    "x86_64": 317, "i686": 354, "aarch64": 277, "armv8l": 383, "armv7l": 383, "armv6l": 383, "riscv64": 277,
    "loongarch64": 277,
}  # fmt: skip
SET_MODE_FILTER, NEW_LISTENER = 1, 8
NOTIF_RECV, NOTIF_SEND, NOTIF_ID_VALID, NOTIF_SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
SYNC_WAKE_UP = 1

RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
FD_CWD, NO_FOLLOW, EMPTY_PATH = -100, 0x100, 0x1000
EPERM, ENOENT, EBADF, EFAULT, ENAMETOOLONG, ELOOP = 1, 2, 9, 14, 36, 40
MOST_PATH, PAGE = 4096, 4096
KEPT = 0xFFFFFFFF  # chown(2): -1 leaves an id as it is
STATX_BTIME = 0x800
TICK_S = 0.05  # the longest is 0.01 (HZ=100)
MOST_HELD = 500


class MagicLink(Exception):
    """A path leads through a link of /proc."""


class Call:
    """One chown that waits for its answer."""

    def __init__(self, ident: int, pid: int, name: str, args: tuple[int, ...]) -> None:
        self.ident, self.pid = ident, pid
        short = name.endswith("16")
        name = name.removesuffix("16")
        self.directory, self.path, self.flags = FD_CWD, 0, 0
        if name == "fchown":
            self.directory, uid, gid = signed(args[0]), args[1], args[2]
            self.flags = EMPTY_PATH
        elif name == "fchownat":
            self.directory, self.path, uid, gid, self.flags = signed(args[0]), args[1], args[2], args[3], args[4]
        else:
            self.path, uid, gid = args[0], args[1], args[2]
            self.flags = NO_FOLLOW if name == "lchown" else 0
        self.uid, self.gid = (whole(uid), whole(gid)) if short else (uid & KEPT, gid & KEPT)


def signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def whole(value: int) -> int:
    """Return an id of 16 bits as one of 32: its -1 too."""
    value &= 0xFFFF
    return KEPT if value == 0xFFFF else value


class Keeper:
    """Process S as B and C see it, and what it needs of them. `calls` is (architecture, number) → name."""

    def __init__(self, spec: tuple[bytes, bytes, dict[tuple[int, int], str]], upper: int, file: int) -> None:
        self.program, self.instead, self.calls = spec
        self.upper, self.file = upper, file
        self.hello, self.hello_end = os.pipe()
        self.ready, self.ready_end = os.pipe()
        self.stop, self.stop_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve()
        self.fds = (self.hello_end, self.ready, self.ready_end, self.stop_end)

    def admit(self, status: Status) -> None:
        """Install the filter in process C; where the kernel grants none, the one that keeps nothing."""
        number = SYS_SECCOMP.get(os.uname().machine, -1)
        record = program_of(self.program)
        try:
            listener = syscall("owners", "listener", number, SET_MODE_FILTER, NEW_LISTENER, ctypes.addressof(record))
        except Failed as failed:
            install_filter(self.instead)
            status.tell("lost", failed.number)
            return
        os.close(self.ready_end)
        os.write(self.hello_end, b"%d %d" % (os.getpid(), listener))
        os.read(self.ready, 1)
        os.close(listener)

    def finish(self) -> None:
        """Have what was noted written."""
        os.close(self.stop_end)
        os.waitpid(self.pid, 0)

    def _serve(self) -> NoReturn:
        code = 1
        try:
            close_all_but(self.upper, self.file, self.hello, self.ready_end, self.stop)
            notes = Notes(self.calls)
            hello = os.read(self.hello, 64)
            if hello:
                pid, listener = map(int, hello.split())
                pidfd = syscall("owners", "pidfd", SYS_PIDFD_OPEN, pid, 0)
                notes.listener = syscall("owners", "getfd", SYS_PIDFD_GETFD, pidfd, listener, 0)
                # Both wait for each other, so one core does for both (Linux 6.6; without it all takes longer).
                libc.ioctl(notes.listener, ctypes.c_ulong(NOTIF_SET_FLAGS), ctypes.c_ulong(SYNC_WAKE_UP))
                os.write(self.ready_end, b"g")
            notes.answer_until(self.stop)
            notes.write(self.upper, self.file)
            code = 0
        finally:
            os._exit(code)


class Notes:
    """What process S does and knows."""

    def __init__(self, calls: dict[tuple[int, int], str]) -> None:
        self.calls = calls
        self.listener = -1
        self.owners: dict[tuple[int, int], tuple[int, int]] = {}
        self.recent: list[tuple[float, int]] = []
        self.root = os.stat("/")
        self.top = os.open("/", os.O_PATH | os.O_CLOEXEC)

    # Answers

    def answer_until(self, stop: int) -> None:
        """Answer until `stop` is closed at its other end."""

        class Poll(ctypes.Structure):
            _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

        waits = (Poll * 2)(Poll(stop, 1, 0), Poll(self.listener, 1, 0))
        while True:
            if libc.poll(waits, ctypes.c_ulong(2), -1) < 0:
                continue
            if waits[0].revents:
                return  # whoever still calls is killed presently
            if waits[1].revents & 1:
                self.answer()
            elif waits[1].revents:
                waits[1].fd = -1  # nobody is left who has the filter

    def answer(self) -> None:
        """Receive one call and answer it."""
        buffer = ctypes.create_string_buffer(80)
        if libc.ioctl(self.listener, ctypes.c_ulong(NOTIF_RECV), buffer) < 0:
            return  # it was killed meanwhile
        words = [int.from_bytes(buffer.raw[at : at + 8], sys.byteorder) for at in range(0, 80, 8)]
        ident, pid = words[0], words[1] & 0xFFFFFFFF
        number, architecture = signed(words[2]), words[2] >> 32
        name = self.calls.get((architecture, number), "")
        error = self.change(Call(ident, pid, name, tuple(words[4:]))) if name else 0
        fields = (ident, 0, -error & 0xFFFFFFFF)  # id, value, error and flags (none)
        reply = b"".join(field.to_bytes(8, sys.byteorder) for field in fields)
        libc.ioctl(self.listener, ctypes.c_ulong(NOTIF_SEND), ctypes.create_string_buffer(reply, 24))

    def change(self, call: Call) -> int:
        """Do what a call asks for as far as it can be done, note the rest; return its errno."""
        try:
            target = self.open_target(call)
        except OSError as error:
            return error.errno or ENOENT
        except MagicLink:
            return 0  # to a descriptor of the caller's, a pipe for the most part
        self.hold(target)
        try:
            return self.change_opened(call, target)
        except OSError as error:
            return error.errno or ENOENT

    def hold(self, fd: int) -> None:
        """Keep a file, removed or not, until the clock of the file system has gone on.

        Its inode's number cannot be used again meanwhile, so number and time of birth together are of one file.
        """
        now = os.times().elapsed
        self.recent.append((now, fd))
        while now - self.recent[0][0] > TICK_S or len(self.recent) > MOST_HELD:
            os.close(self.recent.pop(0)[1])

    def change_opened(self, call: Call, target: int) -> int:
        known = ctypes.c_uint64(call.ident)
        if libc.ioctl(self.listener, ctypes.c_ulong(NOTIF_ID_VALID), ctypes.byref(known)) < 0:
            return ENOENT  # whoever asked is gone, and its number may be another's
        own = [-1 if wanted == KEPT else 0 for wanted in (call.uid, call.gid)]
        if libc.fchownat(target, b"", own[0], own[1], EMPTY_PATH) < 0:
            number = ctypes.get_errno()
            return 0 if number == EPERM else number  # a device of the host, which is somebody else's
        if os.fstat(target).st_dev == self.root.st_dev:
            self.note(birth(target), call.uid, call.gid)
        return 0

    def note(self, inode: tuple[int, int], uid: int, gid: int) -> None:
        before = self.owners.get(inode, (KEPT, KEPT))
        self.owners[inode] = (before[0] if uid == KEPT else uid, before[1] if gid == KEPT else gid)

    def open_target(self, call: Call) -> int:
        """Return a descriptor of the file that a call is about, found as its caller would find it."""
        flags = os.O_PATH | os.O_CLOEXEC
        if call.directory < 0 and call.directory != FD_CWD:
            raise OSError(EBADF, "")
        place = f"/proc/{call.pid}/cwd" if call.directory == FD_CWD else f"/proc/{call.pid}/fd/{call.directory}"
        path = read_text(call.pid, call.path) if call.path else b""
        if not path:
            if not call.flags & EMPTY_PATH:
                raise OSError(ENOENT, "")
            try:
                return os.open(place, flags)
            except FileNotFoundError:
                raise OSError(EBADF, "") from None
        return self.walk(call, place, path, flags | (os.O_NOFOLLOW if call.flags & NO_FOLLOW else 0))

    def walk(self, call: Call, place: str, path: bytes, flags: int) -> int:
        """Open a path from a place as a process does, in its root: a command may have changed it (chroot)."""
        top = f"/proc/{call.pid}/root"
        found = os.stat(top)
        same = (found.st_dev, found.st_ino) == (self.root.st_dev, self.root.st_ino)
        if same and path.startswith(b"/"):
            return open_from(self.top, path, flags, 0)
        try:
            if not same and not path.startswith(b"/"):
                # The kernel resolves `..` beneath another root only if the walk begins there: it gets the whole path.
                outer = os.fsencode(os.readlink(top)).rstrip(b"/")
                path = os.fsencode(os.readlink(place)).removeprefix(outer) + b"/" + path
            start = os.open(place if same else top, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(EBADF, "") from None
        try:
            return open_from(start, path, flags, 0 if same else RESOLVE_IN_ROOT)
        finally:
            os.close(start)

    # The end

    def write(self, upper: int, file: int) -> None:
        """Find the paths of what was noted and write the owners file."""
        if not self.owners:
            return
        inodes = {inode for inode, _ in self.owners}
        with os.fdopen(file, "wb") as stream:
            folders = [""]
            for folder in folders:
                try:
                    listed = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=upper)
                except OSError:
                    continue  # deeper than a path can say
                with os.scandir(listed) as entries:
                    names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
                os.close(listed)
                for name, directory in names:
                    path = f"{folder}{name}"
                    if directory:
                        folders.append(f"{path}/")
                    owner = self.owner(path, inodes, upper)
                    if owner != (KEPT, KEPT):
                        uid, gid = (-1 if each == KEPT else each for each in owner)
                        stream.write(b"%d %d %s\0" % (uid, gid, os.fsencode(path)))

    def owner(self, path: str, inodes: set[int], upper: int) -> tuple[int, int]:
        """Return what was noted of a path of the upper directory."""
        try:
            if os.lstat(f"/{path}").st_ino not in inodes:
                return (KEPT, KEPT)
            seen = os.open(f"/{path}", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return (KEPT, KEPT)  # a whiteout
        try:
            uid, gid = self.owners.get(birth(seen), (KEPT, KEPT))
        finally:
            os.close(seen)
        if (uid == 0 or gid == 0) and not was_there(upper, path):
            uid, gid = uid or KEPT, gid or KEPT
        return uid, gid


def was_there(upper: int, path: str) -> bool:
    """Say whether a file of the upper directory was copied up: overlayfs notes from where."""
    try:
        os.getxattr(f"/proc/self/fd/{upper}/{path}", "user.overlay.origin", follow_symlinks=False)
    except OSError:
        return False
    return True


def birth(fd: int) -> tuple[int, int]:
    """Return the inode of a descriptor and when it was born: a number alone may be used again."""
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(fd, b"", EMPTY_PATH, STATX_BTIME, buffer) < 0:
        return os.fstat(fd).st_ino, 0
    raw = buffer.raw
    number = int.from_bytes(raw[32:40], sys.byteorder)
    seconds, fraction = int.from_bytes(raw[80:88], sys.byteorder), int.from_bytes(raw[88:92], sys.byteorder)
    return number, seconds * 1_000_000_000 + fraction


def open_from(start: int, path: bytes, flags: int, resolve: int) -> int:
    """Open a path; raises MagicLink for one that leads through a link of /proc, which means its reader's own things."""
    for rule in (RESOLVE_NO_MAGICLINKS, 0):
        how = b"".join(n.to_bytes(8, sys.byteorder) for n in (flags, 0, resolve | rule))
        buffer = ctypes.create_string_buffer(how, 24)
        try:
            fd = syscall("owners", "open", SYS_OPENAT2, start, path, ctypes.addressof(buffer), 24)
        except Failed as failed:
            if failed.number == ELOOP and rule:
                continue
            raise OSError(failed.number, "") from None
        if rule:
            return fd
        os.close(fd)
    raise MagicLink


def read_text(pid: int, address: int) -> bytes:
    """Return the path at an address of a process."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    text = b""
    try:
        while len(text) < MOST_PATH:
            try:
                piece = os.pread(memory, PAGE - address % PAGE, address)
            except OSError:
                raise OSError(EFAULT, "") from None
            end = piece.find(b"\0")
            if end >= 0:
                return text + piece[:end]
            if not piece:
                raise OSError(EFAULT, "")
            text += piece
            address += len(piece)
    finally:
        os.close(memory)
    raise OSError(ENAMETOOLONG, "")
