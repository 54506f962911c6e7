"""Executes COPY and ADD: plans over views, then keeps the changes as a tree, a blob, or both. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from firkin.builder.copy.content import tree_digest
from firkin.builder.copy.owner import is_numeric
from firkin.builder.copy.plan import plan_copy
from firkin.builder.graph.ops import Copy, PathSource
from firkin.builder.graph.step import Step
from firkin.builder.solve.engine import Engine
from firkin.builder.solve.result import EMPTY_VIEW, Files, Result, root_of
from firkin.content.snapshot import Snapshot
from firkin.errors import ContextError
from firkin.layer.apply import apply_changes
from firkin.layer.change import Change, View
from firkin.layer.index import IndexWriter
from firkin.layer.view import StackView
from firkin.oci.digest import framed_hash
from firkin.store.layout import remove_tree

EMPTY_ROOT = Snapshot((), "scratch")


def copy(engine: Engine, step: Step, op: Copy, inputs: tuple[Result, ...], layer_id: str) -> None:
    """Lay the files on the root and keep what changed."""
    vertex = str(step.id)
    root = root_of(inputs)
    views: list[View] = [EMPTY_VIEW if op.link else root_view(engine, step, root, op.chown)]
    for source in inputs[1:]:
        views.append(engine.layers.trees.view(source, vertex) if isinstance(source, Snapshot) else source.view())
    changes = plan_copy(op, views, engine.tools_for(step), first=not root.layers)
    keep_changes(engine, step, EMPTY_ROOT if op.link else root, layer_id, changes)


def root_view(engine: Engine, step: Step, root: Snapshot, owner: str) -> View:
    """Return a view of what a step writes onto; nothing is unpacked when names will do."""
    vertex = str(step.id)
    if engine.needs_tree(step) or not is_numeric(owner):
        return engine.layers.trees.view(root, vertex)
    return engine.layers.trees.names_view(root, vertex, keep_blobs=engine.keep_blobs)


def keep_changes(
    engine: Engine, step: Step, root: Snapshot, layer_id: str, changes: Iterable[Change]
) -> None:
    """Keep the changes as a tree if another step wants to see it, else as the blob that is shipped.

    `root` is what the layer lies on.
    """
    changes = engine.date(layer_id, changes)
    if not engine.needs_tree(step):
        index = IndexWriter()
        engine.layers.blobs.write(layer_id, changes, engine.first_format.unclamped(), index)
        engine.layers.indexes.keep(layer_id, index)
        return
    if root.layers:
        engine.layers.trees.ensure(root, str(step.id))
    below = engine.store.trees.path(root.layers[-1].tree_id) if root.layers else ""
    engine.layers.trees.write(layer_id, changes, below=below, may_link=_link_rule(engine, root))


def _link_rule(engine: Engine, root: Snapshot) -> Callable[[str], bool]:
    """Allow hard links to files of stored trees, which nobody writes to, but not of those below the new one."""
    trees = engine.store.layout.trees + "/"
    start, end = len(trees), len(trees) + 64
    below = {layer.tree_id for layer in root.layers}
    return lambda content: content.startswith(trees) and content[start:end] not in below


def materialize(engine: Engine, files: Files) -> str:
    """Return a directory with all files of a context or download, as a RUN may mount it.

    It is kept as a tree under its content's digest, so that the next RUN finds it.
    """
    view = files.view()
    digest = tree_digest(view, "", engine.file_digests)
    tree_id = framed_hash((b"files", digest.encode()))
    if not engine.store.trees.has(tree_id):
        everything = Copy((PathSource(1, "/", wildcard=False),), "/")
        changes = plan_copy(everything, (EMPTY_VIEW, view), engine.tools)
        engine.layers.trees.write(tree_id, _unchanged(engine, view, digest, changes))
    return engine.store.trees.path(tree_id)


def _unchanged(engine: Engine, view: View, digest: str, changes: Iterable[Change]) -> Iterator[Change]:
    """Pass changes on, and make sure that the files are those that were hashed: the tree bears their digest."""
    yield from changes
    if tree_digest(view, "", engine.file_digests) != digest:
        raise ContextError(
            "the context changed while it was copied", code="context-changed", hints=("build again when it rests",)
        )


def copy_subtree(engine: Engine, trees: tuple[str, ...], source: str, target: str) -> None:
    """Fill a directory with a copy of path `source` of a stack of layers (from the top down)."""
    view = StackView(tuple(reversed(trees)))
    everything = Copy((PathSource(1, source, wildcard=False),), "/", keep_owner=True)
    staged = target + ".new"
    os.mkdir(staged, 0o755)
    changes = plan_copy(everything, (EMPTY_VIEW, view), engine.tools)
    apply_changes(changes, staged, chown=not engine.layers.owner_free)
    remove_tree(target)
    os.rename(staged, target)
