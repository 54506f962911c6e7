"""The files of a container's log: what is written, and when a new one begins. Does I/O.

A part of the stand-alone program `monitor`; all parts share its global names. `json-file` and `local` differ in where
they are and how large they become (containers/documents/log_options.py).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from firkin.containers.monitor.clock import time_text
    from firkin.containers.monitor.files import LOCK_EX, LOCK_NB, unlink_if_there
    from firkin.containers.monitor.log_lines import LineCutter
    from firkin.containers.monitor.loop import WRITABLE, Loop
    from firkin.containers.monitor.notes import Notes
    from firkin.containers.monitor.wire import to_json
    from firkin.sandbox.init.kernel import close_all_but, libc

LOG_MODE = 0o640
BUSY = 2  # exit code


class Log:
    """A container's log; `options` is `log` of the launch document. A full disk costs lines and nothing else."""

    def __init__(self, options: dict[str, Any], loop: Loop, notes: Notes) -> None:
        self.path: str = options["path"]
        self.most_bytes: int = options["max_size"]
        self.most_files: int = options["max_file"]
        self.compress: bool = options["compress"]
        self.loop: Loop | Reaper = loop
        self.notes = notes
        attributes = b'"attrs":%s,' % to_json(options["attrs"]) if options["attrs"] else b""
        self.cutters = {1: LineCutter("stdout", attributes), 2: LineCutter("stderr", attributes)}
        self.fd = -1
        self.size = 0
        self.torn = False  # a full disk took the end of a line
        self.compressing = False

    def write(self, kind: int, data: bytes) -> None:
        """Add what stream 1 or 2 wrote."""
        lines = self.cutters[kind].cut(data, time_text(time.time_ns()).encode())
        if lines:
            self.put(lines)

    def flush(self, kind: int) -> None:
        """Add the unfinished last line of a stream that has ended."""
        lines = self.cutters[kind].flush()
        if lines:
            self.put(lines)

    def mark(self) -> dict[str, int] | None:
        """Return which file is written now and how far, None if there is none yet."""
        try:
            facts = os.stat(self.path) if self.fd < 0 else os.fstat(self.fd)
        except FileNotFoundError:
            return None
        return {"device": facts.st_dev, "inode": facts.st_ino, "size": facts.st_size}

    def unfinished(self, kind: int) -> bytes:
        """Return what a stream wrote since its last line, which no file has yet."""
        return self.cutters[kind].rest

    def put(self, lines: bytes) -> None:
        try:
            if self.fd < 0:
                self.open()
            if self.most_bytes > 0 and self.size >= self.most_bytes:
                self.rotate()
            if self.torn:
                lines = b"\n" + lines
            done = 0
            while done < len(lines):
                written = os.write(self.fd, lines[done:] if done else lines)
                self.size += written
                done += written
                self.torn = not lines.endswith(b"\n", 0, done)
        except OSError as error:
            self.notes.say_once(f"the log cannot be written: {error}")

    def open(self) -> None:
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, LOG_MODE)
        os.fchmod(self.fd, LOG_MODE)
        self.size = os.fstat(self.fd).st_size

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def rotate(self) -> None:
        """Begin a new file: x becomes x.1, x.1 becomes x.2, and so on; the oldest goes."""
        if self.most_files < 2:
            os.ftruncate(self.fd, 0)
            self.size = 0
            return
        self.close()
        lock = lock_folder(self.path) if self.compress else -1
        try:
            self.rename_all()
        finally:
            if lock >= 0:
                os.close(lock)
        self.open()
        self.compress_older()

    def rename_all(self) -> None:
        for number in range(self.most_files - 1, 0, -1):
            for suffix in (".gz", ""):
                older = f"{self.path}.{number}{suffix}"
                if number == self.most_files - 1:
                    unlink_if_there(older)
                else:
                    rename_file(older, f"{self.path}.{number + 1}{suffix}")
        rename_file(self.path, f"{self.path}.1")

    def compress_older(self) -> None:
        """Compress what is plain of the older files, in a fork, since that takes long. The log goes on meanwhile."""
        if not self.compress or self.compressing or next(plain_files(self.path, self.most_files), None) is None:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                close_all_but()  # nobody may take it for the monitor, or wait for it
                code = 0 if compress_files(self.path, self.most_files) else BUSY
            finally:
                os._exit(code)
        self.compressing = True
        self.loop.when_ended(pid, self.compressed)

    def compressed(self, result: int) -> None:
        self.compressing = False
        if result == 0:
            self.compress_older()
        elif os.waitstatus_to_exitcode(result) != BUSY:
            self.notes.say_once("a part of the log could not be compressed")


class BufferedLog:
    """Mode `non-blocking`: a process of its own writes, and when it cannot follow, what is new is lost.

    `log` writes there; `most` is how many bytes may wait for it. Mirrors: moby daemon/logger/ring.go.
    """

    def __init__(self, log: Log, most: int, loop: Loop) -> None:
        self.log = log
        self.most = most
        self.loop = loop
        self.waiting = bytearray()
        self.pipe = -1
        self.writer = 0

    def write(self, kind: int, data: bytes) -> None:
        """Add what stream 1 or 2 wrote."""
        self.put(self.log.cutters[kind].cut(data, time_text(time.time_ns()).encode()))

    def flush(self, kind: int) -> None:
        """Add the unfinished last line of a stream that has ended."""
        self.put(self.log.cutters[kind].flush())

    def mark(self) -> dict[str, int] | None:
        return self.log.mark()  # what the other process has not written yet is not in it

    def unfinished(self, kind: int) -> bytes:
        return self.log.unfinished(kind)

    def put(self, lines: bytes) -> None:
        if not lines or len(self.waiting) + len(lines) > self.most:
            return
        if self.pipe < 0:
            self.start()
        self.waiting += lines
        self.pass_on(0)

    def start(self) -> None:
        source, self.pipe = os.pipe()
        self.writer = os.fork()
        if self.writer == 0:
            try:
                close_all_but(source)
                self.log.loop = reaper = Reaper()
                rest = b""
                while data := os.read(source, 1 << 16):
                    lines, newline, rest = (rest + data).rpartition(b"\n")
                    if newline:
                        self.log.put(lines + newline)
                    reaper.look()
            finally:
                os._exit(0)
        os.close(source)
        os.set_blocking(self.pipe, False)
        self.loop.watch(self.pipe, 0, self.pass_on)

    def pass_on(self, _: int) -> None:
        """Hand the writer what it takes."""
        try:
            while self.waiting:
                del self.waiting[: os.write(self.pipe, self.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self.waiting.clear()  # it was killed
        self.loop.change(self.pipe, WRITABLE if self.waiting else 0)

    def close(self) -> None:
        """Let the writer write what waits, and wait for that."""
        pipe, self.pipe = self.pipe, -1
        if pipe < 0:
            return
        self.loop.forget(pipe)
        os.set_blocking(pipe, True)
        try:
            write_all(pipe, bytes(self.waiting))
        except OSError:
            pass
        self.waiting.clear()
        os.close(pipe)
        os.waitpid(self.writer, 0)


class Reaper:
    """Stands in for a loop where nothing else is waited for: `look` asks whether a child has ended."""

    def __init__(self) -> None:
        self.children: dict[int, Callable[[int], None]] = {}

    def when_ended(self, pid: int, call: Callable[[int], None]) -> None:
        self.children[pid] = call

    def look(self) -> None:
        for pid, call in tuple(self.children.items()):
            ended, result = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.children[pid]
                call(result)


class NoLog:
    """Driver `none`."""

    def write(self, kind: int, data: bytes) -> None:
        pass

    def flush(self, kind: int) -> None:
        pass

    def mark(self) -> dict[str, int] | None:
        return None

    def unfinished(self, kind: int) -> bytes:
        return b""

    def close(self) -> None:
        pass


def make_log(options: dict[str, Any], loop: Loop, notes: Notes) -> Log | BufferedLog | NoLog:
    if options["type"] == "none":
        return NoLog()
    log = Log(options, loop, notes)
    return BufferedLog(log, options["buffer"], loop) if options["buffer"] else log


def lock_folder(path: str) -> int:
    """Keep the files of a log from being renamed, as long as the returned descriptor is open."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    libc.flock(fd, LOCK_EX)
    return fd


def plain_files(log: str, most_files: int) -> Iterator[str]:
    """Yield the older files of a log that are not compressed, the newest first."""
    for number in range(1, most_files):
        if os.path.exists(f"{log}.{number}"):
            yield f"{log}.{number}"


def compress_files(log: str, most_files: int) -> bool:
    """Compress the older files of a log, until none is plain. They may be renamed at any time, and others come.

    Returns False if somebody else does it: the monitor before this one may have left one who does.
    """
    beside = f"{log}.tmp"
    target = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, LOG_MODE)
    if libc.flock(target, LOCK_EX | LOCK_NB):
        return False
    while True:
        lock = lock_folder(log)
        path = next(plain_files(log, most_files), "")
        if not path:
            break
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.close(lock)
        compress(source, target)
        lock = lock_folder(log)
        wanted = os.fstat(source).st_ino
        path = next((path for path in plain_files(log, most_files) if os.stat(path).st_ino == wanted), "")
        if path:  # else it was the oldest one, and is gone
            os.rename(beside, f"{path}.gz")
            os.unlink(path)
            os.close(target)
            target = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, LOG_MODE)
            libc.flock(target, LOCK_EX)
        os.close(source)
        os.close(lock)
    os.unlink(beside)
    return True


def compress(source: int, target: int) -> None:
    """Fill a file with what another one has, in gzip's form."""
    import zlib

    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    while data := os.read(source, 1 << 18):
        write_all(target, packer.compress(data))
    write_all(target, packer.flush())


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def rename_file(path: str, other: str) -> None:
    try:
        os.rename(path, other)
    except FileNotFoundError:
        pass
