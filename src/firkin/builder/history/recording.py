"""Writes the record of a build while it runs. Does I/O. A build never fails because its record cannot be written.

`emit` passes every event on before it keeps it. Events are appended to a file of the running build, so that a killed
build leaves them; at the end the record is written beside it and renamed, with the steps that the engine noted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from contextlib import suppress
from types import TracebackType

import msgspec

from firkin.builder.graph.ops import Context, Git, Http, Pull
from firkin.builder.history.ledger import Ledger, StepNote
from firkin.builder.history.log import KeptLog
from firkin.builder.history.names import NEW, RUNNING, directory_of, lists_of, new_id
from firkin.builder.history.record import (
    HISTORY_VERSION,
    BuildRecord,
    KeptError,
    KeptWarning,
    MadeImage,
    Status,
    StepEntry,
    StepRead,
    StepStatus,
    encode_record,
    encode_steps,
)
from firkin.builder.history.redact import Redactor, kept_parts, keyed_hash
from firkin.builder.request import BuildRequest, BuildResult
from firkin.errors import Cancelled, FirkinError
from firkin.events import Completed, Emit, Event, Finished, Planned, Started, Vertex, Warned, encode_event
from firkin.linux.ending import at_end
from firkin.registry.url import redact_url
from firkin.text import hide_passwords, valid_text

_KEY_BYTES = 32
_MAX_WARNINGS = 50
_MAX_TITLE = 2000
_DEFAULT_NAME = "Dockerfile"
_SLACK = 4  # a quarter more records than the rules say may stay for a while
_LOOKED_AT = 8  # the space of all records is looked at in every eighth build
_OTHERS = 3  # files beside the records: the key, the lists, this build's own
_PATIENCE_S = 0.25


class Recording:
    """The record of one build that runs. Use as a context manager, and call `emit` for each event, from any thread."""

    def __init__(self, request: BuildRequest, emit: Emit, began_s: float) -> None:
        self._request = request
        self._emit = emit
        self._rules = request.history
        self._redactor = Redactor(
            (secret.value for secret in request.secrets), request.build_args, request.proxy_args
        )
        self._log = KeptLog(self._redactor)
        self._place = directory_of(request.store_root)
        self._lists = lists_of(request.store_root)
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._waiting: list[bytes] = []
        self._vertices: dict[str, Vertex] = {}
        self._begun: dict[str, float] = {}
        self._ends: dict[str, Finished] = {}
        self._written_s = 0.0
        self._warnings: list[KeptWarning] = []
        self._key = b""
        self._record = BuildRecord(version=HISTORY_VERSION, id=new_id(), name=_name_of(request), started_s=began_s)
        self._file = -1
        self._result: BuildResult | None = None
        self._forget = _nothing

    def emit(self, event: Event) -> None:
        """Pass an event on and keep what is to be kept of it; never raises more than the Emit that it wraps."""
        self._emit(event)
        if self._file < 0:
            return
        with self._lock:
            kept = self._log.take(self._titled(event) if isinstance(event, Planned) else event)
            for item in kept:
                self._fold(item)
                self._lines.append(encode_event(item) + b"\n")
            self._write(self._lines[len(self._lines) - len(kept) :], event)

    def begin(self, ledger: Ledger) -> Recording:
        """Begin the record of a build that was opened; `ledger` is what its engine notes."""
        self._ledger = ledger
        if self._rules.keep_builds:
            try:
                self._open()
            except OSError as error:
                self._warn(error)
        return self

    def complete(self, result: BuildResult) -> Completed:
        """Note the result, which makes the build a completed one; returns the event that says so, to be emitted."""
        self._result, image = result, result.image
        event = Completed(
            time.time(), image.digest, image.config_digest, image.names, image.size_bytes, result.seconds
        )
        with self._lock:
            self._lines.append(encode_event(event) + b"\n")
        return event

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        if self._file >= 0:
            status: Status = "completed" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
            self._end(status, error)

    # Beginning

    def _open(self) -> None:
        """Make the file of the running build; it gets its name when it is locked."""
        path = f"{self._place}/{self._record.id}"
        try:
            file = _open_new(path + NEW)
        except FileNotFoundError:
            os.makedirs(self._place, mode=0o700, exist_ok=True)
            file = _open_new(path + NEW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._key = _hash_key(self._place)
            self._record = self._described()
            _write_all(file, encode_record(self._record) + b"\n")
            os.rename(path + NEW, path + RUNNING)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                os.unlink(path + NEW)
            raise
        self._file = file
        self._forget = at_end(lambda: self._end("cancelled", None))

    def _described(self) -> BuildRecord:
        """Return the record with what the request says, without any of its values that may be secret."""
        request, text = self._request, self._redactor.text
        return msgspec.structs.replace(
            self._record,
            context=text(redact_url(_place(request.cwd, request.context))),
            dockerfile=text(request.dockerfile) or _DEFAULT_NAME,
            target=request.target,
            platforms=request.platforms,
            tags=request.tags,
            named_contexts=tuple((text(name), text(redact_url(value))) for name, value in request.build_contexts),
            build_args=tuple((name, keyed_hash(self._key, value)) for name, value in request.build_args),
            labels=tuple(name for name, _ in request.labels),
            secrets=tuple(secret.id for secret in request.secrets),
            outputs=tuple(output.type for output in request.outputs),
            network="" if request.run.network == "default" else request.run.network,
            no_cache=request.no_cache,
            no_cache_filter=request.no_cache_filter,
            pull=request.pull,
            require_cached=request.require_cached,
            source_date_epoch=request.source_date_epoch,
        )

    # Events

    def _titled(self, event: Planned) -> Planned:
        """Return the plan with instructions as they are written, without values of arguments."""
        return msgspec.structs.replace(event, vertices=tuple(map(self._as_written, event.vertices)))

    def _as_written(self, vertex: Vertex) -> Vertex:
        known = self._ledger.steps.get(vertex.id)
        written = known[0].meta.written if known is not None else ""
        return msgspec.structs.replace(vertex, title=_one_line(written)) if written else vertex

    def _fold(self, event: Event) -> None:
        """Take an event into the states of the steps."""
        match event:
            case Planned(vertices=vertices):
                for vertex in vertices:
                    self._vertices.setdefault(vertex.id, vertex)
            case Started(time=time_s, id=id):
                self._begun.setdefault(id, time_s)
            case Finished(id=id):
                self._ends[id] = event
            case Warned(code=code, message=message) if len(self._warnings) < _MAX_WARNINGS:
                self._warnings.append(KeptWarning(code, message, event.span.start.line if event.span else 0))
            case _:
                pass

    def _write(self, lines: list[bytes], event: Event) -> None:
        """Append lines to the file: at once where something begins that may last, else when enough has come."""
        self._waiting += lines
        urgent = isinstance(event, Started) or event.time - self._written_s > _PATIENCE_S
        if self._file < 0 or not self._waiting or not (urgent or sum(map(len, self._waiting)) > 1 << 14):
            return
        self._written_s = event.time
        data = b"".join(self._waiting)
        self._waiting.clear()
        with suppress(OSError):  # a full disk: the end of the record may find room again
            _write_all(self._file, data)

    # The end

    def _end(self, status: Status, error: BaseException | None) -> None:
        with self._lock:
            file, self._file = self._file, -1
            if file < 0:
                return
            now_s = time.time()
            for event in self._log.close(now_s):
                self._lines.append(encode_event(event) + b"\n")
            try:
                self._replace(self._ended(status, error, now_s))
                self._trim(now_s)
            except OSError as problem:
                self._warn(problem)
            finally:
                with suppress(OSError):
                    os.unlink(f"{self._place}/{self._record.id}{RUNNING}")
                os.close(file)

    def _trim(self, now_s: float) -> None:
        """Remove old records if it is time: now and then, because it costs reading the others."""
        count, most = len(os.listdir(self._place)), self._rules.keep_builds
        if count > most + max(1, most // _SLACK) + _OTHERS or not count % _LOOKED_AT:
            from firkin.builder.history.shelf import Shelf

            Shelf(self._request.store_root).trim(self._rules, now_s)

    def _ended(self, status: Status, error: BaseException | None, now_s: float) -> tuple[BuildRecord, bytes]:
        """Return the finished record, and its steps as a line."""
        steps = self._merged()
        shown = [step for step in steps if step.id in self._vertices]
        ended = [step for step in shown if step.status in ("done", "cached")]
        lists = self._keep_lists(steps)
        result, text = self._result, self._redactor.text
        record = msgspec.structs.replace(
            self._record,
            slot=f"{self._record.context}|{text(self._ledger.dockerfile)}",
            status=status,
            ended_s=now_s,
            error=None if error is None else _kept_error(error, self._redactor),
            total_steps=len(shown),
            completed_steps=len(ended),
            cached_steps=sum(step.status == "cached" for step in ended),
            digest=result.image.digest if result else "",
            images=() if result is None else tuple(
                MadeImage(image.digest, image.config_digest, image.platform, image.size_bytes)
                for image in result.images
            ),
            names=result.image.names if result else (),
            warnings=tuple(self._warnings),
            ignore=hashlib.sha256(self._ledger.ignore).hexdigest() if self._ledger.ignore else "",
            lists=lists,
            clipped=self._log.clipped,
        )  # fmt: skip
        return record, encode_steps(steps)

    def _merged(self) -> tuple[StepEntry, ...]:
        """Return the steps of events and ledger together, in the order in which they became known."""
        found = {id: self._of_events(id, vertex) for id, vertex in self._vertices.items()}
        for id, (step, inputs) in self._ledger.steps.items():
            known = found.get(id) or StepEntry(id, self._redactor.text(_one_line(step.meta.written or step.meta.title)))
            note = self._ledger.notes.get(id)
            found[id] = msgspec.structs.replace(
                known,
                kind=type(step.op).__name__.lower(),
                platform=str(step.meta.platform or ""),
                stage=known.stage or step.meta.stage,
                origin=self._redactor.text(_origin(step.op)),
                root=inputs[0] if inputs else "",
                no_cache=step.meta.no_cache,
                **({} if note is None else self._of_note(note, inputs)),
            )
        return tuple(found.values())

    def _of_events(self, id: str, vertex: Vertex) -> StepEntry:
        """Return what events told of a step."""
        end, began = self._ends.get(id), self._begun.get(id, 0.0)
        status: StepStatus = end.status if end is not None else "running" if began else ""
        return StepEntry(
            id, vertex.title, stage=vertex.stage, number=vertex.number, total=vertex.total,
            line=vertex.span.start.line if vertex.span is not None else 0,
            status=status, started_s=began, seconds=max(0.0, end.time - began) if end and began else 0.0,
            detail=end.detail if end else "",
        )  # fmt: skip

    def _of_note(self, note: StepNote, inputs: tuple[str, ...]) -> dict[str, object]:
        reads = tuple(StepRead(inputs[number], self._redactor.text(path)) for number, path in note.reads)
        return {
            "key": note.key,
            "layer": note.layer,
            "place": note.place,
            "parts": kept_parts(note.parts, self._key, self._redactor),
            "reads": reads,
        }

    def _keep_lists(self, steps: tuple[StepEntry, ...]) -> tuple[str, ...]:
        """Write the lists of files that are not kept yet; returns the digests of those that are."""
        named = {value for step in steps for name, value in step.parts if name in ("files", "mounted files")}
        kept = []
        for digest in sorted(named & self._ledger.lists.keys()):
            path = f"{self._lists}/{digest}"
            if not os.path.exists(path):
                from firkin.builder.history.files import encode_list

                os.makedirs(self._lists, mode=0o700, exist_ok=True)
                _write_file(path, f"{path}.{self._record.id}", encode_list(self._ledger.lists[digest]))
            kept.append(digest)
        return tuple(kept)

    def _replace(self, ended: tuple[BuildRecord, bytes]) -> None:
        """Write the record; without its log where there is no room for that."""
        import zlib

        record, steps = ended
        path = f"{self._place}/{record.id}"
        log = zlib.compress(b"".join(self._lines), 1)
        try:
            _write_file(path, path + NEW, encode_record(record) + b"\n" + steps + b"\n" + log)
        except OSError:
            small = msgspec.structs.replace(record, clipped=True)
            _write_file(path, path + NEW, encode_record(small) + b"\n" + steps + b"\n" + zlib.compress(b""))

    def _warn(self, error: OSError) -> None:
        told = f"there will be no record of this build: {(error.strerror or str(error)).lower()}"
        self._emit(Warned(time.time(), "build-record", told))


def _nothing() -> None:
    return


def _origin(op: object) -> str:
    match op:
        case Pull(origin=origin):
            return origin
        case Http(url=url) | Git(url=url):
            return url
        case Context(name=name):
            return f"context {name}".rstrip()
        case _:
            return ""


def _kept_error(error: BaseException, redactor: Redactor) -> KeptError:
    if not isinstance(error, FirkinError):
        return KeptError(redactor.text(f"{type(error).__name__}: {error}"), "bug", 70)
    line = error.span.start.line if error.span is not None else 0
    return KeptError(redactor.text(error.message), error.code, error.exit_code, line)


def _one_line(text: str) -> str:
    line = " ".join(text.split("\n", 1)[0].split()) if "<<" in text else " ".join(text.replace("\\\n", " ").split())
    return valid_text(hide_passwords(line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 1] + "…"))


def _place(cwd: str, context: str) -> str:
    """Return a context as a whole path, an address as it is."""
    if context == "-" or "://" in context or context.startswith("git@"):
        return context
    return os.path.normpath(os.path.join(cwd, context))


def _name_of(request: BuildRequest) -> str:
    """Return the name of a build. Mirrors: docker/buildx util/history BuildName."""
    named = dict(request.build_args).get("BUILDKIT_BUILD_NAME", "")
    if named:
        return valid_text(named)
    place = _place(request.cwd, request.context)
    if place != request.context and not place.startswith("/"):
        place = request.context
    name = place if "://" in place or place == "-" else place.rpartition("/")[2]
    file = request.dockerfile
    if file and not file.endswith(_DEFAULT_NAME) and file != "-":
        whole = os.path.normpath(os.path.join(request.cwd, file))
        inside = whole[len(place) + 1 :] if whole.startswith(place + "/") else os.path.basename(whole)
        name = f"{name}/{inside}"
    name = f"{name} ({request.target})" if request.target else name
    return valid_text(redact_url(name))


def _hash_key(place: str) -> bytes:
    """Return the store's key for hashes of values; the first build makes it."""
    path = f"{place}/key"
    for _ in range(2):
        try:
            with open(path, "rb") as file:
                key = file.read(_KEY_BYTES)
            if len(key) == _KEY_BYTES:
                return key
            os.unlink(path)  # a crash of the machine has cut it
        except FileNotFoundError:
            pass
        temporary = f"{path}-{new_id()}"
        _write_file(temporary, temporary + NEW, os.urandom(_KEY_BYTES))
        with suppress(FileExistsError):  # another build was faster
            os.link(temporary, path)
        os.unlink(temporary)
    with open(path, "rb") as file:
        return file.read(_KEY_BYTES)


def _open_new(path: str) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write_file(path: str, temporary: str, data: bytes) -> None:
    """Write a file completely or not at all. It is not flushed to the disk: a record is not worth a wait."""
    try:
        file = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, data)
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
