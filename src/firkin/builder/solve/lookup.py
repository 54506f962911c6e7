"""Finds the layers of steps that need not run. Does I/O.

A step is looked up at most twice; each look-up ends in a Hit, which names the record of a layer, or in a Miss:

    waiting  early   by the coordinator, when the step's inputs are known: compares keys, so it is quick, and fetches
                     nothing but answers of caches
    missed   late    by the thread that would run the step: may fetch and read what the step itself would
    missed           the step runs, and its layer is remembered under all of its keys (`memory`)

Each search asks its places in order and ends at the first that has a layer:

    early    own          the store, by the step's own key: the instruction, its root, and all that it reads as wholes.
                          A layer that another project made from equal files with other times does not count; the times
                          of the files then become a part of the own key
             narrow       the store, by the key that covers only the layers that touch the files read
             caches       the caches elsewhere, by the own key, then by the narrow one
    late     recalled     `narrow` and `caches` once more, where inputs had to be unpacked before the key was known
             unchanged    the layer of the instruction's last build, if the stages it read were rebuilt with the same
                          content
             destination  the store, by the key in which a COPY's destination stands for its root: the layer that the
                          same COPY made on another root

With `--no-cache` every search misses. A layer that another place has is remembered under the step's own key as well,
so the next build hits at `own`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from firkin.builder.cache.records import StepRecord
from firkin.builder.graph.explain import Difference, comparable, differences, in_words
from firkin.builder.graph.key import READS
from firkin.builder.graph.ops import Git, Http
from firkin.builder.graph.step import Graph, Step, StepId
from firkin.builder.history.ledger import reads_of_step
from firkin.builder.solve.inputs import root_view
from firkin.builder.solve.keys import StepKey, StepKeys
from firkin.builder.solve.memory import Memory
from firkin.builder.solve.result import Files, Result, reads_runs, ready_result, root_of
from firkin.builder.solve.services import Services
from firkin.builder.solve.unchanged import is_unchanged
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import Snapshot
from firkin.errors import FirkinError
from firkin.layer.change import View

if TYPE_CHECKING:
    from firkin.builder.solve.remote_cache import RemoteCache

Place = Literal["own", "narrow", "caches", "recalled", "unchanged", "destination"]

Make = Callable[[Step, tuple[Result, ...], str], None]
"""Makes a step's layer under an id, if a cache has promised the layer and does not deliver it."""


class Hit(msgspec.Struct, frozen=True):
    """A layer that need not be made: `record` describes it, `key` is the step's own key."""

    key: StepKey
    record: StepRecord
    place: Place


class Miss(msgspec.Struct, frozen=True):
    """No layer was found. The new layer is to be remembered under `key`, and under `destination` if it is not None.

    `reason` says why nothing was found, if the build asks for reasons.
    """

    key: StepKey
    reason: str = ""
    destination: StepKey | None = None


class Lookup:
    """Looks up the steps of one graph. Thread-safe.

    `results` fills up while the graph runs. `explains`: misses get a reason.
    """

    def __init__(
        self,
        services: Services,
        keys: StepKeys,
        memory: Memory,
        wanted: Wanted,
        graph: Graph,
        contexts: Mapping[str, Files],
        results: Mapping[StepId, Result],
        make: Make,
        *,
        explains: bool = False,
    ) -> None:
        self._services = services
        self._keys = keys
        self._memory = memory
        self._wanted = wanted
        self._graph = graph
        self._contexts = contexts
        self._results = results
        self._make = make
        self._explains = explains

    def early(self, step: Step, inputs: tuple[Result, ...]) -> Hit | Miss:
        """Look a step up by what is known without fetching anything."""
        search = _Search(step, inputs, self._keys.wide(step, inputs))
        if not step.meta.no_cache:
            for place, find in _EARLY:
                record = find(self, search)
                if record is not None:
                    return Hit(search.key, record, place)
        return Miss(search.key, self._reason(search) if self._explains else "")

    def late(self, step: Step, inputs: tuple[Result, ...], miss: Miss) -> Hit | Miss:
        """Look up once more a step that is about to run; unpacks what it reads of other steps."""
        search = _Search(step, inputs, miss.key)
        for place, find in _LATE:
            record = find(self, search)
            if record is not None:
                return Hit(search.key, record, place)
        return msgspec.structs.replace(miss, destination=search.destination)

    def _reason(self, search: _Search) -> str:
        """Say why a step is not cached."""
        if search.step.meta.no_cache:
            return "the cache is not to be used (`--no-cache`)"
        last = self._memory.last(search.step)
        if last is None:
            return "nothing is known of an earlier build of this instruction"
        found = differences(*comparable(last.parts, search.key.parts))
        if not found:
            return "its layer was removed from the store"
        return self._file_that_differs(search, found[0]) or in_words(found[0])

    def _file_that_differs(self, search: _Search, difference: Difference) -> str:
        """Say which file of a context has changed; "" if it is about something else, or no list of files was kept."""
        if difference.name not in READS or not difference.subject:
            return ""
        from firkin.builder.history.explain import changed_files, first_of
        from firkin.builder.history.shelf import Shelf

        before = Shelf(self._services.store.layout.root).files(difference.before[0])
        after = self._services.ledger.lists.get(difference.after[0])
        if before is None or after is None:
            return ""
        snapshots = frozenset(number for number, item in enumerate(search.inputs) if isinstance(item, Snapshot))
        path = reads_of_step(search.step, snapshots)[int(difference.subject)][1]
        changes = changed_files(before, after, path, path)
        return first_of(changes) if changes else ""

    # The places

    def _own(self, search: _Search) -> StepRecord | None:
        record = self._memory.find(search.key.key)
        if record is None or record.slot.startswith(self._memory.slot(search.step)):
            return record
        times = self._keys.set_times(search.step.op, search.inputs)
        if not times or times == dict(record.parts).get("times", ""):
            return record
        search.key = search.key.with_times(times)
        return self._memory.find(search.key.key)

    def _narrow(self, search: _Search) -> StepRecord | None:
        search.narrow = self._keys.narrow(search.step, search.inputs)
        return None if search.narrow is None else self._memory.find(search.narrow.key)

    def _caches(self, search: _Search) -> StepRecord | None:
        remote = self._services.remote
        if remote is None or not remote.reads(search.step.op):
            return None
        if not remote.asked(search.key.key):
            self.ask_ahead()
        record = self._in_caches(remote, search, search.key)
        if record is None and search.narrow is not None:
            record = self._in_caches(remote, search, search.narrow)
        return record

    def _recalled(self, search: _Search) -> StepRecord | None:
        if search.step.meta.no_cache or not search.sources:
            return None
        if self._keys.narrow(search.step, search.inputs) is not None:
            return None  # `early` has looked it up
        for source in search.sources:  # the step needs them anyway
            self._services.layers.trees.ensure(source, str(search.step.id))
        narrow = self._keys.narrow(search.step, search.inputs)
        if narrow is None:
            return None
        record, remote = self._memory.find(narrow.key), self._services.remote
        if record is None and remote is not None and remote.reads(search.step.op):
            record = self._in_caches(remote, search, narrow)
        return record

    def _unchanged(self, search: _Search) -> StepRecord | None:
        if search.step.meta.no_cache or not search.sources:
            return None
        note = self._memory.last_read(search.step)
        if note is None or not is_unchanged(self._services, search.step, search.inputs, search.key.parts, note):
            return None
        own = self._memory.adopt(search.step, search.key, note)
        self._memory.note_reads(own, search.inputs)
        return own

    def _destination(self, search: _Search) -> StepRecord | None:
        search.destination = self._keys.destination(search.step, search.inputs, partial(self._root_view, search))
        if search.destination is None or search.step.meta.no_cache:
            return None
        record = self._memory.find(search.destination.key)
        return None if record is None else self._memory.adopt(search.step, search.key, record)

    def _root_view(self, search: _Search, owner: str) -> View:
        return root_view(self._services.layers, self._wanted, search.step, root_of(search.inputs), owner)

    # Caches elsewhere

    def _in_caches(self, remote: RemoteCache, search: _Search, key: StepKey) -> StepRecord | None:
        step, inputs = search.step, search.inputs
        form = self._wanted.first_format.when(from_run=reads_runs(step, inputs))
        make = partial(self._make, step, inputs)
        return remote.find(step.op, key.key, key.parts, self._memory.slot(step), form, make)

    def ask_ahead(self) -> None:
        """Ask the caches for all later steps whose keys can be known, as if every step before them were cached.

        A layer is named by the key of its step, so the keys of later steps are known before any answer.
        """
        remote = self._services.remote
        if remote is None:
            return
        guessed: dict[StepId, Result] = dict(self._results)
        for step in self._graph.needed():
            if step.id not in guessed and all(step_id in guessed for step_id in step.inputs):
                inputs = tuple(guessed[step_id] for step_id in step.inputs)
                found = ready_result(step.op, self._contexts) or self._guess(remote, step, inputs)
                if found is not None:
                    guessed[step.id] = found

    def _guess(self, remote: RemoteCache, step: Step, inputs: tuple[Result, ...]) -> Snapshot | None:
        """Ask the caches for a step; return the result that it has if they know it."""
        if isinstance(step.op, (Http, Git)) or step.meta.no_cache:
            return None
        try:
            key = self._keys.wide(step, inputs)
        except FirkinError:
            return None  # the step raises it again when its turn comes
        layer = self._memory.layer_under(key.key)
        if layer is None and remote.reads(step.op):
            remote.ask(step.op, key.key)
        return self._memory.put_on(root_of(inputs), key, layer or key.key, from_run=reads_runs(step, inputs))


class _Search:
    """One search for a step's layer, with the keys computed so far."""

    def __init__(self, step: Step, inputs: tuple[Result, ...], key: StepKey) -> None:
        self.step = step
        self.inputs = inputs
        self.key = key
        self.narrow: StepKey | None = None
        self.destination: StepKey | None = None

    @property
    def sources(self) -> list[Snapshot]:
        """The stages and images that the step reads, besides its root."""
        return [item for item in self.inputs[1:] if isinstance(item, Snapshot)]


_Find = Callable[[Lookup, _Search], StepRecord | None]

_EARLY: tuple[tuple[Place, _Find], ...] = (
    ("own", Lookup._own),
    ("narrow", Lookup._narrow),
    ("caches", Lookup._caches),
)
_LATE: tuple[tuple[Place, _Find], ...] = (
    ("recalled", Lookup._recalled),
    ("unchanged", Lookup._unchanged),
    ("destination", Lookup._destination),
)
