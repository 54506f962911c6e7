"""What a step gives to the steps that use it: a root file system, or files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from firkin.builder.context.views import CheckedView, empty_view
from firkin.builder.graph.key import root_identity
from firkin.builder.graph.ops import Context, Op, Pull, Run, Scratch
from firkin.builder.graph.step import Step
from firkin.content.snapshot import LayerRef, Snapshot
from firkin.layer.change import View
from firkin.oci.digest import chain_ids

EMPTY_VIEW = empty_view()


class Files:
    """A source that is no snapshot: a build context, a download, a git tree. The names in it are checked."""

    def __init__(self, view: View) -> None:
        self._view = CheckedView(view)

    def view(self) -> View:
        """Return read access to the files, owners and modes as a COPY sees them; raises ContextError for bad names."""
        return self._view

    @property
    def filename(self) -> str:
        """The name of a download's one file; "" for a tree."""
        return self._view.filename

    @property
    def time_s(self) -> int | None:
        """The time of a remote source (of a commit), in seconds since 1970; None for a local directory."""
        return self._view.time_s


Result = Snapshot | Files
"""What a step gives to the steps that use it."""


def reads_runs(step: Step, inputs: tuple[Result, ...]) -> bool:
    """Say whether files of the step's layer may have mtimes from a RUN."""
    return isinstance(step.op, Run) or any(
        layer.from_run for found in inputs[1:] if isinstance(found, Snapshot) for layer in found.layers
    )


def root_of(inputs: tuple[Result, ...]) -> Snapshot:
    """Return input 0, which is a root for every op that makes a layer. Raises TypeError where it is none."""
    root = inputs[0]
    if not isinstance(root, Snapshot):
        raise TypeError("input 0 is not a root file system")
    return root


def views_of(inputs: tuple[Result, ...]) -> tuple[View, ...]:
    """Return views of the inputs that need no unpacking; snapshots are given as empty trees."""
    return tuple(EMPTY_VIEW if isinstance(item, Snapshot) else item.view() for item in inputs)


def base_snapshot(op: Scratch | Pull) -> Snapshot:
    """Return the snapshot of a base image, or the empty one."""
    if isinstance(op, Scratch):
        return Snapshot((), root_identity(op))
    chain = chain_ids(layer.diff_id for layer in op.layers)
    layers = tuple(
        LayerRef(chain_id.partition(":")[2], layer, op.origin) for chain_id, layer in zip(chain, op.layers, strict=True)
    )
    return Snapshot(layers, root_identity(op))


def ready_result(op: Op, contexts: Mapping[str, Files]) -> Result | None:
    """Return the result of an op that needs no work (a root or a context); None for others."""
    match op:
        case Scratch() | Pull():
            return base_snapshot(op)
        case Context():
            return contexts[op.name]
        case _:
            return None
