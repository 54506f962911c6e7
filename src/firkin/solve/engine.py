"""What the steps of one build share, and the StepRunner over it: keys, look-up, dispatch. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from firkin.context.views import MemoryView
from firkin.events import Emit
from firkin.graph.key import CacheKey, Part, key_of, op_parts
from firkin.graph.ops import (
    BindMount,
    CacheMount,
    Context,
    Copy,
    FileSource,
    Git,
    Http,
    MakeDir,
    Op,
    PathSource,
    Pull,
    Run,
    Scratch,
    TextSource,
)
from firkin.graph.step import Graph, Step, StepId
from firkin.layer.change import View
from firkin.oci.digest import framed_hash
from firkin.request import RunOptions, Secret
from firkin.solve.cancel import Cancel
from firkin.solve.content import FileDigests, copy_digests, copy_times, tree_digest
from firkin.solve.copy_plan import CopyTools
from firkin.solve.layers import LayerFormat, LayerWork
from firkin.solve.pools import Pools
from firkin.solve.selection import selected_layers
from firkin.solve.snapshot import LayerRef, Snapshot, base_snapshot
from firkin.store.records import Record
from firkin.store.store import Store

if TYPE_CHECKING:
    from firkin.rootfs import Rootfs
    from firkin.sandbox import Sandbox

EMPTY_VIEW = MemoryView({}, {})


class Files(Protocol):
    """A source that is no snapshot: a build context, a download, a git tree."""

    def view(self) -> View:
        """Return read access to the files, owners and modes as a COPY sees them."""


Result = Snapshot | Files
"""What a step gives to the steps that use it."""


class Backing(msgspec.Struct, frozen=True):
    """How roots are made and commands are run here.

    `moves_caches` says that a cache mount can be in one place only, so commands cannot share it.
    """

    rootfs: Rootfs
    sandbox: Sandbox
    moves_caches: bool = False
    close: Callable[[], None] = lambda: None


class Surroundings(msgspec.Struct, frozen=True):
    """What RUN steps get from the request and the machine."""

    options: RunOptions
    secrets: Mapping[str, Secret]
    ssh_sockets: Mapping[str, str]  # id → path of an agent's socket
    resolv_conf: bytes
    insecure_allowed: bool = False


class Engine:
    """Services of one build, and its StepRunner. Thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        pools: Pools,
        layers: LayerWork,
        backend: Callable[[], Backing],
        tools: CopyTools,
        file_digests: FileDigests,
        surroundings: Surroundings,
        contexts: Mapping[str, Files],
        fetch_source: Callable[[Http | Git, str], Files],
        emit: Emit,
        cancel: Cancel,
        clock: Callable[[], float],
        slot_prefix: str,
        ignore_paths: tuple[str, ...] = (),
        epoch_s: int | None = None,
    ) -> None:
        self.store = store
        self.pools = pools
        self.layers = layers
        self.surroundings = surroundings
        self.emit = emit
        self.cancel = cancel
        self.clock = clock
        self.ignore_paths = ignore_paths
        self.epoch_s = epoch_s
        self.tools = tools
        self.file_digests = file_digests
        self._backend = backend
        self._contexts = contexts
        self._fetch_source = fetch_source
        self._slot_prefix = slot_prefix
        self._keys: dict[StepId, tuple[CacheKey, tuple[Part, ...]]] = {}
        self._unpacked: set[StepId] = set()
        self._exported: set[StepId] = set()
        self._formats: tuple[LayerFormat, ...] = ()
        self.created: dict[str, float] = {}
        self.cancel_fd = os.eventfd(0, os.EFD_CLOEXEC)
        cancel.on_cancel(lambda: os.eventfd_write(self.cancel_fd, 1))

    def close(self) -> None:
        """Release what the engine holds of the system."""
        os.close(self.cancel_fd)

    @property
    def backend(self) -> Backing:
        """Root file system and sandbox for RUN, chosen when the first RUN has to run."""
        return self._backend()

    def prepare(self, graph: Graph, formats: tuple[LayerFormat, ...], *, whole_files: bool) -> None:
        """Note which steps' files must be unpacked, and which layers will be shipped (in which forms).

        A RUN needs its root unpacked, a COPY --from its source; a COPY only needs to know the names of what it
        writes onto. `whole_files` says that an output wants the target's files themselves.
        """
        self._formats = formats
        for plan in graph.targets:
            step = graph.steps[plan.step]
            if whole_files:
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

    @property
    def first_format(self) -> LayerFormat:
        """The form of blob that is wanted first."""
        return self._formats[0] if self._formats else LayerFormat()

    # StepRunner

    def look_up(self, step: Step, inputs: tuple[Result, ...]) -> Result | None:
        """Return a remembered result; roots and contexts are always at hand."""
        op = step.op
        match op:
            case Scratch() | Pull():
                return base_snapshot(op)
            case Context():
                return self._contexts[op.name]
            case Http() | Git():
                return None
            case _:
                return self._look_up_layer(step, inputs)

    def _look_up_layer(self, step: Step, inputs: tuple[Result, ...]) -> Snapshot | None:
        parts = self.parts(step, inputs)
        key = key_of(parts)
        self._keys[step.id] = (key, parts)
        if step.meta.no_cache:
            return None
        record = self.store.records.find(key)
        if record is not None and record.slot != self.slot(step):
            times = self._set_times(step.op, inputs)
            if times and times != dict(record.parts).get("times", ""):
                # Another project made the layer, of equal files with other times than this one was given.
                parts = (*parts, ("times", times))
                key = key_of(parts)
                self._keys[step.id] = (key, parts)
                record = self.store.records.find(key)
        if record is None:
            return None
        if not self.layers.available(record.layer):
            self.store.records.forget(key)
            return None
        self.created[record.layer] = record.created
        self._ship(step, record.layer)
        return root_of(inputs).add(record.layer)

    def parts(self, step: Step, inputs: tuple[Result, ...]) -> tuple[Part, ...]:
        """Return the ordered parts of a step's cache key."""
        parts = list(op_parts(step.op, step.meta.platform))
        if not (isinstance(step.op, Copy) and step.op.link):
            parts.append(("root", root_of(inputs).identity))
        if isinstance(step.op, Copy):
            parts += [("files", digest) for digest in self._copied(step.op, inputs)]
        elif isinstance(step.op, Run):
            parts += [("mounted files", digest) for digest in self._mounted(step.op, inputs)]
        return tuple(parts)

    def _set_times(self, op: Op, inputs: tuple[Result, ...]) -> str:
        """Return a digest of the times that somebody gave the files a COPY takes from contexts, "" if none."""
        if not isinstance(op, Copy):
            return ""
        own = tuple(
            source
            for source in op.sources
            if isinstance(source, PathSource) and not isinstance(inputs[source.input], Snapshot)
        )
        return copy_times(msgspec.structs.replace(op, sources=own), self.views_of(inputs), self.tools) if own else ""

    # Files that a step reads: of a snapshot the layers that touch them count, so nothing is walked or
    # read; of a context or a download the content counts.

    def _copied(self, op: Copy, inputs: tuple[Result, ...]) -> list[str]:
        digests = []
        own: list[PathSource | FileSource] = []
        for source in op.sources:
            if isinstance(source, TextSource):
                continue
            found = inputs[source.input]
            if isinstance(found, Snapshot):
                item = source if isinstance(source, PathSource) else PathSource(source.input, "/", wildcard=False)
                digests.append(selected_layers(self.store, found, (item,)))
            else:
                own.append(source)
        if own:
            reduced = msgspec.structs.replace(op, sources=tuple(own))
            digests += copy_digests(reduced, self.views_of(inputs), self.tools, self.file_digests)
        return digests

    def _mounted(self, op: Run, inputs: tuple[Result, ...]) -> list[str]:
        digests = []
        for mount in op.mounts:
            if isinstance(mount, (BindMount, CacheMount)) and mount.input >= 0:
                found = inputs[mount.input]
                source = PathSource(mount.input, mount.source, wildcard=False)
                if isinstance(found, Snapshot):
                    digests.append(selected_layers(self.store, found, (source,)))
                else:
                    digests.append(tree_digest(found.view(), mount.source.strip("/"), self.file_digests))
        return digests

    def views_of(self, inputs: tuple[Result, ...]) -> tuple[View, ...]:
        """Return views of the inputs that need no unpacking; snapshots are given as empty trees."""
        return tuple(EMPTY_VIEW if isinstance(item, Snapshot) else item.view() for item in inputs)

    def execute(self, step: Step, inputs: tuple[Result, ...]) -> Result:
        """Make the result of a step that was not remembered."""
        op = step.op
        if isinstance(op, (Http, Git)):
            return self._fetch_source(op, str(step.id))
        key, parts = self._keys[step.id]
        fresh = step.meta.no_cache
        # A layer is named by the key that it was first made for. One that is made again on demand is another
        # layer, or whoever uses the old one would see it change.
        layer_id = framed_hash((key.encode(), os.urandom(16))) if fresh else str(key)
        began = self.clock()
        self._make(step, inputs, layer_id)
        ended = self.clock()
        if (times := self._set_times(op, inputs)) and parts[-1] != ("times", times):
            parts = (*parts, ("times", times))  # no part of the key; see _look_up_layer
        record = Record(key, layer_id, self.slot(step), step.meta.title, parts, ended, ended - began)
        self.store.records.remember(record, replace=fresh)
        self.created[layer_id] = ended
        self._ship(step, layer_id)
        return root_of(inputs).add(layer_id)

    def _make(self, step: Step, inputs: tuple[Result, ...], layer_id: str) -> None:
        match step.op:
            case Run():
                from firkin.solve.ops.run import run

                run(self, step, step.op, inputs, layer_id)
            case Copy():
                from firkin.solve.ops.copy import copy

                copy(self, step, step.op, inputs, layer_id)
            case MakeDir():
                from firkin.solve.ops.makedir import make_dir

                make_dir(self, step, step.op, inputs, layer_id)
            case _:
                raise TypeError(f"{type(step.op).__name__} makes no layer")

    def slot(self, step: Step) -> str:
        """Name the place of a step in its Dockerfile."""
        return f"{self._slot_prefix}|{step.meta.stage}|{step.meta.number}"

    def needs_tree(self, step: Step) -> bool:
        """Say whether the step's files will be wanted unpacked."""
        return step.id in self._unpacked

    def _ship(self, step: Step, layer_id: str) -> None:
        """Start writing the blob of a layer that will be shipped, while later steps run."""
        if step.id in self._exported:
            for form in self._formats:
                self.layers.layer_of(LayerRef(layer_id), form)


def root_of(inputs: tuple[Result, ...]) -> Snapshot:
    """Return input 0, which is a root for every op that makes a layer."""
    root = inputs[0]
    if not isinstance(root, Snapshot):
        raise TypeError("input 0 is not a root file system")
    return root
