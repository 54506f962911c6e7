"""One layer to be made. Pure."""

from __future__ import annotations

import msgspec

from firkin.builder.graph.step import Step
from firkin.builder.solve.result import Result, root_of
from firkin.builder.solve.wanted import Wanted
from firkin.content.snapshot import Snapshot


class LayerJob(msgspec.Struct, frozen=True):
    """The step, its inputs, the id of the layer that it makes, and the forms of layers that the build needs."""

    step: Step
    inputs: tuple[Result, ...]
    layer_id: str
    wanted: Wanted

    @property
    def vertex(self) -> str:
        """The step's name in events."""
        return str(self.step.id)

    @property
    def root(self) -> Snapshot:
        """The root that the layer is put on."""
        return root_of(self.inputs)
