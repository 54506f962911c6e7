"""The records of one store: finding, reading, removing them. Does I/O. docs/dev/builds.md draws the files.

A build that runs holds a lock on its file, so that a record without a lock and without an end is that of a build that
was killed. Readers need no lock: a record gets its name when it is complete.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator

import msgspec

from firkin.builder.history.explain import Reason, Told, explain_build, is_related
from firkin.builder.history.files import MAX_LIST_BYTES, decode_list
from firkin.builder.history.names import NEW, RUNNING, directory_of, is_id, lists_of
from firkin.builder.history.record import (
    BuildRecord,
    StepEntry,
    UnknownRecord,
    decode_record,
    decode_steps,
)
from firkin.errors import UsageError
from firkin.events import Event, Finished, Planned, Started, decode_event
from firkin.hints import Hint
from firkin.store.rules import HistoryRules

_FRESH_S = 86400.0
_MAX_LINE = 16 << 20
_MAX_LOG_BYTES = 64 << 20
_CHUNK = 1 << 16


class Shelf:
    """The records below a store's root; nothing is made by reading."""

    def __init__(self, store_root: str) -> None:
        self.place = directory_of(store_root)
        self.lists = lists_of(store_root)

    def records(self) -> tuple[BuildRecord, ...]:
        """Return all records that can be read, the newest first."""
        found = []
        for id in self._ids():
            try:
                found.append(self.read(id))
            except (FileNotFoundError, UnknownRecord):
                continue  # just removed, damaged by a crash of the machine, or of another version
        return tuple(sorted(found, key=lambda record: (-record.started_s, record.id)))

    def find(self, text: str, records: tuple[BuildRecord, ...] | None = None) -> BuildRecord:
        """Return the record that a text means: an id or the beginning of one, `^N`, a name, "" for the last build.

        `^1` is the build before the last one; a name means its newest build. Raises UsageError.
        """
        records = self.records() if records is None else records
        if not text or text.startswith("^"):
            return _at_offset(text, records)
        found = _matching(text, records)
        if not found:
            raise UsageError(f"no record found for ref `{text}`", code="no-build", hints=(Hint.of("builds"),))
        return found[0]

    def read(self, id: str) -> BuildRecord:
        """Return one record. Raises FileNotFoundError, UnknownRecord."""
        try:
            with open(f"{self.place}/{id}", "rb") as file:
                return decode_record(_line(file.readline(_MAX_LINE)))
        except FileNotFoundError:
            return self._unfinished(id)

    def steps(self, record: BuildRecord) -> tuple[StepEntry, ...]:
        """Return the steps of a build; those of one that has not ended come from its events. Raises UnknownRecord."""
        try:
            with open(f"{self.place}/{record.id}", "rb") as file:
                file.readline(_MAX_LINE)
                return decode_steps(_line(file.readline(_MAX_LINE)))
        except FileNotFoundError:
            return _steps_of(self.events(record))

    def events(self, record: BuildRecord) -> Iterator[Event]:
        """Yield the events that were kept of a build, in order; what cannot be read ends them."""
        for line in self._event_lines(record.id):
            try:
                yield decode_event(line)
            except msgspec.MsgspecError:
                return  # the last line of a killed build

    def files(self, digest: str) -> list[str] | None:
        """Return the list of files with a digest, None if it is not kept."""
        try:
            with open(f"{self.lists}/{digest}", "rb") as file:
                return decode_list(file.read(MAX_LIST_BYTES))
        except (OSError, ValueError):
            return None

    def explain(self, record: BuildRecord, records: tuple[BuildRecord, ...]) -> tuple[Reason, ...]:
        """Return why the steps of a build ran; `records` are all records, newest first. Raises UnknownRecord."""
        earlier = (Told(other, self._steps_if_readable(other)) for other in records if is_related(record, other))
        return explain_build(Told(record, self.steps(record)), earlier, self.files)

    def _steps_if_readable(self, record: BuildRecord) -> tuple[StepEntry, ...]:
        try:
            return self.steps(record)
        except (OSError, UnknownRecord):
            return ()  # it was just removed, or a crash of the machine has cut it

    # Removing

    def remove(self, id: str) -> None:
        """Remove the record of a build. Raises UsageError for one that runs."""
        if self._is_running(id):
            raise UsageError(f"build `{id}` is running", code="build-running")
        for suffix in ("", RUNNING, NEW):
            _unlink(f"{self.place}/{id}{suffix}")

    def clear(self, now_s: float) -> None:
        """Remove all records of builds that do not run, also those that cannot be read, and their lists."""
        for id in self._ids():
            if not self._is_running(id):
                self.remove(id)
        self.drop_lists(now_s)

    def trim(self, rules: HistoryRules, now_s: float) -> list[str]:
        """Remove the oldest records beyond the rules, and lists that no record names; returns the ids of what went.

        Builds that run stay.
        """
        sizes = sorted(self._sizes())
        total = sum(size for _, size, _ in sizes)
        gone = []
        for count, (_, size, name) in zip(range(len(sizes), 0, -1), sizes, strict=True):
            if count <= rules.keep_builds and total <= rules.max_bytes:
                break
            total -= size
            if not self._is_running(name):
                self.remove(name)
                gone.append(name)
        if gone:
            self.drop_lists(now_s)
        return gone

    def tidy(self, rules: HistoryRules, now_s: float) -> None:
        """Remove what the rules do not keep, and lists that no record names."""
        self.trim(rules, now_s)
        self.drop_lists(now_s)

    def drop_lists(self, now_s: float) -> None:
        """Remove the lists of files that no record names; a day old ones, since a running build may name them."""
        named = {digest for record in self.records() for digest in record.lists}
        for name in _names(self.lists):
            path = f"{self.lists}/{name}"
            try:
                if name not in named and now_s - os.stat(path).st_mtime > _FRESH_S:
                    os.unlink(path)
            except FileNotFoundError:
                continue

    def _sizes(self) -> list[tuple[float, int, str]]:
        """Return time, size and id of each record."""
        found = []
        for id in self._ids():
            for suffix in ("", RUNNING):
                try:
                    status = os.stat(f"{self.place}/{id}{suffix}")
                except FileNotFoundError:
                    continue
                found.append((status.st_mtime, status.st_blocks * 512, id))
                break
        return found

    # Files

    def _ids(self) -> list[str]:
        names = {name.partition(".")[0] for name in _names(self.place)}
        return [name for name in names if is_id(name)]

    def _unfinished(self, id: str) -> BuildRecord:
        """Return the record of a build that has not written its end: it runs, or was killed."""
        with open(f"{self.place}/{id}{RUNNING}", "rb") as file:
            record = decode_record(_line(file.readline(_MAX_LINE)))
        steps = _steps_of(self.events(record))
        shown = [step for step in steps if step.status not in ("", "running")]
        counted = msgspec.structs.replace(
            record, total_steps=len(steps), completed_steps=len(shown),
            cached_steps=sum(step.status == "cached" for step in shown),
        )  # fmt: skip
        if self._is_running(id):
            return counted
        last = max((event.time for event in self.events(record)), default=record.started_s)
        return msgspec.structs.replace(counted, status="killed", ended_s=last)

    def _is_running(self, id: str) -> bool:
        try:
            descriptor = os.open(f"{self.place}/{id}{RUNNING}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)

    def _event_lines(self, id: str) -> Iterator[bytes]:
        try:
            with open(f"{self.place}/{id}", "rb") as file:
                file.readline(_MAX_LINE)
                file.readline(_MAX_LINE)
                yield from _inflated_lines(iter(lambda: file.read(_CHUNK), b""))
        except FileNotFoundError:
            with open(f"{self.place}/{id}{RUNNING}", "rb") as file:
                file.readline(_MAX_LINE)
                while line := file.readline(_MAX_LINE):
                    yield line


def _matching(text: str, records: tuple[BuildRecord, ...]) -> list[BuildRecord]:
    """Return the records that an id, a name or the beginning of an id means; raises UsageError if it may be several."""
    last = text.rpartition("/")[2]
    text = last if is_id(last) else text  # BUILDER/NODE/ID, as buildx writes it
    begun = [record for record in records if record.id.startswith(text)]
    if is_id(text) and begun:
        return begun
    named = [record for record in records if record.name == text or text in record.tags]
    if not named and len(begun) > 1:
        raise UsageError(f"ambiguous reference: {len(begun)} builds begin with `{text}`", code="no-build")
    return named or begun


def _at_offset(text: str, records: tuple[BuildRecord, ...]) -> BuildRecord:
    number = text[1:] or "0"
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise UsageError(f"invalid offset `{text}`", code="no-build", hints=(Hint.of("builds"),))
    if int(number) >= len(records):
        what = "no records found" if not records else f"no build found with offset {number}"
        raise UsageError(what, code="no-build", hints=(Hint.of("builds"),))
    return records[int(number)]


def _inflated_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of a compressed log; a damaged one ends early."""
    inflate = zlib.decompressobj()
    rest, total = b"", 0
    for chunk in chunks:
        while chunk:
            try:
                data = inflate.decompress(chunk, _CHUNK)
            except zlib.error:
                return
            chunk = inflate.unconsumed_tail
            total += len(data)
            if total > _MAX_LOG_BYTES:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines


def _steps_of(events: Iterator[Event]) -> tuple[StepEntry, ...]:
    """Return the steps as far as events tell."""
    steps: dict[str, StepEntry] = {}
    for event in events:
        if isinstance(event, Planned):
            for vertex in event.vertices:
                steps.setdefault(
                    vertex.id,
                    StepEntry(vertex.id, vertex.title, stage=vertex.stage, number=vertex.number, total=vertex.total),
                )
        elif isinstance(event, Started) and event.id in steps:
            steps[event.id] = msgspec.structs.replace(steps[event.id], status="running", started_s=event.time)
        elif isinstance(event, Finished) and event.id in steps:
            step = steps[event.id]
            seconds = event.time - step.started_s if step.started_s else 0.0
            steps[event.id] = msgspec.structs.replace(step, status=event.status, seconds=seconds, detail=event.detail)
    return tuple(steps.values())


def _line(line: bytes) -> bytes:
    """Return a line without its end; raises UnknownRecord for one that was cut short."""
    if not line.endswith(b"\n"):
        raise UnknownRecord("a record is cut short")
    return line[:-1]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
