"""Which forms of its steps' layers a build needs, known before the first step runs. Pure.

A RUN needs its root unpacked, a COPY --from its source; a COPY only needs to know the names of what it writes onto.
Layers that will be shipped are written as blobs while later steps run.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from firkin.builder.graph.ops import Copy, MakeDir, Run
from firkin.builder.graph.step import Graph, Step, StepId
from firkin.content.format import LayerFormat


class Wanted(msgspec.Struct, frozen=True):
    """`unpacked`: steps whose files are needed as a tree. `shipped`: steps whose layers are shipped, in `formats`.

    `base_blobs`: outputs need the blobs of base layers too, so a blob read for an index is kept, not fetched twice.
    """

    unpacked: frozenset[StepId] = frozenset()
    shipped: frozenset[StepId] = frozenset()
    formats: tuple[LayerFormat, ...] = ()
    base_blobs: bool = False

    @property
    def first_format(self) -> LayerFormat:
        """The form of blob that is needed first."""
        return self.formats[0] if self.formats else LayerFormat()


def plan_wanted(
    graph: Graph, formats: tuple[LayerFormat, ...], *, whole_files: bool, base_blobs: bool = False
) -> Wanted:
    """Return what a graph's steps must deliver: the targets' layers in `formats`, with `whole_files` their files.

    `base_blobs` as for Wanted.
    """
    shipped = {step.id for plan in graph.targets for step in chain_of(graph, plan.step)}
    unpacked: set[StepId] = set()
    if whole_files or any(form.ignore for form in formats):
        # A blob with paths left out must not be the only form of a step's layer.
        unpacked.update(plan.step for plan in graph.targets)
    for step in reversed(graph.needed()):
        whole_root = isinstance(step.op, Run) or step.id in unpacked
        unpacked.update(step.inputs if whole_root else step.inputs[1:])
    return Wanted(frozenset(unpacked), frozenset(shipped), formats, base_blobs)


def chain_of(graph: Graph, target: StepId) -> Iterator[Step]:
    """Yield a step, the one that makes its root, and so on down to the base, which comes last."""
    step = graph.steps[target]
    yield step
    while step.inputs and isinstance(step.op, (Run, Copy, MakeDir)):
        step = graph.steps[step.inputs[0]]
        yield step
