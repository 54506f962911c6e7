"""Cache keys of steps: the parts of its inputs that a step's result depends on. Does I/O. It reads files.

A step has a wide key, and up to two more keys, which find the same layer again after unrelated inputs have
changed. docs/dev/cache-key.md says what each holds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from firkin.builder.copy.content import FileDigests, copy_digests, copy_times, tree_digest
from firkin.builder.copy.destination import destination_of, has_destination_key
from firkin.builder.copy.plan import CopyTools
from firkin.builder.graph.key import CacheKey, Part, key_of, op_parts
from firkin.builder.graph.ops import BindMount, CacheMount, Copy, FileSource, MakeDir, Op, PathSource, Run, TextSource
from firkin.builder.graph.step import Step, StepId
from firkin.builder.solve.result import Result, reads_runs, root_of, views_of
from firkin.builder.solve.selection import selected_layers
from firkin.content.snapshot import Snapshot
from firkin.layer.change import View
from firkin.store.store import Store

DESTINATION_PART = "landing"
"""The part of a destination key that stands for the root. Its name is hashed, so it cannot be renamed."""


class StepKey(msgspec.Struct, frozen=True):
    """A cache key and the parts that it is the hash of (`times` may follow, see `lookup`)."""

    key: CacheKey
    parts: tuple[Part, ...]

    def with_times(self, times: str) -> StepKey:
        """Return another key, for files that have these times."""
        parts = (*self.parts, ("times", times))
        return StepKey(key_of(parts), parts)


class StepKeys:
    """The keys of one build's steps. Thread-safe; the files that a COPY takes from contexts are read once."""

    def __init__(self, store: Store, tools: CopyTools, file_digests: FileDigests) -> None:
        self._store = store
        self._tools = tools
        self._file_digests = file_digests
        self._content: dict[StepId, tuple[str, ...]] = {}

    def wide(self, step: Step, inputs: tuple[Result, ...]) -> StepKey:
        """Return a step's key. Snapshots that it reads count as wholes, so the key is the same on every machine."""
        parts = self._parts(step, inputs, narrow=False)
        return StepKey(key_of(parts), parts)

    def narrow(self, step: Step, inputs: tuple[Result, ...]) -> StepKey | None:
        """Return a second key, which covers only the layers that touch the files read; None if they are not known.

        It finds the layer again when other files in the stage that the step copies from have changed.
        """
        if not any(isinstance(item, Snapshot) for item in inputs[1:]):
            return None
        parts = self._parts(step, inputs, narrow=True)
        return None if parts == self._parts(step, inputs, narrow=False) else StepKey(key_of(parts), parts)

    def _parts(self, step: Step, inputs: tuple[Result, ...], *, narrow: bool) -> tuple[Part, ...]:
        """Return the ordered parts of a step's cache key."""
        parts = list(op_parts(step.op, step.meta.platform))
        if not (isinstance(step.op, Copy) and step.op.link):
            parts.append(("root", root_of(inputs).identity))
        if isinstance(step.op, Copy):
            parts += [("files", digest) for digest in self._copied(step, step.op, inputs, narrow)]
        elif isinstance(step.op, Run):
            parts += [("mounted files", digest) for digest in self._mounted(step.op, inputs, narrow)]
        if step.meta.epoch_s is not None and isinstance(step.op, (Copy, MakeDir)):
            parts.append(("made", str(step.meta.epoch_s)))
        return tuple(parts)

    def set_times(self, op: Op, inputs: tuple[Result, ...]) -> str:
        """Return a digest of the times that somebody set on files that a COPY takes from contexts, "" if none."""
        if not isinstance(op, Copy):
            return ""
        own = tuple(
            source
            for source in op.sources
            if isinstance(source, PathSource) and not isinstance(inputs[source.input], Snapshot)
        )
        return copy_times(msgspec.structs.replace(op, sources=own), views_of(inputs), self._tools) if own else ""

    # Files that a step reads: those of a snapshot count by the layers that touch them, so nothing is walked
    # or read; those of a context or a download count by their content.

    def _copied(self, step: Step, op: Copy, inputs: tuple[Result, ...], narrow: bool) -> list[str]:
        digests = []
        own: list[PathSource | FileSource] = []
        for source in op.sources:
            if isinstance(source, TextSource):
                continue
            found = inputs[source.input]
            if isinstance(found, Snapshot):
                item = source if isinstance(source, PathSource) else PathSource(source.input, "/", wildcard=False)
                digests.append(selected_layers(self._store, found, (item,)) if narrow else found.identity)
            else:
                own.append(source)
        if own:
            known = self._content.get(step.id)
            if known is None:
                reduced = msgspec.structs.replace(op, sources=tuple(own))
                known = copy_digests(reduced, views_of(inputs), self._tools, self._file_digests)
                self._content[step.id] = known
            digests += known
        return digests

    def _mounted(self, op: Run, inputs: tuple[Result, ...], narrow: bool) -> list[str]:
        digests = []
        for mount in op.mounts:
            if isinstance(mount, (BindMount, CacheMount)) and mount.input >= 0:
                found = inputs[mount.input]
                source = PathSource(mount.input, mount.source, wildcard=False)
                if isinstance(found, Snapshot):
                    digests.append(selected_layers(self._store, found, (source,)) if narrow else found.identity)
                else:
                    digests.append(tree_digest(found.view(), mount.source.strip("/"), self._file_digests))
        return digests

    def destination(self, step: Step, inputs: tuple[Result, ...], view: Callable[[str], View]) -> StepKey | None:
        """Return a third key for a COPY, which covers its destination instead of the whole root; None for others.

        It finds the layer again when something else in the COPY's own stage has changed. It covers the times
        that somebody set on the files, since no other part of it distinguishes two projects. `view` returns
        a view of the root in which the given owner can be looked up.
        """
        if not isinstance(step.op, Copy) or not has_destination_key(step.op):
            return None
        root = root_of(inputs)
        # The mtimes of what a RUN wrote differ in every build, so they do not count. Where no RUN wrote, or an epoch
        # limits them, they do, so that an image is the same whichever layers this machine already has.
        latest_ns = None
        if step.meta.epoch_s is not None:
            latest_ns = step.meta.epoch_s * 1_000_000_000
        elif reads_runs(step, inputs) or any(layer.from_run for layer in root.layers):
            latest_ns = 0
        destination = destination_of(step.op, view(step.op.chown), latest_ns)
        if destination is None:
            return None
        of_root = (DESTINATION_PART, destination)
        parts = tuple(of_root if part[0] == "root" else part for part in self._parts(step, inputs, narrow=True))
        parts = (*parts, ("times", self.set_times(step.op, inputs)))
        return StepKey(key_of(parts), parts)
