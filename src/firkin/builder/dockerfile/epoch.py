"""Resolves a SOURCE_DATE_EPOCH that is not a number: the context, a named context or a stage. Pure.

Only builder/epoch.py imports it.

Mirrors: moby/buildkit frontend/dockerfile/dockerfile2llb/epoch.go.
"""

from __future__ import annotations

import msgspec

from firkin.builder.dockerfile.instructions.add import Add
from firkin.builder.dockerfile.lower import lower
from firkin.builder.dockerfile.stages import EPOCH, Plan
from firkin.builder.dockerfile.state import LowerOptions, Resolver
from firkin.builder.dockerfile.syntax import Arg, Dockerfile, Stage
from firkin.builder.dockerfile.words import quote
from firkin.builder.graph.ops import Git, Http
from firkin.errors import DockerfileError
from firkin.source import Span


def find_epoch_source(dockerfile: Dockerfile, options: LowerOptions, resolver: Resolver) -> str | Http | Git | None:
    """Return the source of the epoch: the name of a context ("" is the main one), or the download of a stage.

    It is None if there is no epoch, or if it is a number. Raises UsageError for an unknown name, DockerfileError for a
    stage that is more than one download.
    """
    plan = Plan(dockerfile, options, _ignore)
    if not plan.epoch_name:
        return None
    if plan.epoch_name == "context":
        return ""
    context = plan.context_for(plan.epoch_name)
    if context is not None:
        return context
    (stage, *_) = (stage for stage in dockerfile.stages if stage.name == plan.epoch_name.lower())
    _check(plan, stage)
    arguments = tuple((name, value) for name, value in options.build_args if name != EPOCH)
    alone = msgspec.structs.replace(options, target=stage.name, build_args=arguments, source_date_epoch=0)
    found = [step.op for step in lower(dockerfile, alone, resolver, _ignore).steps if isinstance(step.op, (Http, Git))]
    if len(found) != 1:
        raise _wrong(stage, f"{EPOCH} stage source must be a single HTTP(S) or Git ADD")
    return found[0]


def _check(plan: Plan, stage: Stage) -> None:
    """Refuse a stage that is more than an empty base and one remote ADD, with its arguments."""
    node = plan.by_name[stage.name]
    if not node.is_scratch:
        raise _wrong(stage, f"{EPOCH} stage must use FROM scratch")
    adds = []
    for instruction in stage.instructions:
        if isinstance(instruction, Add):
            adds.append(instruction)
        elif not isinstance(instruction, Arg):
            raise _wrong(
                stage,
                f"{EPOCH} stage does not meet source-only requirements: unsupported {instruction.keyword} instruction",
            )
    if len(adds) != 1:
        raise _wrong(stage, f"{EPOCH} stage must contain exactly one remote ADD")
    if len(adds[0].transfer.paths) != 1 or adds[0].transfer.heredocs:
        raise _wrong(stage, f"{EPOCH} stage must contain exactly one remote ADD source")


def _wrong(stage: Stage, message: str) -> DockerfileError:
    hint = f"{EPOCH} is {quote(stage.name)}: a stage of that name gives the time of what it downloads, and nothing else"
    return DockerfileError(message, code="epoch-stage", hints=(hint,), span=stage.base.span)


def _ignore(code: str, message: str, span: Span | None) -> None:
    """Ignore a warning: it is given when the whole file is lowered."""
