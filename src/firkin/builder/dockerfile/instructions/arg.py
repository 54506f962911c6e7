"""ARG: a build argument. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.instructions.env import warn_secret
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import NON_ENV_ARGS, LowerContext, StageState
from firkin.builder.dockerfile.syntax import Arg, ArgItem
from firkin.builder.dockerfile.words import split_words
from firkin.errors import DockerfileError


def parse(raw: RawInstruction) -> Arg:
    """Parse `ARG NAME[=DEFAULT]...`; raises DockerfileError."""
    items = []
    for word in split_words(raw.rest, raw.escape):
        name, equals, default = word.partition("=")
        if equals and not name:
            raise DockerfileError("ARG names can not be blank", span=raw.span)
        items.append(ArgItem(name, default if equals else None))
    if not items:
        raise DockerfileError("ARG requires at least one argument", span=raw.span)
    return Arg(raw, tuple(items))


def lower(node: Arg, state: StageState, context: LowerContext) -> None:
    """Set the arguments to their values. Mirrors: dispatchArg."""
    shown = []
    for item in node.items:
        warn_secret(item.name, node.raw, context)
        value = context.arguments.get(item.name)
        if value is None:
            if item.default is None:
                value = context.global_args.get(item.name)
            else:
                value = state.expand(item.default, node.span, context)
        if value is not None and item.name not in NON_ENV_ARGS:
            state.set_variable(item.name, value)
        state.build_args.append((item.name, value))
        shown.append(item.name if value is None else f"{item.name}={value}")
    state.record("ARG " + " ".join(shown))
