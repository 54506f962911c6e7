"""Where containers live: their directories, documents and locks, and how they are found. Does I/O.

docs/dev/container-state.md is the contract: which file says what, who writes it, and which lock protects it. Opens no
database, and imports little: `ps` with 500 containers reads two small files for each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec

from firkin.containers.documents.record import Record, State
from firkin.decode import decode_json
from firkin.errors import ContainerError
from firkin.hints import Hint

ID_DIGITS = 64
SHORT_DIGITS = 12
_HEX = frozenset("0123456789abcdef")
_OFD_GETLK = 36  # F_OFD_GETLK, linux/fcntl.h; Python 3.11 has no name for it
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_HALF = ("new-", "gone-")
_MOST_BYTES = 16 << 20  # of a document

_encode = msgspec.json.encode
FIRST_STATE = _encode(State())
"""The state of a container that never ran."""


class Busy(Exception):
    """Another command holds the container."""


class Entry(NamedTuple):
    """A container: what it is, and how it is."""

    record: Record
    state: State


class Home:
    """The containers of one store. Thread-safe, and safe beside other processes.

    `root` is the store's; `runtime` is the user's directory for runtime files ("" for none; root needs none). `mend`
    is called for a container that should be running and has no monitor: it returns the state that is true, None if the
    container is gone (containers/mending.py). `sweep` is called when there are containers that were being made or
    removed (containers/keeping/leftovers.py).
    """

    def __init__(
        self, root: str, runtime: str = "", mend: Callable[[str], State | None] | None = None,
        sweep: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.root = os.path.realpath(root)
        self.containers = f"{self.root}/containers"
        self._runtime = runtime
        self._mend = mend
        self._sweep = sweep
        self._held: dict[tuple[int, str], int] = {}
        self._written: tuple[bytes, Record] | None = None

    # Places

    def directory(self, id: str) -> str:
        """Return the directory of a container, whether it is there or not."""
        return f"{self.containers}/{id}"

    @property
    def user_runtime(self) -> str:
        """The user's directory for runtime files, "" for none."""
        return self._runtime

    @property
    def runtime_base(self) -> str:
        """The directory for what does not outlive a boot; `ensure_runtime` makes it."""
        from binascii import crc32

        if os.geteuid() == 0:
            base = "/run/firkin"
        else:
            base = f"{self._runtime}/firkin" if self._runtime else f"/tmp/firkin-{os.geteuid()}"
        return f"{base}/{crc32(os.fsencode(self.root)):08x}"

    def runtime(self, id: str) -> str:
        """Return the directory of a container's socket, whether it is there or not."""
        return f"{self.runtime_base}/{id[:SHORT_DIGITS]}"

    def ensure_runtime(self, id: str = "") -> str:
        """Make the runtime directory of a container (without one, their base) if it is missing, and return it.

        Raises ContainerError if somebody else made it: whoever may write there could answer for containers.
        """
        base = self.runtime_base
        path = self.runtime(id) if id else base
        try:
            for each in (os.path.dirname(base), base, path):
                with suppress(FileExistsError):
                    os.mkdir(each, 0o700)
                found = os.lstat(each)
                if found.st_uid != os.geteuid() or found.st_mode & 0o170022 != 0o040000:
                    raise ContainerError(f"{each} belongs to somebody else", kind="failed", code="runtime-owner")
        except OSError as error:
            raise _failed(f"cannot make {path}", error) from error
        return path

    # Finding

    def find(self, text: str) -> Record:
        """Return the container that a whole id, a name (with or without `/`) or the beginning of an id means.

        Raises ContainerError: `missing`, or `invalid` when several ids begin so. Mirrors: moby daemon.GetContainer.
        """
        if not text:
            raise ContainerError("invalid container name or ID: value is empty", kind="invalid", code="container-name")
        for candidate in self._candidates(text):
            record = self._read_record(candidate)
            if record is not None:
                return record
        raise missing(text)

    def _candidates(self, text: str) -> Iterator[str]:
        if is_id(text):
            yield text
        id = self.named(text.removeprefix("/"))
        if id:
            yield id
        if _HEX.issuperset(text) and len(text) < ID_DIGITS:
            found = [id for id in self.ids() if id.startswith(text)]
            if len(found) > 1:
                raise ContainerError(
                    f"multiple IDs found with provided prefix: {text}", kind="invalid", code="container-ambiguous"
                )
            yield from found

    def named(self, name: str) -> str:
        """Return the id of the container that has a name, "" if there is none."""
        if not name or "/" in name:
            return ""
        try:
            id = os.readlink(f"{self.containers}/names/{name}")
        except OSError:
            return ""
        record = self._read_record(id) if is_id(id) else None
        return id if record is not None and record.name == name else ""  # else what a death left of a rename

    def ids(self) -> list[str]:
        """Return the ids of all containers, sorted."""
        return sorted(filter(is_id, self._names()))

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.containers)
        except FileNotFoundError:
            return []

    def entries(self) -> list[Entry]:
        """Return all containers with their state as it is now; one that vanishes meanwhile is left out."""
        if self._sweep is not None and any(name.startswith(_HALF) for name in self._names()):
            self._sweep()
        found = []
        for id in self.ids():
            record = self._read_record(id)
            if record is None:
                continue
            state = self._state(id)
            if state is not None:
                found.append(Entry(record, state))
        return found

    def record(self, id: str) -> Record:
        """Return the record of the container with a whole id; raises ContainerError (`missing`)."""
        record = self._read_record(id)
        if record is None:
            raise missing(id)
        return record

    def state(self, id: str) -> State:
        """Return the state of a container as it is now: mended, if its monitor died. Raises ContainerError."""
        state = self._state(id)
        if state is None:
            raise missing(id)
        return state

    def written_state(self, id: str) -> State | None:
        """Return the state as it was written last, None for a container that is gone."""
        data = self._read(f"{self.directory(id)}/state.json")
        if data is None:
            return State() if os.path.isdir(self.directory(id)) else None
        if data == FIRST_STATE:
            return State()
        try:
            return decode_json(data, State)
        except (ValueError, RecursionError):
            return State(dead=True, error="its state cannot be read")

    def has_monitor(self, id: str) -> bool:
        """Say whether the monitor of a container lives: it locks a file as long as it does."""
        try:
            descriptor = os.open(f"{self.directory(id)}/monitor.lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return bool(_FLOCK.unpack(fcntl.fcntl(descriptor, _OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
        finally:
            os.close(descriptor)

    def _state(self, id: str) -> State | None:
        state = self.written_state(id)
        if state is None or not (state.running or state.removing) or self._mend is None or self.has_monitor(id):
            return state
        return self._mend(id)

    def _read_record(self, id: str) -> Record | None:
        data = self._read(f"{self.directory(id)}/config.json")
        if data is None:
            return None
        written = self._written
        if written is not None and written[0] == data:
            return written[1]
        try:
            return decode_json(data, Record)
        except (ValueError, RecursionError):
            return None

    def _read(self, path: str) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.read(descriptor, min(os.fstat(descriptor).st_size, _MOST_BYTES))
        finally:
            os.close(descriptor)

    # Locks

    @contextmanager
    def locked(self, id: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a container: nobody else starts, changes or removes it. The thread that has it may ask again.

        Raises ContainerError (`missing`) when it is gone once the lock is free; without `wait` Busy if it is not free.
        """
        key = (get_ident(), id)
        if key in self._held:
            yield
            return
        path = f"{self.directory(id)}/lock"
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            raise missing(id) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy from None
            if not same_file(descriptor, path):
                raise missing(id)
            self._held[key] = descriptor
            try:
                yield
            finally:
                del self._held[key]
        finally:
            os.close(descriptor)

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Hold the names, and which containers there are. Taken after a container's own lock, and for a moment only."""
        os.makedirs(f"{self.containers}/names", mode=0o700, exist_ok=True)
        descriptor = os.open(f"{self.containers}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # Writing

    def write_state(self, id: str, state: State) -> None:
        """Replace the state; by whoever holds `locked(id)` while no monitor lives. Raises ContainerError."""
        write_document(f"{self.directory(id)}/state.json", _encode(state), sync=False)

    def write_record(self, record: Record) -> None:
        """Replace the record; by whoever holds `locked(id)`. Raises ContainerError."""
        write_document(f"{self.directory(record.id)}/config.json", self.encoded(record), sync=True)

    def encoded(self, record: Record) -> bytes:
        """Return the document of a record that is about to be written, and remember the last one.

        Whoever reads the same bytes needs no decoder, which takes 8 ms to make.
        """
        data = _encode(record)
        self._written = (data, record)
        return data


def is_id(text: str) -> bool:
    """Say whether a text is a whole id."""
    return len(text) == ID_DIGITS and _HEX.issuperset(text)


def missing(text: str) -> ContainerError:
    """Return the error for a container that is not there."""
    return ContainerError(f"No such container: {text}", kind="missing", code="no-container")


def same_file(descriptor: int, path: str) -> bool:
    """Say whether an open file still has its path."""
    try:
        there, held = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def write_document(path: str, data: bytes, *, sync: bool) -> None:
    """Write a document beside its place and rename it; with `sync` it survives a power failure.

    Raises ContainerError.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}-{os.urandom(6).hex()}"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise _failed(f"cannot write {path}", error) from error


def _failed(what: str, error: OSError) -> ContainerError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ContainerError(
        f"{what}: {(error.strerror or str(error)).lower()}", kind="failed", code="container-io",
        hints=(Hint.of("store-full"),) if full else (),
    )  # fmt: skip
