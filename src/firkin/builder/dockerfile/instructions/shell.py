"""SHELL: the shell that runs commands in shell form. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import plain_list
from firkin.builder.dockerfile.instructions.commandline import parse_json_words
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction
from firkin.errors import DockerfileError


class Shell(Instruction, frozen=True):
    """SHELL: the words before a command line."""

    words: tuple[str, ...]


def parse(raw: RawInstruction) -> Shell:
    """Parse `SHELL ["WORD", ...]`; raises DockerfileError."""
    parse_flags(raw)
    words = parse_json_words(raw.rest, raw.span)
    if words is None and raw.rest:
        raise DockerfileError(
            f"SHELL requires the arguments to be in JSON form, not: {raw.rest}",
            hints=('write it as an array: `SHELL ["/bin/sh", "-c"]`',),
            span=raw.span,
        )
    if not words:
        raise DockerfileError("SHELL requires at least one argument", span=raw.span)
    return Shell(raw, words)


def lower(node: Shell, state: StageState, context: LowerContext) -> None:
    """Set the shell for later instructions, and for stages that start from this one."""
    state.shell = node.words
    state.record(f"SHELL {plain_list(node.words)}")
