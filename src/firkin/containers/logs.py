"""What a container has written, and what it writes: its log, as `docker logs` and the Engine API give it. Does I/O.

Following waits by inotify(7), in the reader alone: for the log's directory, and for the container's, where its state is
replaced when it ends. It ends when the container does, also when a policy starts it again, as docker's.
Mirrors: moby daemon/logs.go, daemon/logger/loggerutils/logfile.go.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import groupby
from typing import TYPE_CHECKING

from firkin.containers.documents.lifecycle import answer, status_of
from firkin.containers.documents.log_options import DEFAULT_DRIVER, log_path
from firkin.containers.documents.record import Record, State
from firkin.containers.home.engine import Engine
from firkin.containers.log_files import LineReader, LogEntry, Part, blocks, entries, open_log, parts_before, parts_of
from firkin.errors import ContainerError
from firkin.linux import syscalls
from firkin.tuples import NamedTuple

if TYPE_CHECKING:
    from firkin.containers.link.attach import Attached, AttachTo

STREAMS = {"stdout": 1, "stderr": 2}
_BLOCK = 256 << 10
_FRACTION = 9
# inotify(7): written to, closed after writing, renamed to, created.
_WATCHED = 0x2 | 0x8 | 0x80 | 0x100
_LONGEST_S = 86400  # poll(2) takes milliseconds as an int
_BLIND_S = 0.5
"""How often to look when this user's limit of inotify instances is reached."""


class LogQuery(NamedTuple):
    """Which lines: of which streams, between which times (Unix nanoseconds), the last `tail` (None: all) of all."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    follow: bool = False


def read_logs(engine: Engine, record: Record, query: LogQuery) -> Iterator[list[LogEntry]]:
    """Yield the lines of a log, several at a time, oldest first. Raises ContainerError before the first.

    Mirrors: moby daemon.ContainerLogs.
    """
    state = engine.home.state(record.id)
    if answer("logs", state) == "conflict":
        raise ContainerError(
            "can not get logs from container which is dead or marked for removal", kind="conflict", code="logs-gone"
        )
    _check_readable(record)
    return _read(engine, record, state, query)


def _check_readable(record: Record) -> None:
    if record.host_config.log_config.type == "none":
        raise ContainerError(
            "configured logging driver does not support reading", kind="unsupported", code="logs-none",
            hints=("the container was made with the log driver `none`",),
        )  # fmt: skip


def _path_of(engine: Engine, record: Record) -> str:
    return log_path(engine.home.directory(record.id), record.id, record.host_config.log_config.type or DEFAULT_DRIVER)


def attach_with_log(engine: Engine, text: str, to: AttachTo) -> Attached:
    """Attach to a container; what it wrote before comes first, and every byte comes once. Raises ContainerError."""
    from firkin.containers.link.attach import attach

    record = engine.home.find(text)
    replay = Replay(engine, record, stdout=to.stdout, stderr=to.stderr)
    try:
        return attach(engine, record.id, to, replay)
    except BaseException:
        replay.close()
        raise


class Replay:
    """What a container has written until somebody attaches to it (containers/link/attach.py).

    The files are opened before that, so that a rotation in between loses nothing. Raises ContainerError if the log
    cannot be read.
    """

    def __init__(self, engine: Engine, record: Record, *, stdout: bool, stderr: bool) -> None:
        _check_readable(record)
        self._path = _path_of(engine, record)
        self._chosen = _Chosen(LogQuery(stdout, stderr))
        self._files = open_log(self._path)
        self._frames: Iterator[tuple[int, bytes]] = iter(())

    def begin(self, mark: Mapping[str, int] | None) -> None:
        """Take the monitor's word for how far the log goes."""
        if mark is None:
            return
        parts = parts_before(self._files, mark)
        if parts is None:  # another file was begun since
            self.close()
            self._files = open_log(self._path)
            parts = parts_before(self._files, mark)
        self._frames = self._read(parts or [])

    def _read(self, parts: list[Part]) -> Iterator[tuple[int, bytes]]:
        reader = LineReader()
        for part in parts:
            for block in blocks(part):
                for found in self._chosen.of(reader.take(block)):
                    for stream, lines in groupby(found, key=lambda entry: entry.stream):
                        yield STREAMS[stream], b"".join(map(line_bytes, lines))

    def next(self) -> tuple[int, bytes] | None:
        """Return the next frame; at the end None, and the files are closed."""
        found = next(self._frames, None)
        if found is None:
            self.close()
        return found

    def close(self) -> None:
        files, self._files = self._files, []
        for descriptor, _ in files:
            os.close(descriptor)


def line_bytes(entry: LogEntry, *, timestamps: bool = False, details: bool = False) -> bytes:
    """Return a line as it is shown: its time with nine digits, its attributes, its text. Mirrors: httputils."""
    text = entry.log
    if details:
        from urllib.parse import quote_plus

        pairs = (f"{quote_plus(name)}={quote_plus(entry.attrs[name])}" for name in sorted(entry.attrs))
        text = f"{','.join(pairs)} {text}"
    if timestamps:
        text = f"{_full_time(entry.time)} {text}"
    return text.encode("utf-8", "surrogateescape")


def _read(engine: Engine, record: Record, state: State, query: LogQuery) -> Iterator[list[LogEntry]]:
    chosen = _Chosen(query)
    for lines in _lines(engine, record, state, query):
        yield from chosen.of(lines)
        if chosen.over:
            return


def _lines(engine: Engine, record: Record, state: State, query: LogQuery) -> Iterator[bytes]:
    """Yield complete lines as they stand in the files."""
    reader = LineReader()
    path = _path_of(engine, record)
    with ExitStack() as stack:
        follower = None
        if query.follow and status_of(state) in ("running", "paused"):
            # Before the files are opened, so that nothing happens in between.
            follower = stack.enter_context(_Follower(engine, record, state, path, query.until_ns))
        files = open_log(path)
        for descriptor, _ in files:
            stack.callback(os.close, descriptor)
        parts = parts_of(files, query.tail)
        newest = parts.pop() if follower is not None and parts and not parts[-1].packed else None
        for part in parts:
            yield from map(reader.take, blocks(part))
        if follower is not None:
            follower.begin(newest)
            yield from map(reader.take, follower.blocks())


class _Chosen:
    """Leaves out what a query does not ask for."""

    def __init__(self, query: LogQuery) -> None:
        self._since = _text_of(query.since_ns)
        self._until = _text_of(query.until_ns)
        self._streams = frozenset(
            name for name, wanted in (("stdout", query.stdout), ("stderr", query.stderr)) if wanted
        )
        self._plain = not self._since and not self._until and len(self._streams) == len(STREAMS)
        self.over = False

    def of(self, lines: bytes) -> Iterator[list[LogEntry]]:
        """Yield the wanted ones of complete lines, if there are any."""
        if not lines or self.over:
            return
        found = entries(lines)
        if not self._plain:
            found = list(self._fitting(found))
        if found:
            yield found

    def _fitting(self, found: list[LogEntry]) -> Iterator[LogEntry]:
        for entry in found:
            when = _full_time(entry.time)
            if self._until and when > self._until:
                self.over = True
                return
            if when >= self._since and entry.stream in self._streams:
                yield entry


class _Follower:
    """The newest file of a log, and those that come after it, until the container ends. A context manager."""

    def __init__(self, engine: Engine, record: Record, state: State, path: str, until_ns: int | None) -> None:
        self._engine = engine
        self._record = record
        self._started = state.started_at
        self._path = path
        self._until_ns = until_ns
        self._events = -1
        self._file = -1
        self._place = 0

    def __enter__(self) -> _Follower:
        with suppress(OSError):
            self._events = syscalls.inotify_init()
            folder = os.path.dirname(self._path)
            for watched in (folder, self._engine.home.directory(self._record.id)):
                syscalls.inotify_add_watch(self._events, watched, _WATCHED)
            return self
        if self._events >= 0:
            os.close(self._events)
            self._events = -1
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._events, self._file):
            if descriptor >= 0:
                os.close(descriptor)

    def begin(self, newest: Part | None) -> None:
        """Go on in the newest file, if there is one yet."""
        if newest is not None:
            self._file, self._place = os.dup(newest.descriptor), newest.start

    def blocks(self) -> Iterator[bytes]:
        """Yield what is written, until the container has ended or the time is over."""
        while True:
            ended = self._ended()  # before reading: what was written until the end is read below
            yield from self._drained()
            if ended or not self._wait():
                return

    def _drained(self) -> Iterator[bytes]:
        """Yield what is there now, in this file and those that came after it."""
        yield from self._rest()
        for descriptor in self._successors():
            yield from self._rest()  # what was written before the file was renamed
            if self._file >= 0:
                os.close(self._file)
            self._file, self._place = descriptor, 0
            yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        if self._file < 0:
            return
        if os.fstat(self._file).st_size < self._place:  # begun anew, as with `max-file=1`
            self._place = 0
        while data := os.pread(self._file, _BLOCK, self._place):
            self._place += len(data)
            yield data

    def _successors(self) -> list[int]:
        """Return descriptors of the files that are newer than ours, the oldest first."""
        if self._file < 0:
            return self._opened([""])
        ours = os.fstat(self._file)
        with suppress(FileNotFoundError):
            if os.path.samestat(ours, os.stat(self._path)):
                return []
        names = [""]
        number = 1
        while True:
            try:
                if os.path.samestat(ours, os.stat(f"{self._path}.{number}")):
                    return self._opened(names)
            except FileNotFoundError:
                return self._opened([""])  # ours was compressed or removed meanwhile
            names.insert(0, f".{number}")
            number += 1

    def _opened(self, names: list[str]) -> list[int]:
        opened = []
        for name in names:
            with suppress(FileNotFoundError):
                opened.append(os.open(f"{self._path}{name}", os.O_RDONLY | os.O_CLOEXEC))
        return opened

    def _ended(self) -> bool:
        """Say whether the run that we follow is over."""
        try:
            state = self._engine.home.state(self._record.id)
        except ContainerError:
            return True
        return status_of(state) not in ("running", "paused") or state.started_at != self._started

    def _wait(self) -> bool:
        """Wait until something was written, or the container's state; False when the time is over."""
        left_s = None if self._until_ns is None else (self._until_ns - time.time_ns()) / 1e9
        if left_s is not None and left_s <= 0:
            return False
        if self._events < 0:
            time.sleep(_BLIND_S if left_s is None else min(_BLIND_S, left_s))
            return True
        poller = select.poll()
        poller.register(self._events, select.POLLIN)
        poller.poll(None if left_s is None else min(left_s, _LONGEST_S) * 1000)
        with suppress(BlockingIOError):
            os.read(self._events, 1 << 16)
        return True


def _text_of(time_ns: int | None) -> str:
    """Return a time as texts that are compared: RFC 3339 with nine digits, "" for none."""
    if time_ns is None:
        return ""
    seconds, rest = divmod(max(0, time_ns), 10**9)
    moment = time.gmtime(min(seconds, 253402300799))
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{rest:09d}Z"


def _full_time(text: str) -> str:
    """Return a time with all nine digits of its fraction."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction.ljust(_FRACTION, '0')}Z"
