"""Where containers live: their directories, documents and locks, and how they are found. Does I/O.

docs/dev/container-state.md is the contract: which file says what, who writes it, and which lock protects it. Opens no
database, and imports little: `ps` with 500 containers reads two small files for each.
"""

from __future__ import annotations

import fcntl
import os
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from firkin.containers.documents.record import Record, State
from firkin.containers.home.finder import Finder, failed, missing
from firkin.decode import decode_json
from firkin.tuples import NamedTuple

_HALF = ("new-", "gone-")

_encode = msgspec.json.encode
FIRST_STATE = _encode(State())
"""The state of a container that never ran."""


class Busy(Exception):
    """Another command holds the container."""


class Entry(NamedTuple):
    """A container: what it is, and how it is."""

    record: Record
    state: State


class Home(Finder):
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
        super().__init__(root, runtime)
        self._mend = mend
        self._sweep = sweep
        self._held: dict[tuple[int, str], int] = {}
        self._written: tuple[bytes, Record] | None = None

    # Reading

    def find(self, text: str) -> Record:
        """Return the container that a whole id, a name (with or without `/`) or the beginning of an id means.

        Raises ContainerError: `missing`, or `invalid` when several ids begin so. Mirrors: moby daemon.GetContainer.
        """
        for candidate in self._candidates(text):
            record = self._read_record(candidate)
            if record is not None:
                return record
        raise self.not_found(text)

    def entries(self, *, unreadable: bool = False) -> list[Entry]:
        """Return all containers with their state as it is now; one that vanishes meanwhile is left out.

        With `unreadable` there is an entry for those whose record is damaged as well (home/damaged.py).
        """
        if self._sweep is not None and any(name.startswith(_HALF) for name in self._names()):
            self._sweep()
        found = []
        for id in self.ids():
            record = self._read_record(id)
            if record is None:
                if unreadable and os.path.lexists(f"{self.directory(id)}/config.json"):
                    found.append(self._unreadable_entry(id))
                continue
            state = self._state(id)
            if state is not None:
                found.append(Entry(record, state))
        return found

    def _unreadable_entry(self, id: str) -> Entry:
        from firkin.containers.home.damaged import UNREADABLE, placeholder

        state = self.written_state(id)
        runs = state is not None and state.running and self.has_monitor(id)
        return Entry(placeholder(self.containers, id), state if runs and state is not None else UNREADABLE)

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
        try:
            data = self._read(f"{self.directory(id)}/state.json")
            if data is None:
                return State() if os.path.isdir(self.directory(id)) else None
            return State() if data == FIRST_STATE else decode_json(data, State)
        except (OSError, ValueError, RecursionError):
            return State(dead=True, error="its state cannot be read")

    def _state(self, id: str) -> State | None:
        state = self.written_state(id)
        if state is None or not (state.running or state.removing) or self._mend is None or self.has_monitor(id):
            return state
        return self._mend(id)

    def _is_readable(self, id: str) -> bool:
        return self._read_record(id) is not None

    def _read_record(self, id: str) -> Record | None:
        try:
            data = self._read(f"{self.directory(id)}/config.json")
            if data is None:
                return None
            written = self._written
            return written[1] if written is not None and written[0] == data else decode_json(data, Record)
        except (OSError, ValueError, RecursionError):
            return None

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
        from firkin.store.layout import locked

        os.makedirs(f"{self.containers}/names", mode=0o700, exist_ok=True)
        with locked(f"{self.containers}/lock"):
            yield

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
        raise failed(f"cannot write {path}", error) from error
