"""Executes COPY and ADD: plans over views, then keeps the changes. Does I/O."""

from __future__ import annotations

from firkin.builder.copy.plan import plan_copy
from firkin.builder.graph.ops import Copy
from firkin.builder.solve.inputs import root_view
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.ops.changes import keep_changes, tools_for
from firkin.builder.solve.result import EMPTY_VIEW
from firkin.builder.solve.services import Services
from firkin.content.snapshot import Snapshot
from firkin.layer.change import View

_EMPTY_ROOT = Snapshot((), "scratch")


def copy(services: Services, job: LayerJob, op: Copy) -> float:
    """Lay the files on the root and keep what changed; return the layer's time."""
    layers, root = services.layers, job.root
    view = EMPTY_VIEW if op.link else root_view(layers, job.wanted, job.step, root, op.chown)
    views: list[View] = [view]
    for source in job.inputs[1:]:
        views.append(layers.trees.view(source, job.vertex) if isinstance(source, Snapshot) else source.view())
    changes = plan_copy(op, views, tools_for(services.tools, job.step), first=not root.layers)
    return keep_changes(services, job, _EMPTY_ROOT if op.link else root, changes)
