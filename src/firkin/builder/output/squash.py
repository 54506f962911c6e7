"""Joins the layers of a target's instructions into one layer. Does I/O.

The new layer is made from views: the files of the target's own layers together, and removals of names of the base.
History keeps every line; the last of the new lines has the layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from firkin.builder.graph.step import ImagePlan
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.content.trees import LayerTrees
from firkin.layer.change import Change, Put, Remove, View
from firkin.oci.config import History
from firkin.oci.digest import framed_hash
from firkin.store.store import Store


def squash(
    store: Store, trees: LayerTrees, created: dict[str, float], plan: ImagePlan, snapshot: Snapshot
) -> tuple[ImagePlan, Snapshot]:
    """Return the plan and the snapshot of the image with one layer on top of its base's layers.

    `created` has the times at which layers were made; the new layer's time is added to it.
    """
    base = tuple(ref for ref in snapshot.layers if ref.pulled is not None)
    made = snapshot.layers[len(base) :]
    if len(made) < 2:
        return plan, snapshot
    layer_id = framed_hash((b"squashed", *(ref.tree_id.encode() for ref in snapshot.layers)))
    ref = LayerRef(layer_id, from_run=any(layer.from_run for layer in made))
    times = [created[layer.tree_id] for layer in made if layer.tree_id in created]
    if times:
        created[layer_id] = max(times)
    if not store.trees.has(layer_id):
        paths, below = trees.ensure(snapshot, ""), len(base)
        changes = squashed_changes(trees.stack(paths[below:]), trees.stack(paths[:below]), trees.stack(paths))
        trees.write(layer_id, changes)
    history = _folded(plan.history, len(base))
    return msgspec.structs.replace(plan, history=history), Snapshot((*base, ref), snapshot.identity)


def squashed_changes(new: View, base: View, full: View) -> Iterator[Change]:
    """Yield the changes from `base` to `full`, which is `base` with the layers of `new` on top."""
    links: dict[tuple[int, int], str] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        prefix = f"{folder}/" if folder else ""
        yield from _removed(base, full, folder, prefix)
        for name in new.iterdir(folder):
            path = prefix + name
            entry = full.lstat(path)
            if entry is None:
                continue
            first = path if entry.inode is None else links.setdefault(entry.inode, path)
            if first != path:
                yield Put(path, entry, None, first)
            else:
                yield Put(path, entry, full.content(path) if entry.kind == "file" else None)
            if entry.kind == "dir":
                folders.append(path)


def _removed(base: View, full: View, folder: str, prefix: str) -> Iterator[Remove]:
    """Yield removals of what a directory of `base` has and `full` does not have."""
    here = base.lstat(folder)
    if here is not None and here.kind == "dir":
        for name in base.iterdir(folder):
            if full.lstat(prefix + name) is None:
                yield Remove(prefix + name)


def _folded(history: tuple[History, ...], below: int) -> tuple[History, ...]:
    """Return the history in which, after the lines of the base, only the last line has a layer."""
    last = max(number for number, line in enumerate(history) if not line.empty_layer)
    seen = 0
    folded = []
    for number, line in enumerate(history):
        if not line.empty_layer:
            seen += 1
            if seen > below and number != last:
                line = msgspec.structs.replace(line, empty_layer=True)
        folded.append(line)
    return tuple(folded)
