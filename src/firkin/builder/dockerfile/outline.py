"""Describes a Dockerfile to its users: its targets, and the arguments and mounts of one of them. Pure.

`firkin build --call=targets` and `--call=outline` show it. No images are resolved: an ENV of a base image
does not count. Mirrors: buildkit dockerfile2llb outline.go and convert.go (ListTargets).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from firkin.builder.dockerfile.flags import MountSpec, parse_mount
from firkin.builder.dockerfile.instructions.env import Env
from firkin.builder.dockerfile.instructions.run import Run
from firkin.builder.dockerfile.stages import Node, Plan
from firkin.builder.dockerfile.state import LowerOptions
from firkin.builder.dockerfile.syntax import Arg, ArgItem, Dockerfile, From, Instruction
from firkin.builder.dockerfile.words import Lexer
from firkin.errors import DockerfileError
from firkin.source import Span


class Target(msgspec.Struct, frozen=True):
    """A stage that can be built: `base` and `platform` as written, `description` from the comment above."""

    name: str
    default: bool
    description: str
    base: str
    platform: str
    span: Span


class OutlineArg(msgspec.Struct, frozen=True):
    """A build argument; `value` is its value in a build with the present options, "" if it has none."""

    name: str
    description: str
    value: str
    span: Span


class OutlineMount(msgspec.Struct, frozen=True):
    """A secret or an SSH agent that a RUN --mount needs, by its id."""

    id: str
    required: bool
    span: Span


class Outline(msgspec.Struct, frozen=True):
    """The arguments and mounts of a target and the stages that it needs, in the order of the lines."""

    name: str
    description: str
    args: tuple[OutlineArg, ...]
    secrets: tuple[OutlineMount, ...]
    ssh: tuple[OutlineMount, ...]


def list_targets(dockerfile: Dockerfile) -> tuple[Target, ...]:
    """Return the stages in the order of the file; the last one is the default."""
    last = len(dockerfile.stages) - 1
    return tuple(
        Target(
            stage.name,
            stage.index == last,
            _describe_stage(stage.base),
            stage.base.image,
            stage.base.platform,
            stage.base.span,
        )
        for stage in dockerfile.stages
    )


def describe(node: Instruction, name: str) -> str:
    """Return the text about a name in a comment `# NAME text` right above an instruction. Mirrors: getComment."""
    return next(
        (text[len(name) + 1 :] for text in node.raw.prev_comment if name and text.startswith(name + " ")), ""
    )


def _describe_stage(base: From) -> str:
    return describe(base, base.name) or describe(base, base.written_name)


def outline(dockerfile: Dockerfile, options: LowerOptions) -> Outline:
    """Return the outline of the target. Raises DockerfileError; UsageError for an unknown target."""
    plan = Plan(dockerfile, options, _ignore)
    reading = _Reading(dockerfile, plan, options)
    target = plan.target
    for node in (target, *(node for node in plan.reachable() if node is not target)):
        reading.read(node)
    base = target.stage.base if target.stage is not None else None
    return Outline(
        base.name if base is not None else "",
        _describe_stage(base) if base is not None else "",
        tuple(sorted(reading.args.values(), key=_line)),
        tuple(sorted(reading.secrets.values(), key=_line)),
        tuple(sorted(reading.ssh.values(), key=_line)),
    )


def _ignore(code: str, message: str, span: Span | None) -> None:
    """Drop a warning: only the checks report them."""


def _line(item: OutlineArg | OutlineMount) -> int:
    return item.span.start.line


class _Known(NamedTuple):
    """An argument, and the names of the arguments in its default value, nested ones included."""

    arg: OutlineArg
    made_of: frozenset[str] = frozenset()


class _Reading:
    """The outline so far. A description comes from the first stage that declares the argument or mount.

    Mirrors: outlineCapture. The arguments that the platform sets are not part of the outline.
    """

    def __init__(self, dockerfile: Dockerfile, plan: Plan, options: LowerOptions) -> None:
        self.args: dict[str, OutlineArg] = {}
        self.secrets: dict[str, OutlineMount] = {}
        self.ssh: dict[str, OutlineMount] = {}
        self._plan = plan
        self._lexer = Lexer(plan.escape)
        self._given = options.arguments
        self._globals: dict[str, _Known] = {}
        for node in dockerfile.args:
            for item in node.items:
                self._define_global(item, node)

    def _define_global(self, item: ArgItem, node: Arg) -> None:
        made_of: set[str] = set()
        if item.default is not None and item.name not in self._given:
            for name in self._names(item.default, self._plan.global_args, node.span):
                if name in self._globals:
                    made_of |= {name, *self._globals[name].made_of}
        value = self._plan.global_args.get(item.name, "")
        arg = OutlineArg(item.name, describe(node, item.name), value, node.span)
        self._globals[item.name] = _Known(arg, frozenset(made_of))

    def read(self, node: Node) -> None:
        """Add one stage."""
        if node.stage is None:
            return
        base = node.stage.base
        known = dict(self._globals)
        used: set[str] = set()
        for text in (base.image, base.platform):
            used |= self._names(text, self._plan.global_args, base.span)
        for instruction, variables in self._walk(node):
            if isinstance(instruction, Arg):
                known.update(self._defined(instruction, variables))
                used.update(item.name for item in instruction.items)
            elif isinstance(instruction, Run):
                for text in instruction.mounts:
                    self._mount(text, instruction, variables)
        for name in tuple(used):
            used |= known[name].made_of if name in known else frozenset()
        for name in used & known.keys():
            self.args.setdefault(name, known[name].arg)

    def _defined(self, node: Arg, variables: Mapping[str, str]) -> Iterator[tuple[str, _Known]]:
        """Yield the arguments that an ARG of a stage defines, not those inherited from before FROM."""
        for item in node.items:
            inherited = item.default is None and item.name not in self._given
            if not (inherited and item.name in self._plan.global_args):
                value = self._value(item.name, item.default, variables, node.span)
                yield item.name, _Known(OutlineArg(item.name, describe(node, item.name), value or "", node.span))

    def _walk(self, node: Node) -> Iterator[tuple[Instruction, Mapping[str, str]]]:
        """Yield the instructions of a stage, each with the variables set before it."""
        chain = []
        below = node.base
        while below is not None:
            chain.append(below)
            below = below.base
        variables: dict[str, str] = {}
        for known in reversed(chain):
            for command in known.commands:
                self._set(command.instruction, variables)
        for command in node.commands:
            yield command.instruction, variables
            self._set(command.instruction, variables)

    def _set(self, instruction: Instruction, variables: dict[str, str]) -> None:
        if isinstance(instruction, Env):
            span = instruction.span
            pairs = [(self._text(x.name, variables, span), self._text(x.value, variables, span))
                     for x in instruction.pairs]  # fmt: skip
            variables.update(pairs)
        elif isinstance(instruction, Arg):
            for item in instruction.items:
                value = self._value(item.name, item.default, variables, instruction.span)
                if value is not None:
                    variables[item.name] = value

    def _value(self, name: str, default: str | None, variables: Mapping[str, str], span: Span) -> str | None:
        if name in self._given:
            return self._given[name]
        if default is None:
            return self._plan.global_args.get(name)
        return self._text(default, variables, span)

    def _mount(self, text: str, node: Run, variables: Mapping[str, str]) -> None:
        span = node.span
        spec = parse_mount(text, lambda value: self._text(value, variables, span), span)
        name = mount_id(spec)
        found = {"secret": self.secrets, "ssh": self.ssh}.get(spec.type)
        if found is None:
            return
        known = found.get(name)
        found[name] = OutlineMount(name, spec.required or (known is not None and known.required),
                                   known.span if known is not None else span)  # fmt: skip

    def _text(self, text: str, variables: Mapping[str, str], span: Span) -> str:
        try:
            return self._lexer.expand(text, variables).text
        except ValueError as error:
            raise DockerfileError(str(error), span=span) from None

    def _names(self, text: str, variables: Mapping[str, str], span: Span) -> frozenset[str]:
        try:
            found = self._lexer.expand(text, variables)
        except ValueError as error:
            raise DockerfileError(str(error), span=span) from None
        return found.used


def mount_id(spec: MountSpec) -> str:
    """Return the id of a secret or an agent in the build's options. Mirrors: dispatchSecret, dispatchSSH."""
    if spec.type == "secret":
        return spec.id or spec.source or spec.target.rpartition("/")[2]
    return spec.id or "default"
