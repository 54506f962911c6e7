"""Remembers the results of steps: in the store, in this build, and in the caches that the build writes. Does I/O.

A step's layer is remembered under its own key, and under up to two more keys that do not change with unrelated
inputs (see `keys`). The records of one Dockerfile instruction share a slot, so that a miss can be compared with the
build before. The slots of second and third keys are marked, because those keys cannot explain a miss.
"""

from __future__ import annotations

import msgspec

from firkin.builder.cache.records import StepRecord
from firkin.builder.graph.key import CacheKey, key_of
from firkin.builder.graph.step import Step
from firkin.builder.solve.keys import StepKey, StepKeys
from firkin.builder.solve.result import Result, reads_runs
from firkin.builder.solve.services import Services
from firkin.builder.solve.unchanged import READ_SLOT, note_of
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import LayerRef, Snapshot

_NARROW_SLOT = "|narrow"
"""The suffix of a step's slot in records under its second and third keys."""

_DATES = ("made", "times")
"""Parts of keys that distinguish layers of equal files with different times."""


class Memory:
    """The records of one graph's steps. Thread-safe.

    `created`: when the layers of this build were made, in seconds since the epoch.
    `used`: the records of each layer that this build used.
    """

    def __init__(self, services: Services, keys: StepKeys, wanted: Wanted, slot_prefix: str) -> None:
        self._records = services.records
        self._sources = services.layers.sources
        self._remote = services.remote
        self._keys = keys
        self._wanted = wanted
        self._slot_prefix = slot_prefix
        self.created: dict[str, float] = {}
        self.used: dict[str, list[StepRecord]] = {}

    def slot(self, step: Step) -> str:
        """Return the slot of a step: its Dockerfile, stage and number."""
        return f"{self._slot_prefix}|{step.meta.stage}|{step.meta.number}"

    # Asking

    def find(self, key: CacheKey) -> StepRecord | None:
        """Return the record under a key; one whose layer is gone is forgotten."""
        record = self._records.find(key)
        if record is not None and not self._sources.available(record.layer):
            self._records.forget(key)
            return None
        return record

    def layer_under(self, key: CacheKey) -> str | None:
        """Return the id of the layer under a key, if that layer is available."""
        record = self._records.find(key)
        return record.layer if record is not None and self._sources.available(record.layer) else None

    def last(self, step: Step) -> StepRecord | None:
        """Return the record of the instruction's last build, whose layer may be gone."""
        return self._records.previous(self.slot(step))

    def last_read(self, step: Step) -> StepRecord | None:
        """Return the note of what the instruction read in its last build, if its layer is available."""
        note = self._records.previous(self.slot(step) + READ_SLOT)
        return note if note is not None and self._sources.available(note.layer) else None

    def put_on(self, root: Snapshot, key: StepKey, layer_id: str, *, from_run: bool) -> Snapshot:
        """Return a root with a step's layer on it; `key` is the step's own."""
        # The epoch is part of the layer's key, but keys of later steps do not depend on the times below.
        known_as = layer_id
        if key.parts[-1][0] in _DATES:
            first = key if layer_id == key.key else self._records.find(CacheKey(layer_id))
            if first is not None:  # the record of the step that made the layer
                known_as = key_of(tuple(part for part in first.parts if part[0] not in _DATES))
        return root.add(layer_id, known_as=known_as, from_run=from_run)

    # Remembering

    def adopt(self, step: Step, key: StepKey, record: StepRecord) -> StepRecord:
        """Record a layer, found by another key, under the step's own key."""
        own = msgspec.structs.replace(record, key=key.key, parts=key.parts, slot=self.slot(step))
        self._records.remember(own)
        return own

    def note_reads(self, record: StepRecord, inputs: tuple[Result, ...]) -> None:
        """Remember which layers a step read."""
        note = note_of(record, inputs)
        if note is not None:
            self._records.remember(note, replace=True)

    def keep_found(self, step: Step, inputs: tuple[Result, ...], key: StepKey, record: StepRecord) -> None:
        """Note the use of a layer that was found under the step's own key, or under its narrow one."""
        if record.key != key.key:
            self._use(step, inputs, self.adopt(step, key, record))
        elif self._remote is not None and (narrow := self._keys.narrow(step, inputs)) is not None:
            second = self.find(narrow.key)
            if second is not None and second.layer == record.layer:
                self._use(step, inputs, second)
        self._use(step, inputs, record)
        self.created[record.layer] = record.created

    def keep_made(
        self,
        step: Step,
        inputs: tuple[Result, ...],
        key: StepKey,
        destination: StepKey | None,
        layer_id: str,
        ended: float,
        seconds: float,
    ) -> None:
        """Record a layer that the step has just made under all its keys; it `ended` then and took `seconds`."""
        fresh, parts = step.meta.no_cache, key.parts
        if (times := self._keys.set_times(step.op, inputs)) and parts[-1] != ("times", times):
            parts = (*parts, ("times", times))  # no part of the key; see Lookup._own
        created = self.created.setdefault(layer_id, ended)
        record = StepRecord(key.key, layer_id, self.slot(step), step.meta.written, parts, created, seconds)
        self._records.remember(record, replace=fresh)
        self._use(step, inputs, record, fresh=fresh)
        self.note_reads(record, inputs)
        slot = record.slot + _NARROW_SLOT
        narrow = self._keys.narrow(step, inputs)
        if narrow is not None:
            second = msgspec.structs.replace(record, key=narrow.key, parts=narrow.parts, slot=slot)
            self._records.remember(second, replace=fresh)
            self._use(step, inputs, second, fresh=fresh)
        if destination is not None:
            third = msgspec.structs.replace(record, key=destination.key, parts=destination.parts, slot=slot)
            self._records.remember(third, replace=fresh)

    def _use(self, step: Step, inputs: tuple[Result, ...], record: StepRecord, *, fresh: bool = False) -> None:
        """Note a record that this build used, and add it to the caches that it writes; `fresh`: replace their entry."""
        self.used.setdefault(record.layer, []).append(record)
        if self._remote is not None:
            layer = LayerRef(record.layer, from_run=reads_runs(step, inputs))
            shipped = step.id in self._wanted.shipped
            self._remote.add(step.op, record, layer, self._wanted.first_format, exported=shipped, fresh=fresh)
