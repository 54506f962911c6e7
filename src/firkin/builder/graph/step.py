"""Steps, graphs and their order, and the plan of each finished image. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NewType, cast

import msgspec

from firkin.builder.graph.ops import CopySource, Mount, Op, Pull, Scratch
from firkin.errors import DockerfileError
from firkin.oci.config import History, RuntimeConfig
from firkin.oci.platform import Platform
from firkin.source import Span
from firkin.text import is_valid, valid_text

StepId = NewType("StepId", int)
"""Position in `Graph.steps`; inputs come before the steps that use them."""


class StepMeta(msgspec.Struct, frozen=True):
    """How a step is shown and treated; never hashed.

    `number` of `total` instructions in `stage`. `no_cache` (--no-cache, --no-cache-filter) skips
    the look-up, not the record. New files without a time of their own get `epoch_s`
    (SOURCE_DATE_EPOCH), or else the time of the files copied, or `base_s`, the base image's time.
    `written` is the instruction as written in the Dockerfile. Other machines see this and not the
    title, which contains values of build arguments.
    """

    title: str
    stage: str = ""
    number: int = 0
    total: int = 0
    span: Span | None = None
    no_cache: bool = False
    platform: Platform | None = None
    epoch_s: int | None = None
    base_s: int = 0
    written: str = ""


class Step(msgspec.Struct, frozen=True):
    """One operation with its input steps."""

    id: StepId
    op: Op
    inputs: tuple[StepId, ...]
    meta: StepMeta


class ImagePlan(msgspec.Struct, frozen=True):
    """The plan of one target's image: everything but its layers.

    `step` makes its root file system. `history` has a line for each layer of the snapshot (base
    layers included, in order) and `empty_layer` lines; lines without `created` are new and get the
    time of the build. `base_digest` and `base_name` describe the final FROM ("" for scratch).
    `created` is kept when no instruction followed FROM (then the image is the base's copy).
    `source_date_epoch` (seconds), from the request or a build argument, is the time of everything new.
    `base_s` is the base's newest time, 0 for scratch.
    """

    step: StepId
    platform: Platform
    runtime: RuntimeConfig
    history: tuple[History, ...]
    author: str = ""
    base_name: str = ""
    base_digest: str = ""
    source_date_epoch: int | None = None
    base_s: int = 0


class Graph(msgspec.Struct, frozen=True):
    """Steps, inputs before the steps that use them, and the plans of the images to make."""

    steps: tuple[Step, ...]
    targets: tuple[ImagePlan, ...]

    def needed(self) -> tuple[Step, ...]:
        """Return the steps that the targets depend on, inputs first."""
        wanted = set(reachable(self.steps, (plan.step for plan in self.targets)))
        return tuple(step for step in self.steps if step.id in wanted)


def reachable(steps: tuple[Step, ...], roots: Iterable[StepId]) -> Iterator[StepId]:
    """Yield the roots and everything they depend on, each once."""
    stack = list(roots)
    seen: set[StepId] = set()
    while stack:
        step_id = stack.pop()
        if step_id not in seen:
            seen.add(step_id)
            yield step_id
            stack.extend(steps[step_id].inputs)


class GraphBuilder:
    """Collects steps while lowering; equal steps (op and inputs) become one."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._known: dict[tuple[Op, tuple[StepId, ...]], StepId] = {}

    def add(self, op: Op, inputs: tuple[StepId, ...], meta: StepMeta) -> StepId:
        """Add a step and return its id; an equal one is reused unless either must not be cached.

        Raises DockerfileError for an op with a text that the kernel refuses (NUL), or that is not UTF-8.
        """
        _check_texts(op, meta.span)
        same = self._known.get((op, inputs))
        if same is not None and self._steps[same].meta.no_cache == meta.no_cache:
            return same
        step_id = StepId(len(self._steps))
        self._steps.append(Step(step_id, op, inputs, meta))
        self._known[op, inputs] = step_id
        return step_id

    def step(self, step_id: StepId) -> Step:
        return self._steps[step_id]

    def graph(self, targets: tuple[ImagePlan, ...]) -> Graph:
        """Return the finished graph."""
        return Graph(tuple(self._steps), targets)


_WRITTEN_AS_THEY_ARE = frozenset(("content", "files"))
"""Fields that hold the content of a file, which may have any bytes."""


def _check_texts(op: Op, span: Span | None) -> None:
    if isinstance(op, (Scratch, Pull)):
        return
    for field, text in _texts(op):
        if "\0" in text:
            raise DockerfileError(
                f"a NUL character in the {field} of an instruction",
                code="nul",
                hints=("no file, variable or argument can have one",),
                span=span,
            )
        if not is_valid(text):
            raise DockerfileError(
                f"string field contains invalid UTF-8: the {field} `{valid_text(text)}`",
                code="not-utf-8",
                hints=("save the Dockerfile as UTF-8; comments, labels and heredocs for files may have other bytes",),
                span=span,
            )


def _texts(value: Op | Mount | CopySource) -> Iterator[tuple[str, str]]:
    """Yield the texts of an op with the names of their fields."""
    for field in value.__struct_fields__:
        if field in _WRITTEN_AS_THEY_ARE:
            continue
        found = getattr(value, field)
        for item in found if isinstance(found, tuple) else (found,):
            if isinstance(item, str):
                yield _NAMES.get(field, field), item
            elif isinstance(item, msgspec.Struct):
                yield from _texts(cast("Mount | CopySource", item))


_NAMES = {"argv": "command", "env": "environment", "proxy_env": "environment", "cwd": "working directory",
          "dest": "destination", "url": "URL", "exclude": "pattern of `--exclude`", "chown": "value of `--chown`",
          "chmod": "value of `--chmod`", "ref": "git reference", "subdir": "directory"}  # fmt: skip
