"""Keeps the changes that COPY, ADD and WORKDIR plan, as a tree or a blob. Does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from firkin.builder.copy.plan import CopyTools
from firkin.builder.graph.ops import Copy
from firkin.builder.graph.step import Step
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.services import Services
from firkin.content.snapshot import Snapshot
from firkin.layer.change import Change, Put
from firkin.layer.index import IndexWriter

_LATEST_S = (1 << 36) - 1  # year 4147: a cache entry, and RFC 3339, can hold it


def tools_for(tools: CopyTools, step: Step) -> CopyTools:
    """Return the tools with the times for files that a step makes."""
    meta = step.meta
    if meta.epoch_s is not None:
        epoch_ns = meta.epoch_s * 1_000_000_000
        return tools._replace(made_ns=epoch_ns, latest_ns=epoch_ns)
    linked = isinstance(step.op, Copy) and step.op.link  # the layer does not depend on the root
    return tools._replace(made_ns=0 if linked else meta.base_s * 1_000_000_000, like_sources=True)


def keep_changes(services: Services, job: LayerJob, root: Snapshot, changes: Iterable[Change]) -> float:
    """Keep the changes as a tree if another step needs it, else as the blob that is shipped.

    `root` is what the layer is put on. Returns the time of the newest file in the layer: it is the layer's time.
    """
    dated = _Dated(changes)
    store, layers = services.store, services.layers
    if job.step.id not in job.wanted.unpacked:
        index = IndexWriter()
        layers.blobs.write(job.layer_id, dated, job.wanted.first_format.unclamped(), index)
        layers.indexes.keep(job.layer_id, index)
        return dated.newest_s
    if root.layers:
        layers.trees.ensure(root, job.vertex)
    below = store.trees.path(root.layers[-1].tree_id) if root.layers else ""
    layers.trees.write(job.layer_id, dated, below=below, may_link=_link_rule(store.layout.trees, root))
    return dated.newest_s


class _Dated:
    """Passes changes on; `newest_s` is the newest time among them, once all have passed."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = changes
        self.newest_s = 0

    def __iter__(self) -> Iterator[Change]:
        newest = 0
        for change in self._changes:
            if type(change) is Put and change.entry.mtime_ns > newest:
                newest = change.entry.mtime_ns
            yield change
        self.newest_s = min(newest // 1_000_000_000, _LATEST_S)


def _link_rule(place: str, root: Snapshot) -> Callable[[str], bool]:
    """Allow hard links to files of stored trees, which nobody writes to, but not of those below the new one.

    `place` is where the store keeps its trees.
    """
    trees = place + "/"
    start, end = len(trees), len(trees) + 64
    below = {layer.tree_id for layer in root.layers}
    return lambda content: content.startswith(trees) and content[start:end] not in below
