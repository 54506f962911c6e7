"""Answers and notes chown where files can have only one owner. Does I/O.

A part of the stand-alone program `init`; all parts share its global names. It serves user namespaces with one id. A
filter of the command sends every chown to a separate process (`listener.py`):

    C  installs the filter, lets S take its listener, becomes the command
    S  for each chown: opens the file as the caller would; changes its owner to the only possible one (which copies
       it up, and clears what a chown clears); notes (inode, time of birth) → (uid, gid); answers success
    B  tells S when the command has ended: S looks for these inodes in the upper directory and writes the owners
       file, records of `uid gid path` that end in NUL; -1 is an unchanged id

It notes inodes and not paths, as programs change the owner of a temporary file and rename it. stat(2) still shows uid 0
for all files, so a chown to 0 may just copy that: it counts only for a file that was there before.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from firkin.sandbox.init.kernel import Failed, Poll, close_all_but, libc, syscall
    from firkin.sandbox.init.listener import (
        EBADF,
        ELOOP,
        ENOENT,
        EPERM,
        Asked,
        ListeningFilter,
        answer,
        answer_socket,
        read_text,
        receive,
        signed,
        still_waits,
    )


SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
FD_CWD, NO_FOLLOW, EMPTY_PATH = -100, 0x100, 0x1000
KEPT = 0xFFFFFFFF  # chown(2): -1 leaves an id as it is
STATX_BTIME = 0x800
TICK_S = 0.05  # longer than the longest kernel tick: 0.01 at HZ=100
MOST_HELD = 500


class MagicLink(Exception):
    """The path leads through a link of /proc."""


class Call:
    """The request of a chown."""

    def __init__(self, name: str, args: tuple[int, ...]) -> None:
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


def whole(value: int) -> int:
    """Return a 16-bit id as a 32-bit id; -1 stays -1."""
    value &= 0xFFFF
    return KEPT if value == 0xFFFF else value


class OwnerFilter(ListeningFilter):
    """Process S as B and C see it. `calls` is (architecture, number) → name."""

    def __init__(
        self, program: bytes, instead: bytes, calls: dict[tuple[int, int], str], upper: int, file: int
    ) -> None:
        super().__init__(program, instead)
        self.stop, self.stop_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(calls, upper, file)
        self.fds = (*self.fds, self.stop_end)

    def after_fork(self) -> int:
        """Return -1: S takes the listener, not B."""
        for fd in self.fds[:-1]:
            os.close(fd)
        return -1

    def finish(self) -> None:
        """Let S write its notes, and wait for that."""
        os.close(self.stop_end)
        os.waitpid(self.pid, 0)

    def _serve(self, calls: dict[tuple[int, int], str], upper: int, file: int) -> NoReturn:
        code = 1
        try:
            close_all_but(upper, file, self.stop, *self.fds)
            notes = Notes(calls, self.take())
            notes.answer_until(self.stop)
            notes.write(upper, file)
            code = 0
        finally:
            os._exit(code)


class Notes:
    """The work and the state of process S."""

    def __init__(self, calls: dict[tuple[int, int], str], listener: int) -> None:
        self.calls = calls
        self.listener = listener
        self.owners: dict[tuple[int, int], tuple[int, int]] = {}
        self.recent: list[tuple[float, int]] = []
        self.root = os.stat("/")
        self.top = os.open("/", os.O_PATH | os.O_CLOEXEC)

    # Answers

    def answer_until(self, stop: int) -> None:
        """Answer until `stop` is closed at its other end."""
        waits = (Poll * 2)(Poll(stop, 1, 0), Poll(self.listener, 1, 0))
        while True:
            if libc.poll(waits, ctypes.c_ulong(2), -1) < 0:
                continue
            if waits[0].revents:
                return  # remaining callers are about to be killed
            if waits[1].revents & 1:
                self.answer_one()
            elif waits[1].revents:
                waits[1].fd = -1  # no process with the filter is left

    def answer_one(self) -> None:
        """Receive one call and answer it."""
        asked = receive(self.listener)
        if asked is None:
            return
        name = self.calls.get((asked.architecture, asked.number), "")
        if name == "socketcall":
            answer_socket(self.listener, asked)
        else:
            answer(self.listener, asked, 0, self.change(asked, Call(name, asked.args)) if name else 0)

    def change(self, asked: Asked, call: Call) -> int:
        """Make the requested change as far as possible, note the ids; return the errno for the caller."""
        try:
            target = self.open_target(asked.pid, call)
        except OSError as error:
            return error.errno or ENOENT
        except MagicLink:
            return 0  # a descriptor of the caller, usually a pipe
        self.hold(target)
        try:
            return self.change_opened(call, target) if still_waits(self.listener, asked) else ENOENT
        except OSError as error:
            return error.errno or ENOENT

    def hold(self, fd: int) -> None:
        """Keep a file open, removed or not, until the clock of the file system has advanced.

        Meanwhile its inode number cannot be reused, so number and time of birth together identify one file.
        """
        now = os.times().elapsed
        self.recent.append((now, fd))
        while now - self.recent[0][0] > TICK_S or len(self.recent) > MOST_HELD:
            os.close(self.recent.pop(0)[1])

    def change_opened(self, call: Call, target: int) -> int:
        own = [-1 if wanted == KEPT else 0 for wanted in (call.uid, call.gid)]
        if libc.fchownat(target, b"", own[0], own[1], EMPTY_PATH) < 0:
            number = ctypes.get_errno()
            # A device of the host belongs to the host, and its mount is read-only.
            device = os.fstat(target).st_mode & 0o170000 == 0o020000
            return 0 if number == EPERM or device else number
        if os.fstat(target).st_dev == self.root.st_dev:
            self.note(birth(target), call.uid, call.gid)
        return 0

    def note(self, inode: tuple[int, int], uid: int, gid: int) -> None:
        before = self.owners.get(inode, (KEPT, KEPT))
        self.owners[inode] = (before[0] if uid == KEPT else uid, before[1] if gid == KEPT else gid)

    def open_target(self, pid: int, call: Call) -> int:
        """Return a descriptor of the call's file, found as its caller would find it. Raises OSError."""
        flags = os.O_PATH | os.O_CLOEXEC
        if call.directory < 0 and call.directory != FD_CWD:
            raise OSError(EBADF, "")
        place = f"/proc/{pid}/cwd" if call.directory == FD_CWD else f"/proc/{pid}/fd/{call.directory}"
        path = read_text(pid, call.path) if call.path else b""
        if not path:
            if not call.flags & EMPTY_PATH:
                raise OSError(ENOENT, "")
            try:
                return os.open(place, flags)
            except FileNotFoundError:
                raise OSError(EBADF, "") from None
        return self.walk(pid, place, path, flags | (os.O_NOFOLLOW if call.flags & NO_FOLLOW else 0))

    def walk(self, pid: int, place: str, path: bytes, flags: int) -> int:
        """Open a path from a place as a process would, in the process's root, which chroot may have changed.

        Raises OSError.
        """
        top = f"/proc/{pid}/root"
        found = os.stat(top)
        same = (found.st_dev, found.st_ino) == (self.root.st_dev, self.root.st_ino)
        if same and path.startswith(b"/"):
            return open_from(self.top, path, flags, 0)
        try:
            if not same and not path.startswith(b"/"):
                # The kernel resolves `..` beneath another root only if the walk begins there: it needs the whole path.
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
        """Find the paths of the noted inodes and write the owners file."""
        if not self.owners:
            return
        inodes = {inode for inode, _ in self.owners}
        with os.fdopen(file, "wb") as stream:
            folders = [""]
            for folder in folders:
                try:
                    listed = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=upper)
                except OSError:
                    continue  # deeper than a path can be
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
        """Return the noted owner of a path in the upper directory."""
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
    """Return whether a file in the upper directory was copied up: overlayfs then records its origin."""
    try:
        os.getxattr(f"/proc/self/fd/{upper}/{path}", "user.overlay.origin", follow_symlinks=False)
    except OSError:
        return False
    return True


def birth(fd: int) -> tuple[int, int]:
    """Return inode and time of birth of a file: an inode number alone may be reused."""
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(fd, b"", EMPTY_PATH, STATX_BTIME, buffer) < 0:
        return os.fstat(fd).st_ino, 0
    raw = buffer.raw
    number = int.from_bytes(raw[32:40], sys.byteorder)
    seconds, fraction = int.from_bytes(raw[80:88], sys.byteorder), int.from_bytes(raw[88:92], sys.byteorder)
    return number, seconds * 1_000_000_000 + fraction


def open_from(start: int, path: bytes, flags: int, resolve: int) -> int:
    """Open a path; raises MagicLink if it leads through a link of /proc, whose target depends on the reader."""
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
