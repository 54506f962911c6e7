"""Executes WORKDIR's directory. Does I/O."""

from __future__ import annotations

from firkin.builder.copy.plan import plan_mkdir
from firkin.builder.graph.ops import MakeDir
from firkin.builder.solve.inputs import root_view
from firkin.builder.solve.job import LayerJob
from firkin.builder.solve.ops.changes import keep_changes, tools_for
from firkin.builder.solve.services import Services


def make_dir(services: Services, job: LayerJob, op: MakeDir) -> float:
    """Make the directory and its missing parents, an empty layer if it is there; return the layer's time."""
    root = job.root
    view = root_view(services.layers, job.wanted, job.step, root, op.user)
    changes = plan_mkdir(op, view, tools_for(services.tools, job.step), first=not root.layers)
    return keep_changes(services, job, root, changes)
