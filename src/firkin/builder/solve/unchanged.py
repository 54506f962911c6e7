"""Reuses a step's layer if the stages or images that the step read were rebuilt with the same content. Does I/O.

BuildKit keys a COPY --from and a mount by the content that they read, so it reads all of it, each time. firkin reads
no content for a key. Instead the step has a second record, its note, which lists the layers of the snapshots that the
step read. If only those have changed, the old and the new files are compared before the step runs. Times do not count.
"""

from __future__ import annotations

import msgspec

from firkin.builder.cache.records import StepRecord
from firkin.builder.copy.content import selects_same, shows_same
from firkin.builder.graph.key import READS, Part, key_of
from firkin.builder.graph.ops import BindMount, CacheMount, Copy, Op, PathSource, Run
from firkin.builder.graph.step import Step
from firkin.builder.solve.result import Result
from firkin.builder.solve.services import Services
from firkin.content.snapshot import Snapshot
from firkin.errors import Cancelled, FirkinError

READ_SLOT = "|read"
"""The suffix of a step's slot in its note."""

_TREES = "trees of input "


def note_of(record: StepRecord, inputs: tuple[Result, ...]) -> StepRecord | None:
    """Return the note of a step: the layers that it read besides those of its root; None if it read none."""
    trees = tuple(
        (f"{_TREES}{number}", " ".join(layer.tree_id for layer in item.layers))
        for number, item in enumerate(inputs)
        if number and isinstance(item, Snapshot)
    )
    if not trees:
        return None
    key = key_of((("read", record.key),))
    return msgspec.structs.replace(record, key=key, parts=(*record.parts, *trees), slot=record.slot + READ_SLOT)


def is_unchanged(
    services: Services, step: Step, inputs: tuple[Result, ...], parts: tuple[Part, ...], note: StepRecord
) -> bool:
    """Say whether the step would now make the same layer as the one in `note`.

    `parts` are those of the step's key. The layers of changed inputs are unpacked, as the step itself would do.
    """
    changed = _changed_reads(note.parts, parts)
    try:
        for position in changed:
            read = _read(step.op, inputs, position)
            if read is None or not _is_same(services, step, note, inputs, *read):
                return False
    except Cancelled:
        raise
    except (FirkinError, OSError):
        return False  # the step then runs and reports the error
    return bool(changed)


def _changed_reads(then: tuple[Part, ...], now: tuple[Part, ...]) -> list[int]:
    """Return the positions of the reads whose identity has changed; none if any other part of the key has changed."""
    changed: list[int] = []
    position = -1
    if len(then) < len(now):
        return []
    for (name, value), (name_then, value_then) in zip(now, then, strict=False):
        position += name in READS
        if name != name_then or (value != value_then and name not in READS):
            return []
        if value != value_then:
            changed.append(position)
    return changed


def _read(op: Op, inputs: tuple[Result, ...], position: int) -> tuple[int, PathSource | str] | None:
    """Return the input and the path of the read at a position; None if it reads a context.

    The order is that of StepKeys: a COPY's snapshots come before its contexts.
    """
    if isinstance(op, Copy):
        sources = [source for source in op.sources if isinstance(source, PathSource)]
        read = [(source.input, source) for source in sources if isinstance(inputs[source.input], Snapshot)]
        return read[position] if position < len(read) else None
    assert isinstance(op, Run)
    mounts = [mount for mount in op.mounts if isinstance(mount, (BindMount, CacheMount)) and mount.input >= 0]
    mount = mounts[position]
    return (mount.input, mount.source) if isinstance(inputs[mount.input], Snapshot) else None


def _is_same(
    services: Services, step: Step, note: StepRecord, inputs: tuple[Result, ...], number: int, what: PathSource | str
) -> bool:
    found = inputs[number]
    assert isinstance(found, Snapshot)
    ids = dict(note.parts)[f"{_TREES}{number}"].split()
    if not all(map(services.store.trees.has, ids)):
        return False
    services.store.records.use_trees(ids)  # so that `prune` leaves them alone meanwhile
    views = (
        services.layers.trees.stack(tuple(map(services.store.trees.path, ids))),
        services.layers.trees.view(found, str(step.id)),
    )
    if isinstance(step.op, Copy):
        assert isinstance(what, PathSource)
        return selects_same(step.op, what, views, services.tools, services.file_digests)
    assert isinstance(what, str)
    return shows_same(what, views, services.file_digests)
