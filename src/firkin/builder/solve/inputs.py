"""What steps see of their inputs: views of roots, and directories with the files of sources. Does I/O."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from firkin.builder.copy.content import tree_digest
from firkin.builder.copy.owner import is_numeric
from firkin.builder.copy.plan import plan_copy
from firkin.builder.graph.ops import Copy, PathSource
from firkin.builder.graph.step import Step
from firkin.builder.solve.result import EMPTY_VIEW, Files, Result
from firkin.builder.solve.services import Services
from firkin.builder.solve.wanted import Wanted
from firkin.content.layers import Layers
from firkin.content.snapshot import Snapshot
from firkin.errors import ContextError
from firkin.layer.change import Change, View
from firkin.layer.view import StackView
from firkin.linux.folders import remove_tree
from firkin.oci.digest import framed_hash


def root_view(layers: Layers, wanted: Wanted, step: Step, root: Snapshot, owner: str) -> View:
    """Return a view of a step's root in which `owner` can be looked up; unpacks nothing when names are enough."""
    if step.id in wanted.unpacked or not is_numeric(owner):
        return layers.trees.view(root, str(step.id))
    return layers.trees.names_view(root, str(step.id), keep_blobs=wanted.base_blobs)


def trees_of(services: Services, source: Result, vertex: str) -> tuple[str, ...]:
    """Return the directories of a step's input, from the top layer down."""
    if isinstance(source, Snapshot):
        return tuple(reversed(services.layers.trees.ensure(source, vertex)))
    return (materialize(services, source),)


def materialize(services: Services, files: Files) -> str:
    """Return a directory with all files of a context or download, for a RUN to mount.

    The store keeps it as a tree named by the digest of its content, so the next RUN finds it.
    """
    view = files.view()
    digest = tree_digest(view, "", services.file_digests)
    tree_id = framed_hash((b"files", digest.encode()))
    if not services.store.trees.has(tree_id):
        everything = Copy((PathSource(1, "/", wildcard=False),), "/")
        changes = plan_copy(everything, (EMPTY_VIEW, view), services.tools)
        services.layers.trees.write(tree_id, _unchanged(services, view, digest, changes))
    return services.store.trees.path(tree_id)


def _unchanged(services: Services, view: View, digest: str, changes: Iterable[Change]) -> Iterator[Change]:
    """Pass changes on, then check that the files are still those that were hashed: the digest names the tree."""
    yield from changes
    if tree_digest(view, "", services.file_digests) != digest:
        raise ContextError(
            "the context changed while it was copied", code="context-changed", hints=("build again when it rests",)
        )


def copy_subtree(services: Services, trees: tuple[str, ...], source: str, target: str) -> None:
    """Fill a directory with a copy of path `source` of a stack of layers (from the top down)."""
    from firkin.layer.apply import apply_changes

    view = StackView(tuple(reversed(trees)))
    everything = Copy((PathSource(1, source, wildcard=False),), "/", keep_owner=True)
    staged = target + ".new"
    os.mkdir(staged, 0o755)
    changes = plan_copy(everything, (EMPTY_VIEW, view), services.tools)
    apply_changes(changes, staged, chown=not services.layers.owner_free)
    remove_tree(target)
    os.rename(staged, target)
