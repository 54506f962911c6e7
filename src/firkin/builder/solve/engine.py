"""Runs the steps of one graph: looks each one up, and hands it to its executor on a miss. Does I/O."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from firkin.builder.graph.ops import Copy, Git, Http, MakeDir, Pull, Run
from firkin.builder.graph.step import Graph, Step, StepId
from firkin.builder.solve.inputs import root_view
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.keys import StepKey, StepKeys
from firkin.builder.solve.lookup import Hit, Lookup, Miss
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.result import Files, Result, reads_runs, ready_result, root_of
from firkin.builder.solve.services import Services
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.errors import StepFailed
from firkin.events import Log, qualified

if TYPE_CHECKING:
    from firkin.builder.solve.cache_mounts import CacheMounts


class Sources(msgspec.Struct, frozen=True):
    """The sources of files that no step makes: contexts by name, and `fetch` for downloads and repositories.

    `fetch` takes an op and the name of its step in events.
    """

    contexts: Mapping[str, Files]
    fetch: Callable[[Http | Git, str], Files]


class Engine:
    """The StepRunner of one graph. Thread-safe.

    `slot_prefix` names the Dockerfile. `on_first_miss` is called once, before the first step that has to run.
    `explain`: report why a step is not cached; `require_cached`: fail at the first step that is not.
    """

    def __init__(
        self,
        services: Services,
        sources: Sources,
        graph: Graph,
        wanted: Wanted,
        slot_prefix: str,
        *,
        on_first_miss: Callable[[], None] = lambda: None,
        explain: bool = False,
        require_cached: bool = False,
    ) -> None:
        self._services = services
        self._sources = sources
        self._wanted = wanted
        self._require_cached = require_cached
        self._on_first_miss = on_first_miss
        self._missed_before = threading.Lock()  # held from the first miss on
        self._keys = StepKeys(services.store, services.tools, services.file_digests)
        self.memory = Memory(services, self._keys, wanted, slot_prefix)
        self._loading = threading.Lock()
        self._cache_mounts: CacheMounts | None = None
        self._results: dict[StepId, Result] = {}
        self._misses: dict[StepId, Miss] = {}
        self._vertices: dict[StepId, str] = {}
        self._found_late: set[StepId] = set()
        self._lookup = Lookup(
            services, self._keys, self.memory, wanted, graph, sources.contexts, self._results, self._make,
            explains=explain or require_cached,
        )  # fmt: skip
        self._name_fetches(graph)
        self._note_steps(graph)
        self._lookup.ask_ahead()

    def _name_fetches(self, graph: Graph) -> None:
        """Show downloads of base images under the steps that pull them."""
        services = self._services
        for step in graph.needed():
            if isinstance(step.op, Pull) and step.meta.title:
                for layer in step.op.layers:
                    vertex = qualified(services.emit, str(step.id))
                    services.layers.progress.belongs(layer.descriptor.digest, vertex)

    def _note_steps(self, graph: Graph) -> None:
        """Note the steps for the record of the build, under their names in events."""
        ledger = self._services.ledger
        self._vertices = {step.id: qualified(self._services.emit, str(step.id)) for step in graph.needed()}
        for step in graph.needed():
            ledger.steps[self._vertices[step.id]] = (step, tuple(self._vertices[step_id] for step_id in step.inputs))

    def _note(self, step: Step, inputs: tuple[Result, ...], key: StepKey, place: str = "", layer: str = "") -> None:
        snapshots = frozenset(number for number, item in enumerate(inputs) if isinstance(item, Snapshot))
        self._services.ledger.note(self._vertices[step.id], step, snapshots, (key.key, key.parts), place, layer)

    # StepRunner

    def look_up(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return a remembered result; roots and contexts always have one."""
        if isinstance(step.op, (Http, Git)):
            return None
        found = ready_result(step.op, self._sources.contexts)
        if found is None:
            answer = self._lookup.early(step, inputs)
            if isinstance(answer, Miss):
                self._misses[step.id] = answer
                self._note(step, inputs, answer.key)
                return None
            found = self._take(step, inputs, answer)
        self._results[step.id] = found
        return found

    def is_here(self, step: Step, result: Result) -> bool:
        """Tell whether a remembered result is on this machine: a base image may still be in its registry."""
        if isinstance(step.op, Pull) and isinstance(result, Snapshot):
            return self._services.layers.trees.has_base(result)
        return True

    def fetch(self, step: Step, inputs: tuple[Result, ...]) -> None:
        """Fetch what a step needs of its base, unless the late look-up may find that the step need not run."""
        if isinstance(step.op, (Http, Git)):
            return
        if self._missed_before.acquire(blocking=False):
            self._on_first_miss()
        may_be_known = not step.meta.no_cache and any(isinstance(item, Snapshot) for item in inputs[1:])
        if not (self._require_cached or may_be_known or self._services.layers.trees.has_base(root_of(inputs))):
            self._fetch_root(step, root_of(inputs))

    def _fetch_root(self, step: Step, root: Snapshot) -> None:
        layers = self._services.layers
        match step.op:
            case Run():
                layers.trees.ensure(root, str(step.id))
            case MakeDir(user=owner) | Copy(link=False, chown=owner):
                root_view(layers, self._wanted, step, root, owner)

    def execute(self, step: Step, inputs: tuple[Result, ...]) -> Result:
        """Make the result of a step that was not remembered; raises StepFailed where every step must be cached."""
        if isinstance(step.op, (Http, Git)):
            result: Result = self._sources.fetch(step.op, str(step.id))
        else:
            result = self._found_or_made(step, inputs)
        self._results[step.id] = result
        return result

    def was_found(self, step: Step) -> bool:
        """Tell whether `execute` found a remembered result after all."""
        return step.id in self._found_late

    # Layers

    def _found_or_made(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot:
        answer = self._lookup.late(step, inputs, self._misses[step.id])
        if isinstance(answer, Miss):
            return self._execute(step, inputs, answer)
        if answer.place != "destination":
            self._found_late.add(step.id)
        return self._take(step, inputs, answer)

    def _take(self, step: Step, inputs: tuple[Result, ...], hit: Hit) -> Snapshot:
        self._note(step, inputs, hit.key, hit.place, hit.record.layer)
        self.memory.keep_found(step, inputs, hit.key, hit.record)
        return self._put_on_root(step, inputs, hit.key, hit.record.layer)

    def _execute(self, step: Step, inputs: tuple[Result, ...], miss: Miss) -> Snapshot:
        services = self._services
        self._tell_miss(step, miss.reason)
        # A layer is named by the key that it was first made for. A layer made again for --no-cache needs another
        # name, or users of the old one would see it change; the new name still begins like the key (see
        # cache.entry.belongs).
        key = miss.key.key
        layer_id = key[:32] + os.urandom(16).hex() if step.meta.no_cache else str(key)
        began = services.clock()
        self._make(step, inputs, layer_id)
        ended = services.clock()
        self._note(step, inputs, miss.key, layer=layer_id)
        self.memory.keep_made(step, inputs, miss.key, miss.destination, layer_id, ended, ended - began)
        return self._put_on_root(step, inputs, miss.key, layer_id)

    def _tell_miss(self, step: Step, reason: str) -> None:
        if not reason:
            return
        if self._require_cached:
            raise StepFailed(f"`{step.meta.title}` is not cached: {reason}", code="not-cached")
        services = self._services
        services.emit(Log(services.clock(), str(step.id), "stderr", f"not cached: {reason}\n".encode()))

    def _put_on_root(self, step: Step, inputs: tuple[Result, ...], key: StepKey, layer_id: str) -> Snapshot:
        """Put the step's layer on its root, and start writing its blob if it will be shipped."""
        from_run = reads_runs(step, inputs)
        if step.id in self._wanted.shipped:
            for form in self._wanted.formats:
                self._services.layers.blobs.start(LayerRef(layer_id, from_run=from_run), form)
        return self.memory.put_on(root_of(inputs), key, layer_id, from_run=from_run)

    def _make(self, step: Step, inputs: tuple[Result, ...], layer_id: str) -> None:
        """Make a step's layer; raises TypeError for an op that makes none."""
        services, job = self._services, LayerJob(step, inputs, layer_id, self._wanted)
        match step.op:
            case Run() as op:
                from firkin.builder.solve.ops.run import run

                run(services, self._mounts(), job, op)
            case Copy() as op:
                from firkin.builder.solve.ops.copy import copy

                self.memory.created[layer_id] = copy(services, job, op)
            case MakeDir() as op:
                from firkin.builder.solve.ops.makedir import make_dir

                self.memory.created[layer_id] = make_dir(services, job, op)
            case _:
                raise TypeError(f"{type(step.op).__name__} makes no layer")

    def _mounts(self) -> CacheMounts:
        """Return the build's cache mounts; a build without RUN does not load their module."""
        with self._loading:
            if self._cache_mounts is None:
                from firkin.builder.solve.cache_mounts import CacheMounts

                self._cache_mounts = CacheMounts(self._services)
            return self._cache_mounts
