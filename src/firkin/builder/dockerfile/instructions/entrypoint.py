"""ENTRYPOINT: the command of a container, which CMD's words follow. Pure."""

from __future__ import annotations

from firkin.builder.dockerfile.flags import parse_flags
from firkin.builder.dockerfile.gotext import quote_list
from firkin.builder.dockerfile.instructions.commandline import CommandLine, check_command, parse_command_line
from firkin.builder.dockerfile.lines import RawInstruction
from firkin.builder.dockerfile.state import LowerContext, StageState
from firkin.builder.dockerfile.syntax import Instruction


class Entrypoint(Instruction, frozen=True):
    """ENTRYPOINT in shell or exec form."""

    command: CommandLine


def parse(raw: RawInstruction) -> Entrypoint:
    """Parse ENTRYPOINT; raises DockerfileError."""
    parse_flags(raw)
    return Entrypoint(raw, parse_command_line(raw.rest, raw.span))


def lower(node: Entrypoint, state: StageState, context: LowerContext) -> None:
    """Set the entrypoint; drop an inherited CMD, but keep one of this stage."""
    check_command(node.raw, node.command, state.entrypoint_span, state, context)
    state.entrypoint_span = node.span
    words = node.command.resolved(state)
    state.entrypoint = words or None
    if state.cmd_span is None:
        state.cmd = None
    state.record(f"ENTRYPOINT {quote_list(words)}")
