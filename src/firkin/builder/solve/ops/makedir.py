"""Executes WORKDIR's directory. Does I/O."""

from __future__ import annotations

from firkin.builder.copy.plan import plan_mkdir
from firkin.builder.graph.ops import MakeDir
from firkin.builder.graph.step import Step
from firkin.builder.solve.engine import Engine
from firkin.builder.solve.ops.copy import keep_changes, root_view
from firkin.builder.solve.result import Result, root_of


def make_dir(engine: Engine, step: Step, op: MakeDir, inputs: tuple[Result, ...], layer_id: str) -> None:
    """Make the directory and its missing parents; an empty layer if it is there."""
    root = root_of(inputs)
    view = root_view(engine, step, root, op.user)
    changes = plan_mkdir(op, view, engine.tools_for(step), first=not root.layers)
    keep_changes(engine, step, root, layer_id, changes)
