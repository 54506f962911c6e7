"""What the steps of one build share, and the StepRunner over it: look-up, dispatch. Does I/O."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from firkin.builder.cache.records import StepRecord, StepRecords
from firkin.builder.copy.content import FileDigests
from firkin.builder.copy.plan import CopyTools
from firkin.builder.graph.explain import explain
from firkin.builder.graph.key import CacheKey, key_of
from firkin.builder.graph.ops import Context, Copy, Git, Http, MakeDir, Op, Pull, Run, Scratch
from firkin.builder.graph.step import Graph, Step, StepId
from firkin.builder.request import RunOptions, Secret
from firkin.builder.solve.keys import StepKey, StepKeys
from firkin.builder.solve.result import Files, Result, base_snapshot, reads_runs, root_of
from firkin.builder.solve.unchanged import find_unchanged, note_of
from firkin.content.format import LayerFormat
from firkin.content.layers import Layers
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.errors import FirkinError, StepFailed
from firkin.events import Emit, Log, qualified
from firkin.layer.change import Change, Put
from firkin.store.store import Store
from firkin.tasks.cancel import Cancel
from firkin.tasks.pools import Pools

if TYPE_CHECKING:
    from firkin.builder.solve.remote_cache import RemoteCache
    from firkin.rootfs import Rootfs
    from firkin.sandbox import Sandbox

_LATEST_S = (1 << 36) - 1  # year 4147: what a cache entry, and RFC 3339, can say
_DATES = ("made", "times")
"""Parts of keys that tell layers apart which differ in nothing but times."""

_NARROW = "|narrow"
"""Marks the slot of a narrow key's record, which explains nothing."""


class Runtime(msgspec.Struct, frozen=True):
    """How roots are made and commands are run here.

    `moves_caches` says that a cache mount can be in one place only, so commands cannot share it.
    """

    rootfs: Rootfs
    sandbox: Sandbox
    moves_caches: bool = False
    close: Callable[[], None] = lambda: None


class SshSockets(Protocol):
    """The SSH agents of the request."""

    def get(self, agent: str, /) -> str | None:
        """Return the path of an agent's socket by its id, None for one that was not given."""


class Surroundings(msgspec.Struct, frozen=True):
    """What RUN steps get from the request and the machine.

    `empties_mounts`: cache mounts of a step that --no-cache executes begin empty.
    """

    options: RunOptions
    secrets: Mapping[str, Secret]
    ssh_sockets: SshSockets
    resolv_conf: bytes
    empties_mounts: bool = True


class Engine:
    """Services of one build, and its StepRunner. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        pools: Pools,
        layers: Layers,
        runtime: Callable[[], Runtime],
        tools: CopyTools,
        file_digests: FileDigests,
        surroundings: Surroundings,
        contexts: Mapping[str, Files],
        fetch_source: Callable[[Http | Git, str], Files],
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        slot_prefix: str,
        remote: RemoteCache | None = None,
        explain: bool = False,
        require_cached: bool = False,
    ) -> None:
        self.store = store
        self.pools = pools
        self.layers = layers
        self.surroundings = surroundings
        self.emit = emit
        self.cancel = cancel
        self.clock = clock
        self.tools = tools
        self.file_digests = file_digests
        self._runtime = runtime
        self._contexts = contexts
        self._fetch_source = fetch_source
        self._slot_prefix = slot_prefix
        self.remote = remote
        self._explain = explain
        self._require_cached = require_cached
        self._keys = StepKeys(store, tools, file_digests)
        self.step_records = StepRecords(store)
        self._known_keys: dict[StepId, StepKey] = {}
        self._graph = Graph((), ())
        self._results: dict[StepId, Result] = {}
        self._reasons: dict[StepId, str] = {}
        self.records: dict[str, list[StepRecord]] = {}  # of layers that this build used, by layer
        self._found_late: set[StepId] = set()
        self._unpacked: set[StepId] = set()
        self._exported: set[StepId] = set()
        self._formats: tuple[LayerFormat, ...] = ()
        self.keep_blobs = False
        self.on_first_miss: Callable[[], None] | None = None
        self.created: dict[str, float] = {}
        self.emptying = threading.Lock()
        self.emptied: set[str] = set()  # names of cache mounts, by empty_mount
        self.cancel_fd = os.eventfd(0, os.EFD_CLOEXEC)
        cancel.on_cancel(lambda: os.eventfd_write(self.cancel_fd, 1))

    def close(self) -> None:
        """Release what the engine holds of the system."""
        os.close(self.cancel_fd)

    @property
    def runtime(self) -> Runtime:
        """Root file system and sandbox for RUN, chosen when the first RUN has to run."""
        return self._runtime()

    def prepare(
        self, graph: Graph, formats: tuple[LayerFormat, ...], *, whole_files: bool, keep_blobs: bool = False
    ) -> None:
        """Note which steps' files must be unpacked, and which layers will be shipped (in which forms).

        A RUN needs its root unpacked, a COPY --from its source; a COPY only needs to know the names of what it
        writes onto. `whole_files` says that an output wants the target's files themselves, `keep_blobs` that one
        takes the blobs of all layers.
        """
        self.keep_blobs = keep_blobs
        self._formats = formats
        self._graph = graph
        for plan in graph.targets:
            step = graph.steps[plan.step]
            if whole_files or any(form.ignore for form in formats):
                # A layer with paths left out must not be all that is kept of a step.
                self._unpacked.add(step.id)
            self._exported.add(step.id)
            while step.inputs and isinstance(step.op, (Run, Copy, MakeDir)):
                step = graph.steps[step.inputs[0]]
                self._exported.add(step.id)
        for step in reversed(graph.needed()):
            runs = isinstance(step.op, Run)
            for position, step_id in enumerate(step.inputs):
                is_root = position == 0
                if runs or not is_root or step.id in self._unpacked:
                    self._unpacked.add(step_id)
        for step in graph.needed():
            if isinstance(step.op, Pull) and step.meta.title:
                for layer in step.op.layers:
                    self.layers.progress.belongs(layer.descriptor.digest, qualified(self.emit, str(step.id)))
        if self.remote is not None:
            self._ask_ahead()

    @property
    def first_format(self) -> LayerFormat:
        """The form of blob that is wanted first."""
        return self._formats[0] if self._formats else LayerFormat()

    # StepRunner

    def look_up(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return a remembered result; roots and contexts are always at hand."""
        if isinstance(step.op, (Http, Git)):
            return None
        found = self._at_hand(step.op) or self._look_up_layer(step, inputs)
        if found is not None:
            self._results[step.id] = found
        return found

    def _at_hand(self, op: Op) -> Result | None:
        match op:
            case Scratch() | Pull():
                return base_snapshot(op)
            case Context():
                return self._contexts[op.name]
            case _:
                return None

    def _look_up_layer(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot | None:
        key = self._known_keys[step.id] = self._keys.wide(step, inputs)
        if step.meta.no_cache:
            self._miss(step, None)
            return None
        record = self._in_store(step, key)
        if record is not None and not record.slot.startswith(self.slot(step)):
            times = self._keys.set_times(step.op, inputs)
            if times and times != dict(record.parts).get("times", ""):
                # Another project made the layer, of equal files with other times than this one was given.
                parts = (*key.parts, ("times", times))
                key = self._known_keys[step.id] = StepKey(key_of(parts), parts)
                record = self._in_store(step, key)
        narrow = None if record is not None else self._keys.narrow(step, inputs)
        if narrow is not None:
            record = self._in_store(step, narrow)
        if record is None and self.remote is not None and self.remote.reads(step.op):
            if not self.remote.asked(key.key):
                self._ask_ahead()
            record = self._in_caches(step, inputs, key)
            if record is None and narrow is not None:
                record = self._in_caches(step, inputs, narrow)
        if record is None:
            self._miss(step, key)
            return None
        return self._found(step, inputs, key, record)

    def _in_store(self, step: Step, key: StepKey) -> StepRecord | None:
        record = self.step_records.find(key.key)
        if record is not None and not self.layers.sources.available(record.layer):
            self.step_records.forget(key.key)
            return None
        return record

    def _in_caches(self, step: Step, inputs: tuple[Result, ...], key: StepKey) -> StepRecord | None:
        assert self.remote is not None
        form = self.first_format.when(from_run=reads_runs(step, inputs))
        make = partial(self._make, step, inputs)
        return self.remote.find(step.op, key.key, key.parts, self.slot(step), form, make)

    def _found(self, step: Step, inputs: tuple[Result, ...], key: StepKey, record: StepRecord) -> Snapshot:
        """Take a layer that is remembered under the step's key, or under its narrow one."""
        if record.key != key.key:
            own = msgspec.structs.replace(record, key=key.key, parts=key.parts, slot=self.slot(step))
            self.step_records.remember(own)
            self._note(step, inputs, own)
        elif self.remote is not None and (narrow := self._keys.narrow(step, inputs)) is not None:
            second = self._in_store(step, narrow)
            if second is not None and second.layer == record.layer:
                self._note(step, inputs, second)
        self._note(step, inputs, record)
        self.created[record.layer] = record.created
        return self._add(step, inputs, record.layer)

    def _note(self, step: Step, inputs: tuple[Result, ...], record: StepRecord, *, fresh: bool = False) -> None:
        """Remember which records this build used, and add them to the caches it writes."""
        self.records.setdefault(record.layer, []).append(record)
        if self.remote is not None:
            layer = LayerRef(record.layer, from_run=reads_runs(step, inputs))
            exported = step.id in self._exported
            self.remote.add(step.op, record, layer, self.first_format, exported=exported, fresh=fresh)

    def _miss(self, step: Step, key: StepKey | None) -> None:
        """Find out why a step is not cached, if somebody wants to know."""
        if not (self._explain or self._require_cached):
            return
        previous = self.step_records.previous(self.slot(step))
        if key is None:
            reason = "the cache is not to be used (`--no-cache`)"
        elif previous is None:
            reason = "nothing is known of an earlier build of this instruction"
        else:
            reason = explain(previous.parts, key.parts) or "its layer was removed from the store"
        self._reasons[step.id] = reason

    def _ask_ahead(self) -> None:
        """Ask the caches for every step that follows from what is known, as if each were there.

        A layer is named by the key of its step, so the keys of later steps are known before any answer.
        """
        assert self.remote is not None
        guessed: dict[StepId, Result] = dict(self._results)
        for step in self._graph.needed():
            if step.id in guessed or isinstance(step.op, (Http, Git)):
                continue
            if any(step_id not in guessed for step_id in step.inputs):
                continue
            found = self._at_hand(step.op)
            if found is None and not step.meta.no_cache:
                inputs = tuple(guessed[step_id] for step_id in step.inputs)
                try:
                    known = self._keys.wide(step, inputs)
                except FirkinError:
                    continue  # it is told when the step's turn comes
                key = known.key
                record = self.step_records.find(key)
                layer = str(key)
                if record is not None and self.layers.sources.available(record.layer):
                    layer = record.layer
                elif self.remote.reads(step.op):
                    self.remote.ask(step.op, key)
                found = self._stack(known, inputs, layer, reads_runs(step, inputs))
            if found is not None:
                guessed[step.id] = found

    def is_here(self, step: Step, result: Result) -> bool:
        """Tell whether a remembered result is on this machine: a base image may still be in its registry."""
        return not (isinstance(step.op, Pull) and isinstance(result, Snapshot)) or self.layers.trees.has_base(result)

    def fetch(self, step: Step, inputs: tuple[Result, ...]) -> None:
        """Fetch what a step needs of its base, unless other files may show that it need not run (_recalled)."""
        if isinstance(step.op, (Http, Git)):
            return
        if self.on_first_miss is not None:
            hook, self.on_first_miss = self.on_first_miss, None
            hook()
        root = root_of(inputs)
        may_be_known = not step.meta.no_cache and any(isinstance(item, Snapshot) for item in inputs[1:])
        if self._require_cached or may_be_known or self.layers.trees.has_base(root):
            return
        if isinstance(step.op, Run):
            self.layers.trees.ensure(root, str(step.id))
        elif isinstance(step.op, MakeDir) or (isinstance(step.op, Copy) and not step.op.link):
            from firkin.builder.solve.ops.copy import root_view

            root_view(self, step, root, step.op.chown if isinstance(step.op, Copy) else step.op.user)

    def execute(self, step: Step, inputs: tuple[Result, ...]) -> Result:
        """Make the result of a step that was not remembered."""
        op = step.op
        result: Result
        if isinstance(op, (Http, Git)):
            result = self._fetch_source(op, str(step.id))
        else:
            known = self._recalled(step, inputs) or self._unchanged(step, inputs)
            if known is not None:
                self._found_late.add(step.id)
            result = known or self._made_elsewhere_or_executed(step, inputs)
        self._results[step.id] = result
        return result

    def was_found(self, step: Step) -> bool:
        """Tell whether `execute` found a remembered result after all."""
        return step.id in self._found_late

    def _recalled(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot | None:
        """Look a step up by its narrow key where files had to be fetched to know it; the step needs them anyway."""
        sources = [item for item in inputs[1:] if isinstance(item, Snapshot)]
        if step.meta.no_cache or not sources or self._keys.narrow(step, inputs) is not None:
            return None
        for source in sources:
            self.layers.trees.ensure(source, str(step.id))
        narrow = self._keys.narrow(step, inputs)
        if narrow is None:
            return None
        record = self._in_store(step, narrow)
        if record is None and self.remote is not None and self.remote.reads(step.op):
            record = self._in_caches(step, inputs, narrow)
        return None if record is None else self._found(step, inputs, self._known_keys[step.id], record)

    def _unchanged(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot | None:
        """Take the last layer of a step that reads other stages or images, made anew, in which that is the same."""
        if step.meta.no_cache or not any(isinstance(item, Snapshot) for item in inputs[1:]):
            return None
        known = self._known_keys[step.id]
        record = find_unchanged(self, step, inputs, known.parts)
        if record is None:
            return None
        own = msgspec.structs.replace(record, key=known.key, parts=known.parts, slot=self.slot(step))
        self.step_records.remember(own)
        self._note_reads(own, inputs)
        return self._found(step, inputs, known, own)

    def _note_reads(self, record: StepRecord, inputs: tuple[Result, ...]) -> None:
        note = note_of(record, inputs)
        if note is not None:
            self.step_records.remember(note, replace=True)

    def _destination_key(self, step: Step, inputs: tuple[Result, ...]) -> StepKey | None:
        from firkin.builder.solve.ops.copy import root_view

        return self._keys.destination(step, inputs, partial(root_view, self, step, root_of(inputs)))

    def _made_elsewhere_or_executed(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot:
        """Take the layer that the same COPY made on another root, or make one."""
        destination = self._destination_key(step, inputs)
        record = None if destination is None or step.meta.no_cache else self._in_store(step, destination)
        if record is None:
            return self._executed(step, inputs, destination)
        known = self._known_keys[step.id]
        own = msgspec.structs.replace(record, key=known.key, parts=known.parts, slot=self.slot(step))
        self.step_records.remember(own)
        return self._found(step, inputs, known, own)

    def _executed(self, step: Step, inputs: tuple[Result, ...], destination: StepKey | None) -> Snapshot:
        known = self._known_keys[step.id]
        key, parts = known.key, known.parts
        fresh = step.meta.no_cache
        self._tell_miss(step)
        # A layer is named by the key that it was first made for. One that is made again on demand is another
        # layer, or whoever uses the old one would see it change; its name still begins like the key (see
        # cache.entry.belongs).
        layer_id = key[:32] + os.urandom(16).hex() if fresh else str(key)
        began = self.clock()
        self._make(step, inputs, layer_id)
        ended = self.clock()
        if (times := self._keys.set_times(step.op, inputs)) and parts[-1] != ("times", times):
            parts = (*parts, ("times", times))  # no part of the key; see _look_up_layer
        created = self.created.setdefault(layer_id, ended)
        record = StepRecord(key, layer_id, self.slot(step), step.meta.written, parts, created, ended - began)
        self.step_records.remember(record, replace=fresh)
        self._note(step, inputs, record, fresh=fresh)
        self._note_reads(record, inputs)
        narrow = self._keys.narrow(step, inputs)
        if narrow is not None:
            slot = self.slot(step) + _NARROW
            second = msgspec.structs.replace(record, key=narrow.key, parts=narrow.parts, slot=slot)
            self.step_records.remember(second, replace=fresh)
            self._note(step, inputs, second, fresh=fresh)
        if destination is not None:
            third = msgspec.structs.replace(
                record, key=destination.key, parts=destination.parts, slot=self.slot(step) + _NARROW
            )
            self.step_records.remember(third, replace=fresh)
        return self._add(step, inputs, layer_id)

    def _add(self, step: Step, inputs: tuple[Result, ...], layer_id: str) -> Snapshot:
        """Put the step's layer on its root, and start writing its blob if it will be shipped."""
        from_run = reads_runs(step, inputs)
        if step.id in self._exported:
            for form in self._formats:
                self.layers.blobs.start(LayerRef(layer_id, from_run=from_run), form)
        return self._stack(self._known_keys[step.id], inputs, layer_id, from_run)

    def _stack(self, key: StepKey, inputs: tuple[Result, ...], layer_id: str, from_run: bool) -> Snapshot:
        # The epoch tells two layers apart, but what comes next does not care for the times below.
        known_as = layer_id
        if key.parts[-1][0] in _DATES:
            first = key if layer_id == key.key else self.step_records.find(CacheKey(layer_id))
            if first is not None:  # the record of the step that made the layer
                known_as = key_of(tuple(part for part in first.parts if part[0] not in _DATES))
        return root_of(inputs).add(layer_id, known_as=known_as, from_run=from_run)

    def tools_for(self, step: Step) -> CopyTools:
        """Return the tools with the time of what this step makes."""
        meta = step.meta
        if meta.epoch_s is not None:
            epoch_ns = meta.epoch_s * 1_000_000_000
            return self.tools._replace(made_ns=epoch_ns, latest_ns=epoch_ns)
        linked = isinstance(step.op, Copy) and step.op.link  # whatever it lies on, the layer is the same
        return self.tools._replace(made_ns=0 if linked else meta.base_s * 1_000_000_000, like_sources=True)

    def date(self, layer_id: str, changes: Iterable[Change]) -> Iterator[Change]:
        """Pass changes on, and make the time of the newest that of the layer."""
        newest = 0
        for change in changes:
            if type(change) is Put and change.entry.mtime_ns > newest:
                newest = change.entry.mtime_ns
            yield change
        self.created[layer_id] = min(newest // 1_000_000_000, _LATEST_S)

    def _tell_miss(self, step: Step) -> None:
        reason = self._reasons.get(step.id)
        if reason is None:
            return
        if self._require_cached:
            raise StepFailed(f"`{step.meta.title}` is not cached: {reason}", code="not-cached")
        self.emit(Log(self.clock(), str(step.id), "stderr", f"not cached: {reason}\n".encode()))

    def _make(self, step: Step, inputs: tuple[Result, ...], layer_id: str) -> None:
        match step.op:
            case Run():
                from firkin.builder.solve.ops.run import run

                run(self, step, step.op, inputs, layer_id)
            case Copy():
                from firkin.builder.solve.ops.copy import copy

                copy(self, step, step.op, inputs, layer_id)
            case MakeDir():
                from firkin.builder.solve.ops.makedir import make_dir

                make_dir(self, step, step.op, inputs, layer_id)
            case _:
                raise TypeError(f"{type(step.op).__name__} makes no layer")

    def slot(self, step: Step) -> str:
        """Name the place of a step in its Dockerfile."""
        return f"{self._slot_prefix}|{step.meta.stage}|{step.meta.number}"

    def needs_tree(self, step: Step) -> bool:
        """Say whether the step's files will be wanted unpacked."""
        return step.id in self._unpacked
